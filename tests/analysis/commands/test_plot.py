"""`python -m analysis plot`: what each figure shows, the files of one; mistakes are one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from typer.testing import CliRunner, Result

from analysis.commands.app import app
from analysis.figures.registry import PLOTS
from analysis.tables import published
from tests.analysis.known import falling

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


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def names(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn(axes: Axes) -> list[list[tuple[float, float]]]:
    """The points of each line of the axes, without empty lines."""
    lines = [np.asarray(line.get_xydata()) for line in axes.get_lines()]
    return [[(float(x), float(y)) for x, y in points] for points in lines if len(points)]


def test_the_command_writes_three_files_of_one_picture(tmp_path: Path) -> None:
    done = plot("schematic", "--out", tmp_path / "new")
    assert done.exit_code == 0, done.output
    paths = [tmp_path / "new" / f"schematic{suffix}" for suffix in (".svg", ".pdf", ".png")]
    assert done.stdout.split() == [str(path) for path in paths]
    svg = paths[0].read_text()
    assert all(f"<!-- {kind} -->" in svg for kind in (*KINDS, "blockshuffle"))
    image = matplotlib.image.imread(paths[2])
    height, width = image.shape[:2]
    assert width > 2 * height > 800 and image[:, :, :3].min() < 0.1 < image.mean()
    assert b"/MediaBox" in paths[1].read_bytes()


def test_scaling_of_a_run_table(study: Path) -> None:
    figure = PLOTS["scaling"].draw([study])
    assert titles(figure) == ["lowrank", "blockdense"]
    assert names(figure) == ["dense", "lowrank", "blockdense"]
    # Unguided runs only; one of dense has diverged, and one size carries no line.
    assert [drawn(axes) for axes in figure.axes] == [
        [[(1e12, 2.5)], [(1e12, 2.5)] * 2],
        [[(1e12, 2.5)], [(1e12, 2.5)] * 2],
    ]


def test_scaling_in_bits_per_byte_and_on_another_text(study: Path, tmp_path: Path) -> None:
    table = pd.read_csv(study)
    table.assign(**{"bits_per_byte": 1.25, "val_loss/wiki": 3.5}).to_csv(study, index=False)
    for loss, value, label in (
        ("bits_per_byte", 1.25, "validation loss (bits per byte)"),
        ("val_loss/wiki", 3.5, "validation loss on wiki (nats per token)"),
    ):
        figure, _ = PLOTS["scaling"].make([study], loss)
        assert figure.axes[0].get_ylabel() == label
        assert drawn(figure.axes[0])[0] == [(1e12, value)]
    done = plot("scaling", study, "--loss-col", "bits_per_byte", "--out", tmp_path / "out")
    assert done.exit_code == 0 and (tmp_path / "out" / "scaling.svg").exists()
    table.assign(bits_per_byte=np.nan).to_csv(study, index=False)
    done = plot("scaling", study, "--loss-col", "bits_per_byte", "--out", tmp_path / "none")
    assert done.exit_code == 2 and "the bytes of the text were not known" in done.stderr


def test_guided_of_a_run_table(study: Path) -> None:
    figure = PLOTS["guided"].draw([study])
    assert titles(figure) == ["lowrank", "blockdense"]
    assert names(figure) == ["dense", "more tokens", "self-guided"]
    for axes in figure.axes:
        bubbles = [np.asarray(one.get_offsets()) for one in axes.collections]
        assert [len(one) for one in bubbles] == [1, 2, 2]
        assert all(one[:, 1] == pytest.approx(np.exp(2.5)) for one in bubbles)
    assert figure.axes[0].get_ylabel() == "validation perplexity"


def test_dynamics_of_a_run_table(study: Path) -> None:
    """A row a kind and a column a rate; the run that diverged is drawn as far as it came."""
    figure = PLOTS["dynamics"].draw([study])
    assert titles(figure)[:2] == ["learning rate 0.001", "learning rate 0.005"]
    assert names(figure) == ["dense", "structured", "self-guided"]
    steps = [[len(line) for line in drawn(axes)] for axes in figure.axes]
    assert steps == [[20, 20, 20], [10, 20, 20]] * 2


def test_curves_of_a_run_table(study: Path) -> None:
    figure = PLOTS["curves"].draw([study])
    assert titles(figure) == ["s, lowrank", "s, blockdense"]
    assert names(figure) == ["dense", "lowrank", "blockdense"]
    assert figure.axes[0].get_ylabel() == "training loss (nats per token)"


def test_published_scaling_is_the_published_table() -> None:
    plotted = PLOTS["scaling"].published
    assert plotted is not None
    figure, table = plotted(), published.scaling()
    assert titles(figure) == ["lowrank", "blockdense", "blockshuffle"]
    points = {point for axes in figure.axes for line in drawn(axes) for point in line}
    assert set(zip(table["train_flops"], table["val_loss"], strict=True)) <= points


def test_published_guided_and_latency_are_the_published_tables() -> None:
    guided, latency = PLOTS["guided"].published, PLOTS["latency"].published
    assert guided is not None and latency is not None
    (axes,) = guided().axes
    offsets = np.concatenate([np.asarray(one.get_offsets()) for one in axes.collections])
    assert set(published.wide()["perplexity"][2:]) <= set(offsets[:, 1])
    points = {point for line in drawn(latency().axes[0]) for point in line}
    table = published.latency()
    assert set(zip(table["ffn_fraction"], table["speedup"], strict=True)) <= points


def test_points_read_off_a_figure_are_said_to_be(tmp_path: Path) -> None:
    done = plot("guided", "--published-only", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    assert "read off the paper's figure to ±0.002 nats" in done.stderr
    assert "±0.002 nats" in (tmp_path / "guided.svg").read_text()
    assert PLOTS["scaling"].published_note == PLOTS["guided"].published_note


def test_latency_of_several_files(tmp_path: Path) -> None:
    files = [written(tmp_path / f"{w}.json", train_bench(w)) for w in (256, 512)]
    figure = PLOTS["latency"].draw(files)
    assert titles(figure) == [
        "63% of the weights, 64 tokens",
        "32% of the weights, 64 tokens",
        "width 512, 64 tokens",
        "",
    ]
    assert "3.20x" in [text.get_text() for text in figure.axes[1].texts]
    dense = [(width, 1e3 * width**2 * 1e-8) for width in (256, 512)]
    assert np.array(drawn(figure.axes[0])[0]) == pytest.approx(np.array(dense))
    assert names(figure) == ["dense", "lowrank", "blockdense", "blockshuffle"]


def test_latency_of_decoding(tmp_path: Path) -> None:
    figure = PLOTS["latency"].draw([written(tmp_path / "decode.json", decode_bench())])
    by_tokens = next(a for a in figure.axes if a.get_title() == "width 64, 23% of the weights")
    dense, structured = drawn(by_tokens)
    tokens = np.array([1, 8, 64])
    for line, times in ((structured, 0.1 + tokens * 1e-3), (dense, 0.05 + tokens * 2e-3)):
        assert np.array(line) == pytest.approx(np.stack([tokens, times], axis=1))


def test_latency_from_a_table(tmp_path: Path) -> None:
    """As `python -m kernels bench latency` writes it: widths, weights and token counts."""
    points = [(w, 64, fraction) for w in (128, 256) for fraction in (0.625, 0.3125)]
    points += [(128, 64, 0.47), *((128, n, 0.3125) for n in (8, 16))]
    rows = [
        {
            "kind": "lowrank",
            "fraction": fraction,
            "width": width,
            "tokens": tokens,
            "params": fraction * 8 * width**2,
            "seconds": fraction * tokens * width**2,
            "dense_seconds": tokens * width**2,
            "measured": "forward",
            "hardware": "cpu",
        }
        for width, tokens, fraction in points
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "latency.csv", index=False)
    figure = PLOTS["latency"].draw([tmp_path / "latency.csv"])
    # Weights are swept at the narrower width; tokens at one fraction of the weights.
    assert titles(figure) == [
        "63% of the weights, 64 tokens",
        "32% of the weights, 64 tokens",
        "width 128, 64 tokens",
        "width 128, 31% of the weights",
        "",
    ]
    assert "time of forward, cpu" in figure.legends[0].get_title().get_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scalin"], "nearest: 'scaling'"),
        (["scaling"], "give a run table RUNS.csv"),
        (["scaling", "absent.csv"], "absent.csv: cannot be read as CSV"),
        (["guided", "{study}", "more.csv"], "more.csv is one file too many"),
        (["schematic", "{study}"], "is not read"),
        (["scaling", "{study}", "--loss-col", "bits_per_bite"], "nearest: 'bits_per_byte'"),
        (["guided", "{study}", "--loss-col", "bits_per_byte"], "draws no other loss; leave"),
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


@pytest.mark.parametrize("name", ["scaling", "guided", "dynamics", "curves"])
def test_units_that_do_not_fit_together_are_said_by_every_figure(name: str, study: Path) -> None:
    plain = plot(name, study, "--out", study.parent)
    assert (plain.exit_code, plain.stderr) == (0, "")
    runs = pd.read_csv(study)
    runs.assign(tokens=runs["tokens"] / 1e9).to_csv(study, index=False)
    done = plot(name, study, "--out", study.parent)
    assert done.exit_code == 0 and done.stderr.startswith("caution: ")
    assert "do not fit together" in done.stderr and done.stdout == plain.stdout


def test_a_curve_that_could_be_of_two_columns_is_refused(study: Path) -> None:
    curves = pd.read_csv(study.parent / "curves.csv")
    curves.assign(Step=0).to_csv(study.parent / "curves.csv", index=False)
    done = plot("curves", study, "--out", study.parent)
    assert done.exit_code == 2 and "'step' or 'Step' may be the column 'step'" in done.stderr


def test_curves_that_are_not_there(study: Path) -> None:
    (study.parent / "curves.csv").unlink()
    done = plot("curves", study, "--out", study.parent)
    assert done.exit_code == 2 and "writes curves.csv" in done.stderr


def test_help_lists_the_names() -> None:
    shown = plot("--help").stdout
    assert all(name in shown for name in PLOTS)
