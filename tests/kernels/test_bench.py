"""`python -m kernels`: what its commands record, print and refuse."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from kernels.__main__ import app
from kernels.bench import ceilings, claims, latency, records, table
from kernels.bench.claims import CLAIMS, Claim, FFNTask, LossTask, named, of_kernels, of_steps
from kernels.bench.errors import InputError
from kernels.bench.ffn import Layer
from kernels.bench.provenance import source_hash
from kernels.machine import cpu_name

LAYER = Layer("blockshuffle", 32, 0.3125)
TINY = (
    Claim("a/plain", "cpu", FFNTask(LAYER, 8), "plain", 1e-9, 1e-9),
    Claim("a/dense", "cpu", FFNTask(LAYER, 8), "dense", 1e9, 1e9),
    Claim("a/onednn", "cpu", FFNTask(LAYER, 8), "default", 1e9, None),
    Claim("b", "cpu", LossTask(8, 16, 40), "logits", 1e-9, 1e-9),
    Claim("a/plain", "cuda", FFNTask(LAYER, 8), "plain", 2.5, 2.5),
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIMS", TINY)
    monkeypatch.setattr(table, "CLAIMS", TINY)
    sizes = ceilings.Sizes(square=16, copied_bytes=1024, rounds=1)
    monkeypatch.setattr(ceilings.Sizes, "of", classmethod(lambda cls, device: sizes))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_line_for_each_pair(tmp_path: Path) -> None:
    out = tmp_path / "new" / "results.jsonl"
    done = run("bench", "a", "--device", "cpu", "--rounds", 3, "--out", out)
    assert done.exit_code == 1, done.output  # a/dense does not hold.
    shown = [line.split() for line in done.stdout.splitlines()]
    verdicts = [(line[0], line[-1]) for line in shown[:2]]
    assert verdicts == [("a/plain", "held"), ("a/dense", "missed")]
    assert f"appended to {out}" in done.stderr

    lines = records.read(out)
    assert [line["claim"] for line in lines][:2] == ["a/plain", "a/dense"]
    for line in lines:
        subject, baseline = line["samples"]["subject"], line["samples"]["baseline"]
        assert len(subject) == len(baseline) == 3 and min(subject + baseline) > 0
        each = sorted(b / s for s, b in zip(subject, baseline, strict=True))
        assert list(line["ratio"].values()) == [each[1], each[0], each[2]]
        assert line["held"] == (each[1] >= line["gate"])
        assert line["share_of_gemm_ceiling"] > 0
        assert min(line["ceilings"].values()) > 0 and line["gemm_probe"]["error"] > 0
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


def test_the_results_file_is_named_by_the_hardware() -> None:
    path = records.file_of(torch.device("cpu"))
    assert path.parent.parts[-3:] == ("kernels", "bench", "results")
    assert path.suffix == ".jsonl" and re.fullmatch("[a-z0-9-]+", path.stem)


def test_names_are_claims_or_what_they_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIMS", CLAIMS)
    cpu = of_kernels("cpu")
    assert named([], cpu) == cpu and not set(of_steps()) & set(cpu)
    assert len(named(["blockshuffle/plain"], cpu)) == 4
    assert [c.name for c in named(["dense/default/w256"], cpu)] == ["dense/default/w256"]
    with pytest.raises(InputError, match="lowrang: no such claim here; the nearest is lowrank"):
        named(["lowrank", "lowrang"], cpu)
    for claims_of in (cpu, of_kernels("cuda")):
        names = [claim.name for claim in claims_of]
        assert len(names) == len(set(names))


def test_gates_depend_on_onednn_on_a_cpu_alone() -> None:
    claim = replace(TINY[0], gate=1.5, gate_default=1.0)
    assert (claim.gate_with(True), claim.gate_with(False)) == (1.5, 1.0)
    assert replace(claim, device="cuda").gate_with(False) == 1.5
    assert TINY[2].gate_with(False) is None


def test_hashes_are_of_what_is_measured(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "a.py").write_text("1")
    (tmp_path / "operation.py").write_text("1")
    before = source_hash(tmp_path)
    (tmp_path / "bench" / "a.py").write_text("2")
    assert source_hash(tmp_path) == before
    (tmp_path / "operation.py").rename(tmp_path / "other.py")
    moved = source_hash(tmp_path)
    assert moved != before
    (tmp_path / "other.py").write_text("2")
    assert source_hash(tmp_path) not in (before, moved)


def line(name: str, **changes: Any) -> dict[str, Any]:
    """A line as `bench` writes it, of the kernels as they are."""
    return {
        "claim": name,
        "device": "cpu",
        "gate": 1e-9,
        "ratio": {"median": 1.5, "low": 1.25, "high": 1.75},
        "held": True,
        "source": source_hash(),
        "hardware": "a machine",
        "threads": 1,
        "kernel_path": "gemm=mkl",
        "ceilings": {"gemm_flops_per_second": 1e11, "copy_bytes_per_second": 1e10},
        "gemm_probe": {"error": 2e-3, "speedup": None},
        "versions": {"torch": "2"},
        "time": "2026-01-01T00:00:00+00:00",
        "share_of_gemm_ceiling": 0.5,
    } | changes


def write(path: Path, *lines: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def statuses(text: str) -> dict[str, str]:
    """By claim and position of its section."""
    found: dict[str, str] = {}
    for number, section in enumerate(text.split("\n## ")[1:]):
        rows = [row.split(" | ") for row in section.splitlines() if row.startswith("| `")]
        found |= {f"{number}:{row[0].strip('| `')}": row[-1].removesuffix(" |") for row in rows}
    return found


def test_the_table_says_what_each_claim_stands_on(tmp_path: Path) -> None:
    write(
        tmp_path / "machine.jsonl",
        line("a/plain", held=False),
        line("a/plain"),  # The newest counts.
        line("a/dense", gate=1e9, held=False),
        line("b", source="another"),
    )
    text = table.table(tmp_path)
    assert statuses(text) == {
        "0:a/plain": "verified",
        "0:a/dense": "missed",
        "0:a/onednn": "not measured",
        "0:b": "stale",
        "1:a/plain": "not measured",
    }
    assert "## a machine: CPU" in text and "## CUDA, bfloat16: no run recorded" in text
    assert "1.50 (1.25-1.75) | 50%" in text and "100 GFLOP/s and 10.0 GB/s" in text
    assert "oneDNN's float32 products err by 2.0e-03." in text
    assert "1000000000.00 with oneDNN, none by default" in text


def test_the_table_gives_the_probes_speed_where_it_was_timed(tmp_path: Path) -> None:
    write(tmp_path / "machine.jsonl", line("b", gemm_probe={"error": 3e-7, "speedup": 1.5}))
    assert "err by 3.0e-07 and are 1.50 times as fast as the default." in table.table(tmp_path)


def test_a_changed_gate_is_stale(tmp_path: Path) -> None:
    write(tmp_path / "machine.jsonl", line("a/plain", gate=1.0))
    assert statuses(table.table(tmp_path))["0:a/plain"] == "stale"


def test_a_damaged_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "machine.jsonl"
    write(path, line("b"), {"claim": "b"})
    with pytest.raises(InputError, match=r"machine\.jsonl, line 2: not a measured pair, without"):
        table.table(tmp_path)
    path.write_text("{")
    with pytest.raises(InputError, match=r"machine\.jsonl, line 1: not a measured pair"):
        table.table(tmp_path)


def test_the_published_table_is_the_present_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "CLAIMS", CLAIMS)
    published = records.RESULTS.with_name("RESULTS.md").read_text(encoding="utf-8")
    assert published == run("table").stdout, "python -m kernels table > kernels/bench/RESULTS.md"


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


def test_latency_writes_what_the_figure_reads(tmp_path: Path) -> None:
    from analysis.tables.latency import load_latencies

    out = tmp_path / "new" / "latency.csv"
    sizes = ("--width", 32, "--width", 64, "--tokens", 64)
    done = run("bench", "latency", "--device", "cpu", *sizes, "--rounds", 1, "--out", out)
    assert done.exit_code == 0, done.output
    found = load_latencies([out])
    assert (found.measured, found.hardware) == ("forward", cpu_name())
    assert {(one.width, one.tokens) for one in found.timings} == {
        (32, 64), (64, 64), (32, 16), (64, 16)
    }  # fmt: skip
    at_widest = [one for one in found.timings if (one.width, one.tokens) == (64, 64)]
    assert len(at_widest) == 4 * 3 - 1  # Blockshuffle has no 47%.
    for one in found.timings:
        assert one.params == pytest.approx(one.fraction * 8 * one.width**2)
        assert min(one.seconds, one.dense_seconds) > 0


def test_the_sweep_on_cuda_is_the_papers() -> None:
    sweep = latency.Sweep.of(torch.device("cuda"))
    points = list(sweep.points())
    assert len(points) == len(set(points))
    assert sweep.tokens == 30_720 and sweep.weights_width == 5120
    assert {w for w, n, _ in points if n == 2048} == {2048, 3072, 5120, 6144}
    assert {share for w, n, share in points if (w, n) == (5120, 30_720)} == {
        0.625, 0.46875, 0.3125, 0.15625
    }  # fmt: skip
