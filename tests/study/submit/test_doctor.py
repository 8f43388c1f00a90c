"""The doctor finds what is wrong, and only that: every problem here is a real one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from study.plan import planner
from study.submit import doctor
from study.submit.doctor import Check
from tests.study.launching import ROOT, in_process
from workloads.data import shards
from workloads.data.config import DataConfig


def checks(runs_dir: Path, spec: Path | None = None) -> dict[str, Check]:
    study = planner.load(spec, runs_dir) if spec else None
    return {check.name: check for check in doctor.examine(runs_dir, study)}


def test_healthy_machine_has_no_problem(
    write_spec: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    done = in_process("doctor", write_spec("healthy"), "--runs", tmp_path)
    lines = done.stdout.splitlines()
    assert [line.split()[1].rstrip(":") for line in lines] == [
        *("versions", "packages", "GPUs", "disk", "data", "MLflow", "Ray", "placement")
    ]
    assert all(line.startswith("ok ") for line in lines), done.stdout
    machine = in_process("doctor", write_spec("alone"), "--runs", tmp_path, "--machine", "--json")
    rows = json.loads(machine.stdout)
    assert [row["name"] for row in rows] == ["versions", "packages", "GPUs", "disk", "data"]
    assert [f"{row['name']}: {row['found']}" for row in rows] == [line[9:] for line in lines[:5]]


def test_point_that_fits_nowhere_is_named_with_the_reason(
    write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec = write_spec("unplaceable")
    small = spec.read_text()
    spec.write_text(small.replace("num_workers: 0", "num_workers: 0, gpus_per_worker: 64"))
    done = in_process("doctor", spec, "--runs", tmp_path, check=False)
    assert done.returncode == 1
    assert "no point can ever start" in done.stdout and f"{spec}:11: resources" in done.stdout


def test_point_that_no_gpu_holds_is_named(tmp_path: Path) -> None:
    spec = tmp_path / "heavy.yaml"
    spec.write_text("""\
study: heavy
max_total_flops: 1.0e21
hardware: {accelerator: a100-80g}
grid: {preset: [transformer-s, transformer-xl], ffn: [{kind: dense}]}
runtime: {micro_batch_size: 512}
resources: {num_workers: 1, gpus_per_worker: 1}
""")
    study = planner.load(spec, tmp_path)
    problems = [c for c in doctor._placement(study, [{"CPU": 8.0, "GPU": 8.0}]) if not c.ok]
    assert [study.points[i].id in c.found for i, c in enumerate(problems)] == [True, True]
    assert "on each of 1 GPUs of 80 GB" in problems[1].found and "fsdp" in problems[1].cure
    spec.write_text(spec.read_text().replace("512", "8"))
    study = planner.load(spec, tmp_path)
    assert all(check.ok for check in doctor._placement(study, [{"CPU": 8.0, "GPU": 8.0}]))


def test_servers_that_do_not_answer_are_problems_with_cures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    found = checks(tmp_path)
    for name, variable in (("MLflow", "MLFLOW_TRACKING_URI"), ("Ray", "RAY_ADDRESS")):
        assert not found[name].ok and "does not answer" in found[name].found
        assert variable in found[name].cure


def test_damaged_data_is_found(write_spec: Callable[..., Path], tmp_path: Path) -> None:
    spec = write_spec("damaged")
    study = planner.load(spec, tmp_path)
    assert doctor._data(study).ok
    dataset = shards.prepare(DataConfig(), study.data_root)
    assert str(dataset.directory) in doctor._data(study).found
    shard = next(dataset.directory.glob("train-*.bin"))
    shard.write_bytes(shard.read_bytes()[:-2])
    found = doctor._data(study)
    assert not found.ok and "truncated" in found.found and str(dataset.directory) in found.cure


def test_package_of_the_same_name_from_elsewhere_is_found(tmp_path: Path) -> None:
    # `kernels` is also a package on PyPI: here one stands first on the path.
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").touch()
    code = "from study.submit.doctor import _packages; print(_packages())"
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; {code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"kernels is {tmp_path}" in shown and "pip uninstall kernels" in shown


def test_other_version_than_the_tested_one_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "constraints.txt").write_text("# pins\nnumpy==1.0.0\nabsent-package==1.0\n")
    monkeypatch.setattr(doctor, "ROOT", tmp_path)
    found = doctor._versions()
    assert not found.ok and "(tested: 1.0.0)" in found.found and "absent" not in found.found
