"""The envelope of training curves: the frontier of a known surface, and its bias measured."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.commands.app import app
from analysis.laws.power import ComputeLaw
from analysis.scaling.arm import Settings
from analysis.scaling.envelope import end_rows, envelope, lowest_rows
from analysis.tables.table import Columns, Table, table_of
from tests.analysis.known import TRUTH

EXPORTED = Path(__file__).parents[1] / "exported" / "curves.csv"


def curves(late: float = 0.0) -> pd.DataFrame:
    """Curves of 24 sizes on the surface `TRUTH`, which before their end lie `late` higher."""
    parts = []
    for i, N in enumerate(np.geomspace(2e6, 2e11, 24)):
        D = np.geomspace(N / 2, 40 * N, 120)
        loss = 1.8 + TRUTH["A"] * N ** -TRUTH["alpha"] + TRUTH["B"] * D ** -TRUTH["beta"]
        loss[:-1] *= 1 + late
        parts.append(
            pd.DataFrame({"point_id": f"run-{i}", "train_flops": 6 * N * D, "val_loss": loss})
        )
    return pd.concat(parts, ignore_index=True)


def table(frame: pd.DataFrame) -> Table:
    return table_of(frame, "curves", Columns(group="point_id"), ("flops",))


def settings() -> Settings:
    return Settings(ComputeLaw(), resampling=None)


def test_the_frontier_of_a_known_surface() -> None:
    found = envelope(table(curves()), settings())
    a, b = TRUTH["alpha"], TRUTH["beta"]
    # At the best split of C both terms fall as C^-(ab/(a+b)).
    assert found.arm.fit.params["b"] == pytest.approx(a * b / (a + b), rel=0.05)
    assert found.arm.fit.params["E"] == pytest.approx(TRUTH["E"], rel=0.02)
    assert found.n_runs > 10 and found.n_ends == 24


def test_no_point_lies_above_one_of_fewer_flops() -> None:
    whole = table(curves())
    lowest = whole.take(lowest_rows(whole))
    assert (np.diff(lowest.values["flops"]) > 0).all() and (np.diff(lowest.loss) < 0).all()
    ends = whole.take(end_rows(whole))
    assert ends.n == 24 and ends.group is not None and len(set(ends.group)) == 24


def test_schedules_that_decay_late_show_as_bias() -> None:
    without = envelope(table(curves()), settings()).bias
    # Ends lie on the envelope too, so it rises by part of what the others do.
    assert without + 0.01 < envelope(table(curves(late=0.03)), settings()).bias < without + 0.03


def test_the_command_says_its_bias(tmp_path: Path) -> None:
    out = tmp_path / "envelope.json"
    arguments = ["envelope", str(EXPORTED), "--by", "arm", "--e", "0", "--json", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--bootstrap", "200"])
    assert done.exit_code == 0, done.output
    assert done.stdout.count("bias: it lies") == 3
    dense = json.loads(out.read_text())["arms"]["dense"]
    assert dense["bootstrap"]["clusters"] == 3 and dense["bias_at_the_ends"] > 0
    assert dense["law_of_the_ends"]["b"] == pytest.approx(0.0951, abs=1e-3)


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["envelope", str(EXPORTED), "--group-col", "run"])
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert "no column 'run'" in done.stderr
