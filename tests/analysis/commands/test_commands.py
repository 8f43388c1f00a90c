"""The command lines of the fits, as a user sees them: JSON, words, refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from analysis.commands.app import app
from tests.analysis.known import TRUTH, noisy, surface

NAMED = ("--params-col", "P", "--flops-col", "C", "--loss-col", "L")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def points(tmp_path: Path) -> Path:
    columns, exact = surface(7, 7)
    frame = pd.DataFrame({"P": columns["params"], "C": columns["flops"], "L": noisy(exact, 1)})
    frame.to_csv(tmp_path / "points.csv", index=False)
    return tmp_path / "points.csv"


@pytest.fixture
def ladders(tmp_path: Path) -> Path:
    rows = []
    for arm, factor, b in (("dense", 30.0, 0.060), ("<b>lowrank</b>", 31.5, 0.0605)):
        for i, C in enumerate(np.geomspace(1e17, 1e21, 12)):
            common = np.random.default_rng(i).normal(0, 0.002)
            own = np.random.default_rng(100 + i + len(arm)).normal(0, 0.0002)
            loss = 1.0 + factor * C**-b * np.exp(common + own)
            rows.append(
                {
                    "arm": arm,
                    "preset": f"size-{i}",
                    "ffn_kind": "dense" if arm == "dense" else "lowrank",
                    "ffn_rank": None if arm == "dense" else 16,
                    "params": 1e7 * 2**i,
                    "tokens": C / 6 / (1e7 * 2**i),
                    "train_flops": C,
                    "flop_convention": "paper",
                    "status": "finished",
                    "val_loss": loss,
                }
            )
    pd.DataFrame(rows).to_csv(tmp_path / "ladders.csv", index=False)
    return tmp_path / "ladders.csv"


def fit(points: Path, *more: object) -> dict[str, Any]:
    out = points.parent / "fit.json"
    base = ("fit", points, "--params-col", "P", "--flops-col", "C", "--loss-col", "L")
    done = run(*base, "--bootstrap", 200, "--json", out, *more)
    assert done.exit_code == 0, done.output
    return json.loads(out.read_text())


def test_fit_keeps_its_contract(points: Path) -> None:
    found = fit(points, "--law", "chinchilla", "--loss", "huber", "--delta", 1e-3)
    assert set(found["params"]) == {"A", "B", "E", "alpha", "beta"}
    assert found["params"]["alpha"] == pytest.approx(TRUTH["alpha"], abs=0.05)
    assert found["objective"] > 0 and found["delta"] == 1e-3
    for name, (low, high) in found["intervals"].items():
        assert low < found["params"][name] < high
    certificate = found["certificate"]
    assert certificate["converged"] and certificate["gradient_norm"] <= 1e-9
    assert {"starts_agreeing", "bounds_hit", "condition_number", "profile"} <= set(certificate)
    assert (found["n_used"], found["excluded"]) == (49, [])
    assert {"sha256", "versions", "options"} <= set(found["provenance"])


def test_fit_drops_and_shows_both(points: Path) -> None:
    found = fit(points, "--drop-highest", 3, "--outliers", 6, "--alternatives", "--delta-path")
    assert found["n_used"] == 46 and len(found["excluded"]) == 3
    assert found["with_excluded"]["n"] == 49
    laws = {one["law"]: one["aicc"] for one in found["alternatives"]}
    assert laws["chinchilla"] < laws["compute"]
    assert [one["loss"] for one in found["delta_path"]] == ["l1", *["huber"] * 7, "l2"]


def test_fit_same_seed_same_bytes(points: Path) -> None:
    assert fit(points, "--seed", 3) == fit(points, "--seed", 3)


def test_unidentified_parameters_are_null_and_named(tmp_path: Path) -> None:
    N = np.geomspace(1e8, 1e10, 30)
    loss = noisy(1.8 + 480 * N**-0.35 + 2100 * (20 * N) ** -0.37, 0, 0.003)
    frame = pd.DataFrame({"params": N, "tokens": 20 * N, "val_loss": loss})
    frame.to_csv(tmp_path / "runs.csv", index=False)
    out = tmp_path / "fit.json"
    done = run("fit", tmp_path / "runs.csv", "--bootstrap", 0, "--json", out)
    assert done.exit_code == 0 and "not identified by these runs" in done.stdout
    found = json.loads(out.read_text())
    lost = found["certificate"]["unidentified"]
    assert lost and all(found["params"][name] is None for name in lost)


def test_fit_by_arm_says_which_cannot_be_fitted(ladders: Path, tmp_path: Path) -> None:
    frame = pd.concat([pd.read_csv(ladders), pd.read_csv(ladders).head(1).assign(arm="one")])
    frame.to_csv(tmp_path / "more.csv", index=False)
    out = tmp_path / "fit.json"
    done = run(
        "fit",
        tmp_path / "more.csv",
        "--law",
        "compute",
        "--by",
        "arm",
        "--bootstrap",
        0,
        "--json",
        out,
    )
    assert done.exit_code == 0
    arms = json.loads(out.read_text())["arms"]
    assert "1 runs at 1 distinct" in arms["one"]["error"]
    assert arms["dense"]["n_used"] == 12


def test_compare_in_pairs(ladders: Path, tmp_path: Path) -> None:
    out = tmp_path / "compare.json"
    base = ("compare", ladders, "--bootstrap", 300, "--e", 1.0, "--json", out)
    done = run(*base, "--pair-col", "preset", "--at", 1e19, "--at", 1e25)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    one = found["comparisons"][0]
    assert one["paired"] and one["permutation"]["pairs"] == 12
    d = one["slopes"][0]["difference"]
    unpaired = run(*base, "--at", 1e19)
    assert unpaired.exit_code == 0
    free = json.loads(out.read_text())["comparisons"][0]["slopes"][0]["difference"]
    assert d["high"] - d["low"] < free["high"] - free["low"]
    assert all(not at["extrapolated"] for at in one["gains"])
    assert "1e+25" in one["refused"][0]
    gain = next(at for at in one["gains"] if at["flops"] == 1e19)["gain"]
    truth = (30.0 / (31.5 * 1e19**-0.0605)) ** (1 / 0.06) / 1e19
    assert gain["value"] == pytest.approx(truth, rel=0.02)
    assert gain["low"] < gain["value"] < gain["high"]
    marked = run(*base, "--at", 1e25, "--extrapolate")
    assert "EXTRAPOLATED" in marked.stdout


def test_compare_pairs_presets_by_their_width_too(ladders: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(ladders)
    place = frame.groupby("arm").cumcount()
    frame = frame.assign(preset=(place // 2).map("size-{}".format), width=1 - 0.5 * (place % 2))
    frame.to_csv(tmp_path / "wide.csv", index=False)
    out = tmp_path / "compare.json"
    base = ("--bootstrap", 100, "--e", 1.0, "--pair-col", "preset", "--json", out)
    for source in (ladders, tmp_path / "wide.csv"):
        assert run("compare", source, *base).exit_code == 0
        assert json.loads(out.read_text())["comparisons"][0]["permutation"]["pairs"] == 12


def test_next_runs_name_the_width(ladders: Path, tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    frame = pd.read_csv(ladders).assign(width=0.5)
    frame.to_csv(tmp_path / "wide.csv", index=False)
    done = run(
        "next-runs", tmp_path / "wide.csv", "--arm", "dense", "--law", "compute", "--e", 1.0,
        "--at", "flops=1e22", "--budget", 1e21,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert {row["width"] for row in YAML(typ="safe").load(done.stdout)["points"]} == {0.5}


def test_predict_and_its_past(points: Path, tmp_path: Path) -> None:
    out = tmp_path / "predict.json"
    base = ("predict", points, "--params-col", "P", "--flops-col", "C", "--loss-col", "L")
    target = ("--at", "params=7e10,tokens=1e12", "--optimal-at", 1e22)
    done = run(*base, *target, "--bootstrap", 300, "--json", out)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    truth = 1.8 + 480 * 7e10**-0.35 + 2100 * 1e12**-0.37
    one = found["predictions"][0]
    assert one["loss"]["low"] < truth < one["loss"]["high"]
    assert one["new_run"]["high"] - one["new_run"]["low"] > one["loss"]["high"] - one["loss"]["low"]
    assert "times the largest run" in one["extrapolated"][0]
    split = found["allocations"][0]
    assert split["params"]["value"] * split["tokens"]["value"] * 6 == pytest.approx(1e22)
    best = ((0.35 * 480) / (0.37 * 2100)) ** (1 / 0.72) * (1e22 / 6) ** (0.37 / 0.72)
    assert split["params"]["low"] < best < split["params"]["high"]
    assert found["rollout"][0]["n_fitted"] < found["rollout"][-1]["n_fitted"]


def test_what_is_beyond_the_runs_is_marked_with_how_far(points: Path, tmp_path: Path) -> None:
    out = tmp_path / "predict.json"
    base = ("predict", points, *NAMED, "--bootstrap", 100, "--json", out)
    inside = run(*base, "--at", "params=1e9,tokens=1e11", "--optimal-at", 1e21)
    assert inside.exit_code == 0 and "EXTRAPOLATED" not in inside.stdout
    # The runs have 5e7 to 1e10 parameters, 1e9 to 1e12 tokens and at most 6e22 FLOPs.
    beyond = run(*base, "--optimal-at", 6e24)
    assert "EXTRAPOLATED: flops 100 times the largest run, params " in beyond.stdout
    assert json.loads(out.read_text())["allocations"][0]["extrapolated"][0].startswith("flops 100")
    below = run(*base, "--optimal-at", 3e15)
    assert "flops 100 times below the smallest run" in below.stdout
    diagonal = tmp_path / "diagonal.csv"
    columns, exact = surface(7, 7)
    frame = pd.DataFrame(columns).assign(val_loss=noisy(exact, 1))
    frame[frame["params"] * frame["tokens"] < 1e20].to_csv(diagonal, index=False)
    corner = run("predict", diagonal, "--bootstrap", 100, "--at", "params=1e10,tokens=1e11")
    assert "EXTRAPOLATED: params x tokens " in corner.stdout


def test_next_runs_say_that_a_target_is_beyond_the_runs(ladders: Path) -> None:
    base = ("next-runs", ladders, "--arm", "dense", "--law", "compute", "--e", 1, "--budget", 1e21)
    assert "# The target is EXTRAPOLATED: flops 10 " in run(*base, "--at", "flops=1e22").stdout
    assert "EXTRAPOLATED" not in run(*base, "--at", "flops=1e20").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "--bootstrap", 0),
        ("predict", "--optimal-at", 1e20, "--bootstrap", 100),
        ("compare", "--bootstrap", 100),
        ("isoflop", "--bootstrap", 100),
        ("next-runs", "--arm", "a", "--at", "params=1e9,tokens=100", "--budget", 1e22),
    ],
    ids=lambda arguments: arguments[0],
)
def test_units_that_do_not_fit_together_are_said(
    arguments: tuple[object, ...], tmp_path: Path
) -> None:
    columns, exact = surface(7, 7)
    frame = pd.DataFrame(columns).rename(columns={"flops": "train_flops"})
    frame = frame.assign(val_loss=noisy(exact, 1), preset="s", ffn_kind="dense")
    frame["arm"] = ["a", "b"] * 24 + ["a"]
    frame = frame.sort_values("train_flops")
    if arguments[0] == "isoflop":
        frame["train_flops"] = np.repeat(np.geomspace(1e18, 1e22, 7), 7)
        frame["val_loss"] += np.tile([0.2, 0.1, 0, 0.02, 0.1, 0.2, 0.3], 7)
    frame.to_csv(tmp_path / "plain.csv", index=False)
    frame.assign(tokens=frame["tokens"] / 1e6).to_csv(tmp_path / "millions.csv", index=False)
    name, *more = arguments
    done = run(name, tmp_path / "millions.csv", *more)
    assert done.exit_code == 0, done.output
    assert "do not fit together" in done.stdout
    if name != "isoflop":
        assert "do not fit together" not in run(name, tmp_path / "plain.csv", *more).stdout


def test_isoflop_refuses_edges_and_prints_its_bias(tmp_path: Path) -> None:
    rows = []
    for C in (1e18, 1e19, 1e20):
        best = ((0.35 * 480) / (0.37 * 2100)) ** (1 / 0.72) * (C / 6) ** (0.37 / 0.72)
        for factor in np.geomspace(0.2, 6, 9):
            N = best * factor
            rows.append((N, C, 1.8 + 480 * N**-0.35 + 2100 * (C / 6 / N) ** -0.37))
    rows += [(N, 1e21, 1.8 + 480 * N**-0.35 + 0.1) for N in (1e7, 2e7, 4e7, 8e7, 1.6e8)]
    frame = pd.DataFrame(rows, columns=["params", "train_flops", "val_loss"])
    frame["val_loss"] = noisy(frame["val_loss"].to_numpy(), 0, 1e-4)
    frame.to_csv(tmp_path / "iso.csv", index=False)
    out = tmp_path / "iso.json"
    done = run(
        "isoflop",
        tmp_path / "iso.csv",
        "--flops-col",
        "train_flops",
        "--bootstrap",
        300,
        "--json",
        out,
    )
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert "largest model's" in found["minima"][-1]["refused"]
    assert found["minima"][-1]["parabola_params"] is None
    assert found["params_exponent"]["value"] == pytest.approx(0.37 / 0.72, abs=0.05)
    assert 0.5 < found["minima"][0]["bias"] < 1.5 and "a bias of the method" in done.stdout


def test_next_runs_are_rows_of_a_study(ladders: Path, tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    fragment = tmp_path / "points.yaml"
    done = run(
        "next-runs", ladders, "--arm", "<b>lowrank</b>", "--law", "compute", "--e", 1.0,
        "--at", "flops=1e22", "--budget", 1e21, "--out", fragment, "--json", tmp_path / "n.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = YAML(typ="safe").load(fragment.read_text())["points"]
    assert rows and set(rows[0]) == {"preset", "ffn", "budget", "seed"}
    assert rows[0]["ffn"] == {"kind": "lowrank", "rank": 16, "arm": "<b>lowrank</b>"}
    found = json.loads((tmp_path / "n.json").read_text())
    assert found["sd_after"] < found["sd_before"] and found["flops"] <= 1e21


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "absent.csv"], "absent.csv: cannot be read as CSV"),
        (["fit", "{points}", "--law", "chinchila"], "nearest: 'chinchilla'"),
        (["fit", "{points}", "--loss", "l3"], "one of huber, l1, l2"),
        (["fit", "{points}", "--loss-col", "LL"], "no column 'LL'"),
        (["fit", "{points}", *NAMED, "--e", "9"], "below the lowest loss"),
        (["predict", "{points}"], "nothing to predict"),
        (["predict", "{points}", "--at", "params=7e9"], "tokens is missing"),
        (["predict", "{points}", "--at", "params=x,tokens=1"], "is not NAME=NUMBER"),
        (["compare", "{points}", "--loss-col", "L", "--flops-col", "C"], "no column 'arm'"),
        (["next-runs", "{points}", "--at", "params=1,tokens=1", "--budget", "-1"], "--budget -1"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(arguments: list[str], words: str, points: Path) -> None:
    done = run(*[text.replace("{points}", str(points)) for text in arguments])
    assert done.exit_code == 2, done.output
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert not done.stdout


@pytest.mark.slow
def test_two_million_rows(tmp_path: Path) -> None:
    columns, _ = surface(1000, 2000)
    exact = 1.8 + 480 * columns["params"] ** -0.35 + 2100 * columns["tokens"] ** -0.37
    frame = pd.DataFrame({"params": columns["params"], "tokens": columns["tokens"]})
    frame["val_loss"] = noisy(exact, 0)
    frame.to_csv(tmp_path / "runs.csv", index=False)
    out = tmp_path / "fit.json"
    done = run("fit", tmp_path / "runs.csv", "--delta", 1e-3, "--json", out)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert found["n_used"] == 2_000_000 and found["bootstrap"]["method"] == "sandwich"
    assert found["params"] == pytest.approx(TRUTH, rel=0.02)


def test_next_runs_load_as_a_study(tmp_path: Path) -> None:
    from study.plan.planner import load

    runs = Path(__file__).parents[1] / "exported" / "runs.csv"
    spec = tmp_path / "next.yaml"
    done = run(
        "next-runs", runs, "--arm", "lowrank 31.25%", "--law", "compute", "--e", 0,
        "--at", "flops=1e14", "--budget", 3e13, "--out", spec,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    spec.write_text("study: next\nmax_total_flops: 3.3e13\n" + spec.read_text())
    points = load(spec, tmp_path / "runs").points
    rows = [line for line in spec.read_text().splitlines() if line.startswith("  - {")]
    assert len(points) == len(rows) > 1
    assert {point.variant.arm_name() for point in points} == {"lowrank 31.25%"}
    assert sum(point.train_flops for point in points) <= 3.3e13


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "--outliers", "-1"], "outliers beyond -1 robust s.d.: give a positive number"),
        (["fit", "--outliers", "nan"], "give a positive number"),
        (["compare", "--at", "0", "--extrapolate"], "slopes at 0 FLOPs: give a positive number"),
        (["compare", "--at", "nan"], "slopes at nan FLOPs"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    arguments: list[str], words: str, ladders: Path
) -> None:
    done = run(arguments[0], ladders, *arguments[1:], "--bootstrap", 100)
    assert done.exit_code == 2 and words in done.stderr and done.stderr.count("\n") == 1
