"""The decoding benchmark in miniature: what it counts, what it decides, what it stores."""

import json
import random
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from workloads.bench import decode
from workloads.bench.decode import PassTimes, Size, crossover_tokens, measure, table
from workloads.commands import app
from workloads.config.model import FFNConfig, ModelConfig
from workloads.cost.flops import count_params
from workloads.errors import InputError
from workloads.files import measured_here
from workloads.inference.crossover import FILE, Setting, crossover_tokens_for
from workloads.recipes.presets import PRESETS

CPU = torch.device("cpu")
TINY = Size(prompt_tokens=3, new_tokens=2, batches=(1, 5), rounds=2, token_counts=(1, 2, 7))
MODEL = ModelConfig(
    vocab_size=29,
    block_size=9,
    num_layers=3,
    hidden_dim=18,
    ffn_dim=45,
    num_heads=3,
    num_kv_heads=1,
    ffn=FFNConfig(kind="lowrank", rank=5),
)


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(decode, "SECONDS_PER_COUNT", 0.0)
    monkeypatch.setattr(decode, "SAMPLE_SECONDS", 1e-5)
    monkeypatch.setattr(Size, "filling", classmethod(lambda cls, model: TINY))
    monkeypatch.setattr("workloads.training.hardware.training_device", lambda: CPU)


def test_bytes_are_exact_and_every_model_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "crossover_tokens", lambda pass_times: 4)
    shown: list[str] = []
    report = measure(MODEL, TINY, CPU, shown.append)
    assert [(row.batch, row.model) for row in report.rows] == [
        (batch, name) for batch in (1, 5) for name in ("dense", "structured", "pre-merged")
    ]
    assert all(len(row.seconds) == 2 and min(row.seconds) > 0 for row in report.rows)
    dense = MODEL.model_copy(update={"ffn": FFNConfig()})
    rotation, shares = 2 * 9 * 6, 6
    weights = {
        "dense": count_params(dense).total + rotation + shares,
        "structured": count_params(MODEL).total + rotation + shares,
        # Two of the three layers are structured.
        "pre-merged": count_params(MODEL).total + rotation + shares + 2 * 2 * 18 * 45,
    }
    for row in report.rows:
        assert row.weight_bytes == 4 * weights[row.model]
        assert row.cache_bytes == 4 * 2 * 3 * row.batch * 1 * 5 * 6
        assert row.peak_bytes is None
        assert row.tokens_per_second == pytest.approx(row.batch * 2 / (sum(row.seconds) / 2))
    assert [times.tokens for times in report.pass_times] == [1, 2, 7]
    assert all(len(r.structured) == len(r.merged) >= 3 for r in report.pass_times)
    assert (report.crossover.tokens, report.crossover.setting.kind) == (4, "lowrank")
    assert any("7 tokens" in line for line in shown)
    assert "up to 4 tokens" in table(report) and "pre-merged" in table(report)


def pass_times(*ratios: float) -> list[PassTimes]:
    return [PassTimes(2**number, [1.0, 3.0], [ratio, 9.0]) for number, ratio in enumerate(ratios)]


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ((0.5, 0.6, 0.9, 1.2, 1.5), 4),
        ((1.1, 1.2, 1.3), 0),
        ((0.5, 0.5, 0.5), 4),
        ((0.5, 1.1, 0.6, 0.9, 1.4, 2.0), 8),  # One outlier below the crossover
        ((0.5, 0.7, 1.4, 0.95, 1.5, 2.0), 2),  # and one above.
        ((1.0, 1.0), 0),
    ],
)
def test_the_crossover_is_where_a_switch_costs_least(
    ratios: tuple[float, ...], expected: int
) -> None:
    assert crossover_tokens(pass_times(*ratios)) == expected


def test_noise_that_only_adds_time_does_not_move_it() -> None:
    noise = random.Random(0)

    def sample(seconds: float) -> float:
        return seconds * (1 + noise.expovariate(1.0) * (noise.random() < 0.6))

    noisy = [
        PassTimes(
            2**k,
            [sample(1 + 0.3 * 2**k) for _ in range(30)],
            [sample(0.5 + 0.4 * 2**k) for _ in range(30)],
        )
        for k in range(8)
    ]
    # 1 + 0.3 n = 0.5 + 0.4 n at n = 5.
    assert crossover_tokens(noisy) == 4


def test_the_command_prints_stores_and_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "crossover_tokens", lambda pass_times: 2)
    out = tmp_path / "out" / "decode.json"
    done = CliRunner().invoke(
        app, ["bench", "decode", "--preset", "pico", "--fraction", "0.5", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert sum("structured" in line for line in lines) == 3  # The caption and two batch sizes.
    assert f"stored in {measured_here(FILE)}" in done.stderr
    pico = PRESETS["pico"].model
    measured = pico.model_copy(update={"ffn": FFNConfig(kind="lowrank", rank=12)})
    assert crossover_tokens_for(measured, CPU, torch.float32) == 2
    record = json.loads(out.read_text())
    assert record["crossover"]["tokens"] == 2
    assert len(record["rows"]) == 6 and len(record["pass_times"]) == 3
    assert {"environment", "commit", "model"} <= set(record)


def test_the_command_takes_a_runs_file(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        "preset: pico\nmodel: {activation: swiglu, ffn_dim: 48}\n"
        "ffn: {kind: blockshuffle, nblocks: 2}\nguide: {ratio: 0.5}\n"
    )
    done = CliRunner().invoke(app, ["bench", "decode", str(config)])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(measured_here(FILE).read_text())
    expected = {"kind": "blockshuffle", "ffn_dim": 48, "nblocks": 2, "activation": "swiglu"}
    assert row["setting"].items() >= expected.items()
    model = ModelConfig.model_validate(
        PRESETS["pico"].model.model_dump()
        | {"activation": "swiglu", "ffn_dim": 48}
        | {"ffn": FFNConfig(kind="blockshuffle", nblocks=2)}
    )
    assert Setting.of(model, CPU, torch.float32) == Setting.model_validate(row["setting"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "pica"], "--preset pica: no such preset; the nearest is pico"),
        (["--kind", "lowrang"], "--kind lowrang: no such FFN kind; the nearest is lowrank"),
        (["--kind", "dense"], "no structured FFN to compare; choose another kind"),
        (["--kind", "blockdense"], "the FFN: kind blockdense needs nblocks; add it"),
        (["--kind", "blockshuffle", "--nblocks", "5"], "the FFN: nblocks 5 does not divide"),
        (["--fraction", "1.5"], "--fraction 1.5: ffn.fraction must be at most 1"),
        (["run.yaml", "--fraction", "0.5"], "run.yaml .*; remove --fraction"),
        (["run.yaml", "--preset", "pico"], "run.yaml .*; remove --preset"),
        (["missing.yaml"], "missing.yaml: cannot be read"),
    ],
)
def test_mistakes_are_named_with_their_remedy(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(app, ["bench", "decode", *arguments], catch_exceptions=False)
