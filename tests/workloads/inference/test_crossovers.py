"""Stored crossovers: up to how many tokens a model takes its merged weights."""

import json
import logging
from pathlib import Path

import pytest
import torch

from tests.workloads.premerged import KINDS, LOWRANK, build, ffn_of, shape, used_weights
from workloads.config.model import FFNConfig, ModelConfig
from workloads.errors import InputError
from workloads.files import measured_here
from workloads.inference import crossover
from workloads.inference.crossover import FILE, Crossover, Setting, premerge, store
from workloads.nn.projections.base import Projection

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(tokens: int, model: ModelConfig, dtype: torch.dtype = torch.float64) -> Path:
    return store(Crossover(setting=Setting.of(model, CPU, dtype), tokens=tokens))


def test_without_a_measurement_the_default_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    model = build()
    premerge(model)
    assert ffn_of(model).fc1.crossover_tokens == crossover.DEFAULT_CROSSOVER_TOKENS
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for part in ("python -m workloads bench decode", "lowrank", "float64", "256 tokens", "default"):
        assert part in record.getMessage()


def test_the_stored_crossover_is_for_this_device_type_and_shape(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build()
    ours = model.config
    wider = ours.model_copy(update={"ffn_dim": 90})
    gated = ours.model_copy(update={"activation": "swiglu"})
    other_rank = ours.model_copy(update={"ffn": FFNConfig(kind="lowrank", rank=6)})
    block = ours.model_copy(update={"ffn": KINDS[1]})
    for number, other in enumerate((wider, gated, other_rank, block)):
        stored(100 + number, other)
    stored(200, ours, torch.float32)
    with monkeypatch.context() as patch:
        patch.setattr("workloads.inference.crossover.cpu_name", lambda: "another CPU")
        stored(201, ours)
    premerge(model)
    assert ffn_of(model).fc1.crossover_tokens == crossover.DEFAULT_CROSSOVER_TOKENS
    caplog.clear()
    stored(7, ours)
    stored(8, ours)  # In place of the former.
    premerge(model)
    assert (used_weights(model, 8), used_weights(model, 9)) == ("merged", "structured")
    assert not caplog.records
    assert len(json.loads(measured_here(FILE).read_text())) == 7
    # What else a model has does not matter, nor the position of the dense layer.
    deeper = ours.model_copy(update={"num_layers": 5, "vocab_size": 31, "norm": "rmsnorm"})
    assert crossover.crossover_tokens_for(deeper, CPU, torch.float64) == 8


def test_autocast_is_the_type_that_counts() -> None:
    model = build().float()
    stored(3, model.config, torch.bfloat16)
    stored(4, model.config, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        premerge(model)
    assert ffn_of(model).fc1.crossover_tokens == 3
    premerge(model)
    assert ffn_of(model).fc1.crossover_tokens == 4


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[3]", b'[{"tokens": 3}]', b"\xff\xfe", b'{"a": 1}'], ids=repr
)
def test_a_damaged_table_is_a_warning(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    measured_here(FILE).parent.mkdir(parents=True)
    measured_here(FILE).write_bytes(content)
    model = build()
    premerge(model)
    assert ffn_of(model).fc1.crossover_tokens == crossover.DEFAULT_CROSSOVER_TOKENS
    assert f"{measured_here(FILE)} is damaged" in caplog.records[0].getMessage()
    stored(9, model.config)
    caplog.clear()
    premerge(model)
    assert ffn_of(model).fc1.crossover_tokens == 9 and not caplog.records


def test_the_table_lies_in_the_cache_folder(
    cache_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(3, shape(LOWRANK))
    assert path == cache_home / "structured-scaling" / "crossovers.json"
    assert not list(path.parent.glob("*.tmp"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert measured_here(FILE) == tmp_path / ".cache" / "structured-scaling" / "crossovers.json"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"file/.* cannot be written: .* set XDG_CACHE_HOME"):
        stored(3, shape(LOWRANK))


def test_a_dense_model_has_nothing_to_merge(caplog: pytest.LogCaptureFixture) -> None:
    model = build(FFNConfig())
    premerge(model)
    assert not caplog.records
    assert all(m.merged is None for m in model.modules() if isinstance(m, Projection))
