"""`python -m workloads bench step` in miniature: whole steps with the fast paths, and without."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from kernels import switches
from kernels.bench import claims, records, roofline
from kernels.bench.claims import Claim, StepTask
from workloads.__main__ import app
from workloads.bench import step

CPU = torch.device("cpu")
DENSE = Claim("step/pico/dense", "cpu", StepTask("pico", "dense"), "reference", 1e-9, 1e-9)
GUIDED = Claim(
    "step/pico/self-guided",
    "cpu",
    StepTask("pico", "lowrank", 0.5, guided=True),
    "reference",
    1e9,
    1e9,
)


def test_the_command_appends_its_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIMS", (DENSE, GUIDED))
    sizes = roofline.Sizes(square=16, copied_bytes=1024, rounds=1)
    monkeypatch.setattr(roofline.Sizes, "of", classmethod(lambda cls, device: sizes))
    out = tmp_path / "results.jsonl"
    done = CliRunner().invoke(app, ["bench", "step", "--rounds", "1", "--out", str(out)])
    assert done.exit_code == 1, done.output  # No step is a billion times faster.
    assert [line.split()[0] for line in done.stdout.splitlines()[:2]] == [DENSE.name, GUIDED.name]
    first, second = records.read(out)
    assert (first["verified"], second["verified"]) == (True, False)
    assert first["baseline"] == "reference operations, with torch's attention"
    assert second["task"] == "training step of pico, self-guided lowrank 50.0% FFN"
    assert first["fraction_of_gemm_peak"] > 0


@pytest.mark.parametrize("claim", [DENSE, GUIDED], ids=lambda claim: claim.name)
def test_the_baseline_runs_as_the_reference(claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    fast: list[tuple[bool, bool]] = []
    built = step.build_optimizer

    def noting(model: torch.nn.Module, config: object) -> object:
        model.register_forward_pre_hook(
            lambda module, inputs: fast.append(
                (switches.fast("feed_forward"), switches.fast("attention"))
            )
        )
        return built(model, config)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(step, "build_optimizer", noting)
    comparison = step.compare(claim, CPU, onednn=False)
    comparison.candidate(0)
    comparison.baseline(0)
    comparison.candidate(1)
    assert fast == [(True, True), (False, True), (True, True)]
    # Six times the FFN's weights for each of 16 x 128 tokens, in one layer at the least.
    assert comparison.flops > 6 * 16 * 128 * 8 * 32**2
