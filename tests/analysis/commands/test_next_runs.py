"""`python -m analysis next-runs` asks for what the runs had, or says what it does not know."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from analysis.commands.app import app
from analysis.scaling.experiment_design import Design, NextRun, spec_fragment
from analysis.scaling.known_models import Size


def next_runs(runs: pd.DataFrame, folder: Path, *more: object) -> Result:
    runs.to_csv(folder / "runs.csv", index=False)
    base = ("next-runs", folder / "runs.csv", "--law", "compute", "--e", 0, "--at", "flops=1e20")
    given = (*base, "--budget", 1e20, *more)
    return CliRunner().invoke(app, [str(part) for part in given])


def points(done: Result) -> list[dict[str, Any]]:
    assert done.exit_code == 0, done.output
    return YAML(typ="safe").load(done.stdout)["points"]


def arm(name: str, seed: int, **columns: object) -> pd.DataFrame:
    """Five sizes of an arm, of known law; `columns` say what its FFNs are."""
    C = np.geomspace(1e14, 1e16, 5)
    loss = 12 * C**-0.05 * np.exp(np.random.default_rng(seed).normal(0, 0.01, 5))
    frame = pd.DataFrame({"train_flops": C, "val_loss": loss, "preset": list("abcde")})
    frame["params"] = np.sqrt(C / 120)
    frame["tokens"] = 20 * frame["params"]
    return frame.assign(arm=name, **columns)


DENSE = arm("dense", 0, ffn_kind="dense", ffn_rank=None, ffn_fraction=1.0)
LOWRANK = arm(
    "low", 1, ffn_kind="lowrank", ffn_rank=[8, 12, 16, 24, 32],
    ffn_fraction=[0.31, 0.3125, 0.3125, 0.32, 0.3125],
)  # fmt: skip
BLOCKS = LOWRANK.assign(arm="blocks", ffn_kind="blockdense", ffn_nblocks=2)
SHUFFLED = arm("shuffled", 2, ffn_kind="blockshuffle", ffn_nblocks=4, ffn_fraction=0.3125)
GUIDED = LOWRANK.assign(arm="guided", guide_ratio=0.4, guide_mode="fixed_flops")


@pytest.mark.parametrize(
    ("name", "ffn"),
    [
        ("dense", {"kind": "dense"}),
        ("low", {"kind": "lowrank", "fraction": 0.3125}),
        ("blocks", {"kind": "blockdense", "nblocks": 2, "fraction": 0.3125}),
        ("shuffled", {"kind": "blockshuffle", "nblocks": 4}),
        ("guided", {"kind": "lowrank", "fraction": 0.3125}),
    ],
)
def test_a_named_preset_has_the_ffn_and_guide_of_the_arm(
    name: str, ffn: dict[str, Any], tmp_path: Path
) -> None:
    runs = pd.concat([DENSE, LOWRANK, BLOCKS, SHUFFLED, GUIDED])
    rows = points(next_runs(runs, tmp_path, "--arm", name, "--preset", "new=1e8"))
    guide = {"ratio": 0.4, "mode": "fixed_flops"} if name == "guided" else None
    for row in rows:
        assert (row["preset"], row["ffn"]) == ("new", ffn | {"arm": name})
        assert row.get("guide") == guide


def test_the_tables_own_sizes_keep_their_guide_and_width(tmp_path: Path) -> None:
    rows = points(next_runs(GUIDED.assign(width=1 / 3), tmp_path))
    ranks = dict(zip("abcde", [8, 12, 16, 24, 32], strict=True))
    for row in rows:
        expected = {"kind": "lowrank", "rank": ranks[row["preset"]], "arm": "guided"}
        assert row["ffn"] == expected and row["width"] == 1 / 3
        assert row["guide"] == {"ratio": 0.4, "mode": "fixed_flops"}


def test_presets_of_any_name_are_names(tmp_path: Path) -> None:
    names = ["true", "null", "1e5", "0x1f", "~", "a b", "it's", "a: b", "#x", "{x}", "x\n  y", "é"]
    run = NextRun(Size("", {"kind": "dense"}, 1e8, 2e9), 5, 1e10, 0.1)
    runs = tuple(
        NextRun(Size(name, {"kind": "dense", "arm": name}, 1e8, 2e9), 5, 1e10, 0.1)
        for name in names
    )
    fragment = spec_fragment(Design((*runs, run), 0.2, 0.1, 1e11), {"flops": 1e20})
    rows = YAML(typ="safe").load(fragment)["points"]
    assert [row["preset"] for row in rows] == [*names, ""]
    assert [row["ffn"].get("arm") for row in rows] == [*names, None]
    assert fragment.count("\n  - {") == len(rows)
    quoted = next_runs(DENSE, tmp_path, "--preset", "true=1e8")
    assert {row["preset"] for row in points(quoted)} == {"true"}


UNSIZED = LOWRANK.drop(columns=["ffn_rank", "ffn_fraction"])


@pytest.mark.parametrize(
    ("runs", "more", "words"),
    [
        (pd.concat([DENSE, LOWRANK]), (), "column 'arm' has dense, low; choose one with --arm"),
        (pd.concat([DENSE, LOWRANK]), ("--arm", "lo"), "no such arm"),
        (DENSE.drop(columns="ffn_kind"), ("--preset", "x=1e8"), "column 'ffn_kind' does not say"),
        (DENSE.drop(columns="ffn_kind"), (), "column 'ffn_kind' does not say"),
        (DENSE.assign(ffn_kind=" "), (), "column 'ffn_kind' does not say"),
        (UNSIZED, (), "says which lowrank FFN the runs have"),
        (UNSIZED, ("--preset", "x=1e8"), "says which lowrank FFN the runs have"),
        (LOWRANK.drop(columns="ffn_fraction"), ("--preset", "x=1e8"), "the runs differ in rank"),
        (LOWRANK.assign(ffn_fraction=[0.1, 0.2, 0.3, 0.4, 0.5]), ("--preset", "x=1e8"), "differ"),
        (BLOCKS.assign(ffn_nblocks=[2, 2, 4, 4, 4]), ("--preset", "x=1e8"), "differ in nblocks"),
        (GUIDED.assign(guide_ratio=[0.4, 0.4, None, 0.4, 0.4]), ("--preset", "x=1e8"), "guided"),
        (DENSE, ("--preset", "x=1e8", "--preset", "x=1e9"), "x is given twice"),
        (DENSE, ("--at", "flops=1e18,flops=1e19"), "flops is given twice"),
        (DENSE.assign(tokens=DENSE["tokens"] / 1e9), ("--preset", "x=1e6"), "do not fit together"),
    ],
)  # fmt: skip
def test_what_the_table_does_not_tell_is_not_guessed(
    runs: pd.DataFrame, more: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    done = next_runs(runs, tmp_path, *more)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.count("\n") == 1


def test_a_foreign_table_without_arms_is_of_dense_models(tmp_path: Path) -> None:
    foreign = DENSE.filter(["train_flops", "val_loss", "params", "tokens"])
    rows = points(next_runs(foreign, tmp_path, "--preset", "x=1e8"))
    assert all(row["ffn"] == {"kind": "dense"} for row in rows)


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_arms_in_one_fit_are_said(command: str, tmp_path: Path) -> None:
    pd.concat([DENSE, LOWRANK]).to_csv(tmp_path / "runs.csv", index=False)
    more = {"fit": ("--bootstrap", "0"), "predict": ("--at", "flops=1e16", "--bootstrap", "100")}
    base = [command, str(tmp_path / "runs.csv"), "--law", "compute", *more[command]]
    assert (
        "the runs of 2 arms (dense, low) are fitted as one" in CliRunner().invoke(app, base).stdout
    )
    apart = CliRunner().invoke(app, [*base, "--by", "arm"])
    assert apart.exit_code == 0 and "as one" not in apart.stdout
