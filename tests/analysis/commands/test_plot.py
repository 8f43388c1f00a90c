"""`python -m analysis plot`: every name draws three files; mistakes are one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from analysis.__main__ import app
from analysis.figures.registry import PLOTS
from tests.analysis.figures.test_curves import falling

Row = Callable[..., dict[str, Any]]
KINDS = ("dense", "lowrank", "blockdense")


def plot(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["plot", *map(str, arguments)])


@pytest.fixture
def study(row: Row, tmp_path: Path) -> Path:
    """Runs with curves: kinds at two rates, with and without guidance; one diverged."""
    rows, curves = [], []
    for kind in KINDS:
        for rate in (1e-3, 5e-3):
            for ratio in (None, 0.4) if kind != "dense" else (None,):
                name = f"{kind}{' guided' if ratio else ''}"
                point = f"{name}-{rate:g}"
                own = {"point_id": point, "ffn_kind": kind, "guide_ratio": ratio}
                rows.append(row("s", name, learning_rate=rate, ffn_fraction=0.3, **own))
                curves.append(falling(point, name, 2.0))
    rows[1]["status"] = "diverged"
    curves[1].loc[10:, "train_loss"] = None
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv", index=False)
    pd.concat(curves).to_csv(tmp_path / "curves.csv", index=False)
    return tmp_path / "runs.csv"


def train_bench(width: int, tokens: int = 64, hardware: str = "cpu") -> dict[str, Any]:
    """As `python -m workloads bench train` writes it; times proportional to weights."""
    dense = width**2 * 1e-8
    shares = {"lowrank r8": 0.625, "lowrank r4": 0.3125, "blockshuffle B4": 0.3125}
    return {
        "size": {"width": width, "tokens": tokens},
        "environment": {"hardware": hardware},
        "rows": [
            {
                "name": name,
                "fraction": share,
                "samples": {"dense": [dense] * 3, "ours": [dense * share] * 3},
            }
            for name, share in shares.items()
        ],
    }


def decode_bench() -> dict[str, Any]:
    ffn = {"kind": "blockdense", "rank": 16, "nblocks": 2}
    return {
        "model": {"hidden_dim": 64, "ffn_dim": 256, "ffn": ffn},
        "environment": {"hardware": "cpu"},
        "ladder": [
            {"tokens": n, "structured": [1e-4 + n * 1e-6], "merged": [5e-5 + n * 2e-6]}
            for n in (1, 8, 64)
        ],
    }


def written(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document))
    return path


def assert_drawn(done: Result, folder: Path, name: str) -> None:
    assert done.exit_code == 0, done.output
    paths = [folder / f"{name}{suffix}" for suffix in (".svg", ".pdf", ".png")]
    assert done.stdout.split() == [str(path) for path in paths]
    assert [path.read_bytes()[:4] for path in paths] == [b"<?xm", b"%PDF", b"\x89PNG"]


@pytest.mark.parametrize("name", ["scaling", "guided", "dynamics", "curves"])
def test_from_a_run_table(name: str, study: Path, tmp_path: Path) -> None:
    assert_drawn(plot(name, study, "--out", tmp_path / "out"), tmp_path / "out", name)


@pytest.mark.parametrize("name", [name for name, one in PLOTS.items() if one.published])
def test_from_what_was_published(name: str, tmp_path: Path) -> None:
    assert_drawn(plot(name, "--published-only", "--out", tmp_path), tmp_path, name)


@pytest.mark.parametrize("name", ["scaling", "guided"])
def test_points_read_off_a_figure_are_said_to_be(name: str, tmp_path: Path) -> None:
    done = plot(name, "--published-only", "--out", tmp_path)
    assert "read off the paper's figure to ±0.002 nats" in done.stderr
    assert "±0.002 nats" in (tmp_path / f"{name}.svg").read_text()


def test_latency_of_several_files(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{w}.json", train_bench(w)) for w in (256, 512)]
    assert_drawn(plot("latency", *files, "--out", tmp_path), tmp_path, "latency")
    assert "3.20x" in (tmp_path / "latency.svg").read_text()
    decoded = written(tmp_path / "decode.json", decode_bench())
    assert_drawn(plot("latency", decoded, "--out", tmp_path), tmp_path, "latency")
    svg = (tmp_path / "latency.svg").read_text()
    assert "width 64, 23% of the weights" in svg


def test_latency_from_a_table(tmp_path: Path) -> None:
    """As `python -m kernels bench latency` writes it: widths, weights and token counts."""
    points = [(w, 64, share) for w in (128, 256) for share in (0.625, 0.3125)]
    points += [(128, 64, 0.47), *((128, n, 0.3125) for n in (8, 16))]
    rows = [
        {
            "kind": "lowrank",
            "fraction": share,
            "width": width,
            "tokens": tokens,
            "params": share * 8 * width**2,
            "seconds": share * tokens * width**2,
            "dense_seconds": tokens * width**2,
            "measured": "forward",
            "hardware": "cpu",
        }
        for width, tokens, share in points
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "latency.csv", index=False)
    assert_drawn(plot("latency", tmp_path / "latency.csv", "--out", tmp_path), tmp_path, "latency")
    svg = (tmp_path / "latency.svg").read_text()
    # Weights are swept at the narrower width; tokens at one share of the weights.
    for title in ("63% of the weights, 64 tokens", "width 128, 64 tokens"):
        assert title in svg
    assert "width 128, 31% of the weights" in svg and "width 128, 47%" not in svg
    assert "time of forward, cpu" in svg


def test_the_schematic_needs_no_file(tmp_path: Path) -> None:
    assert_drawn(plot("schematic", "--out", tmp_path), tmp_path, "schematic")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scalin"], "nearest: 'scaling'"),
        (["scaling"], "give a run table RUNS.csv"),
        (["scaling", "absent.csv"], "absent.csv: cannot be read as CSV"),
        (["scaling", "{study}", "more.csv"], "more.csv is one file too many"),
        (["schematic", "{study}"], "is not read"),
        (["scaling", "{study}", "--published-only"], "is not read; leave it out"),
        (["curves", "--published-only"], "it does for scaling, guided, latency"),
        (["latency", "{study}"], "not a benchmark's result"),
        (["latency", "{text}"], "cannot be read as JSON"),
        (["latency", "{empty}"], "holds no timing"),
        (["latency", "{other}"], "not a benchmark's result"),
        (["spectra", "{study}"], "no checkpoint"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, study: Path, tmp_path: Path
) -> None:
    other = written(tmp_path / "other.json", {"rows": []})
    places = {"{study}": str(study), "{other}": str(other)}
    for name, text in (("text.json", "no JSON"), ("empty.csv", "kind,fraction\n")):
        (tmp_path / name).write_text(text)
        places[f"{{{name.split('.')[0]}}}"] = str(tmp_path / name)
    done = plot(*[places.get(text, text) for text in arguments], "--out", tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert words in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_machines_share_no_axis(tmp_path: Path) -> None:
    files = [
        written(tmp_path / f"{name}.json", train_bench(256, hardware=name)) for name in ("a", "b")
    ]
    done = plot("latency", *files, "--out", tmp_path)
    assert done.exit_code == 2 and "share no axis" in done.stderr


def test_curves_that_are_not_there(study: Path) -> None:
    (study.parent / "curves.csv").unlink()
    done = plot("curves", study, "--out", study.parent)
    assert done.exit_code == 2 and "writes curves.csv" in done.stderr


def test_help_lists_the_names() -> None:
    shown = plot("--help").stdout
    assert all(name in shown for name in PLOTS)
