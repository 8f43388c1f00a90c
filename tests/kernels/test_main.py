"""`python -m kernels`: what its commands record, print and refuse."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from kernels import __main__ as command_line
from kernels import switches
from kernels.bench import claims, records, roofline, table
from kernels.bench.app import app
from kernels.bench.errors import InputError
from kernels.machine import cpu_name, source_hash
from tests.kernels.bench.tiny import CLAIMS


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIMS", CLAIMS)
    sizes = roofline.Sizes(square=16, copied_bytes=1024, rounds=1)
    monkeypatch.setattr(roofline.Sizes, "of", classmethod(lambda cls, device: sizes))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_line_for_each_pair(tmp_path: Path) -> None:
    out = tmp_path / "new" / "results.jsonl"
    done = run("bench", "a", "--device", "cpu", "--rounds", 3, "--out", out)
    assert done.exit_code == 1, done.output  # a/dense is missed.
    shown = [line.split() for line in done.stdout.splitlines()]
    verdicts = [(line[0], line[-1]) for line in shown[:3]]
    assert verdicts == [("a/plain", "verified"), ("a/dense", "missed"), ("a/peak", "missed")]
    assert "of peak, at least 100000000000%" in done.stdout
    assert f"appended to {out}" in done.stderr

    lines = records.read(out)
    assert [line["claim"] for line in lines][:2] == ["a/plain", "a/dense"]
    for line in lines:
        candidate, baseline = line["samples"]["candidate"], line["samples"]["baseline"]
        assert len(candidate) == len(baseline) == 3 and min(candidate + baseline) > 0
        each = sorted(b / c for c, b in zip(candidate, baseline, strict=True))
        assert list(line["ratio"].values()) == [each[1], each[0], each[2]]
        reached = line["fraction_of_gemm_peak"] >= (line["least_of_peak"] or 0)
        assert line["verified"] == (each[1] >= line["threshold"] and reached)
        assert line["fraction_of_gemm_peak"] > 0
        assert min(line["roofline"].values()) > 0
        assert (line["hardware"], line["threads"]) == (cpu_name(), 1)
        assert line["versions"]["torch"] == torch.__version__
        assert line["source"] == source_hash() and "gemm=" in line["kernel_path"]
        assert {"commit", "uncommitted_changes", "time", "fraction"} <= line.keys()


def test_results_are_appended_to(tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    for _ in range(2):
        assert run("bench", "b", "--device", "cpu", "--rounds", 1, "--out", out).exit_code == 0
    first, second = records.read(out)
    assert first["claim"] == second["claim"] == "b" and first != second


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bench", "c", "--device", "cpu"], "c: no such claim here; the nearest is"),
        (["bench", "--device", "tpu"], "--device tpu: give cpu or cuda"),
        (["bench", "latency", "--width", "36", "--out", "x"], "--width 36 must be a multiple of 8"),
    ],
)
def test_mistakes_are_named_with_their_remedy(arguments: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none() -> None:
    with pytest.raises(InputError, match="torch finds no CUDA device"):
        CliRunner().invoke(app, ["bench", "--device", "cuda"], catch_exceptions=False)


def test_the_table_is_printed_and_nothing_else() -> None:
    done = run("table")
    assert (done.exit_code, done.stdout, done.stderr) == (0, table.table(), "")


def test_a_mistake_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["kernels", "bench", "c", "--device", "cpu"])
    with pytest.raises(SystemExit) as left:
        command_line.main()
    shown = capsys.readouterr()
    assert (left.value.code, shown.out) == (2, "")
    assert shown.err.startswith("c: no such claim") and shown.err.count("\n") == 1


def test_a_mistake_in_the_environment_stops_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(switches, "_mistake", "KERNELS=gem is not understood")
    monkeypatch.setattr("sys.argv", ["kernels", "table"])
    with pytest.raises(SystemExit) as left:
        command_line.main()
    assert (left.value.code, *capsys.readouterr()) == (2, "", "KERNELS=gem is not understood\n")
