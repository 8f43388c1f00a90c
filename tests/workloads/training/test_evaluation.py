"""Losses on held-out texts: of mixtures, of evaluation sets, and of texts of unknown bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Library

from tests.workloads.small_runs import pico, rows_of
from workloads.config.fingerprint import fingerprint, identity, trajectory
from workloads.data.config import DataConfig, MixtureConfig, PathConfig
from workloads.data.corpora.python_stdlib import PythonFiles
from workloads.data.corpora.table import CORPORA
from workloads.data.dataset import Mixture, TokenDataset
from workloads.data.manifest import DataError
from workloads.data.texts import opened_one, placed_one
from workloads.errors import InputError
from workloads.run_dir.seen import Seen
from workloads.training.evaluation import Evaluated, HeldOut, RunTexts, loss_metrics
from workloads.training.trainer import train

TOKENIZER = str(Path(__file__).parents[1] / "data" / "public" / "tokenizer.json")

pytestmark = pytest.mark.usefixtures("on_cpu")


@pytest.fixture
def dense_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], TokenDataset]:
    """Return a corpus by a tokenizer: its first documents have other bytes a token than the rest:
    they are short, and of rare characters."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i in range(400):
        text = f"'é→{i}'\n" if i < 250 else f"def the_function_{i}(self):\n    return self\n" * 9
        (folder / f"{i:03}.py").write_text(text)
    monkeypatch.setitem(CORPORA, "folder", PythonFiles(folder))

    def made(tokenizer: str) -> TokenDataset:
        text = DataConfig(source="folder", tokenizer=tokenizer, val_fraction=0.5)
        return opened_one(placed_one(text, tmp_path / "data"))

    return made


def byte_lengths(dataset: TokenDataset) -> np.ndarray:
    """Return the bytes of each validation token: of byte pairs in the library's own alphabet, in
    which a byte is a character."""
    tokens = np.concatenate(dataset.split("val").shards)
    if dataset.vocab_size == 257:
        return tokens < 256
    library = Library.from_file(TOKENIZER)
    words = [library.id_to_token(i) or "" for i in range(dataset.vocab_size)]
    lengths = [0 if word == "</s>" else len(word) for word in words]
    return np.array(lengths)[tokens]


def test_the_main_loss_is_over_all_tokens_of_its_texts(stdlib: TokenDataset) -> None:
    found = [
        Evaluated(HeldOut("web", stdlib, 30, True, 1.0), 90.0, 30.0),
        Evaluated(HeldOut("code", stdlib, 10, True, 4.0), 10.0, 10.0),
        Evaluated(HeldOut("wiki", stdlib, 20, False, None), 50.0, 20.0),
    ]
    assert loss_metrics(found) == {
        "val_loss": 2.5,
        # 100 nats over 30 x 1 + 10 x 4 bytes.
        "bits_per_byte": pytest.approx(100 / 70 / math.log(2)),
        "val_loss/web": 3.0,
        "bits_per_byte/web": pytest.approx(3 / math.log(2)),
        "val_loss/code": 1.0,
        "bits_per_byte/code": pytest.approx(1 / 4 / math.log(2)),
        "val_loss/wiki": 2.5,
    }
    assert "bits_per_byte" not in loss_metrics(
        [replace(found[2], text=replace(found[2].text, in_main=True))]
    )


def test_a_text_of_unknown_bytes_has_no_loss_in_bits(stdlib: TokenDataset, tmp_path: Path) -> None:
    config = pico(budget={"steps": 4})
    unknown = train(config, replace(stdlib, bytes_per_token=None), tmp_path / "unknown")
    known = train(config, stdlib, tmp_path / "known")
    assert unknown.bits_per_byte is None and unknown.val_loss == known.val_loss
    assert "bits_per_byte" in rows_of(tmp_path / "known")[-1]
    assert "bits_per_byte" not in rows_of(tmp_path / "unknown")[-1]


@pytest.mark.parametrize("tokenizer", ["byte", TOKENIZER], ids=["byte", "pairs"])
def test_bytes_are_those_of_the_evaluated_tokens(
    dense_first: Callable[[str], TokenDataset], tokenizer: str, tmp_path: Path
) -> None:
    dataset = dense_first(tokenizer)
    lengths = byte_lengths(dataset)
    # A character that is cut by the end of the slice counts as 3 bytes, where a token is several.
    rounding = 0.5 if tokenizer == "byte" else 2
    config = pico(budget={"steps": 2}, model={"vocab_size": dataset.vocab_size})
    train(config, dataset, tmp_path, eval_sets={"same": dataset})
    last = rows_of(tmp_path)[-1]
    # 1,500 tokens are eleven windows of 128; the second batch of eight is padded.
    expected = lengths[1 : 1 + 11 * 128].sum()
    assert dataset.bytes_per_token
    assert abs(expected / (11 * 128) / dataset.bytes_per_token - 1) > 0.04
    for name in ("", "/same"):
        found = 11 * 128 * last["val_loss" + name] / math.log(2) / last["bits_per_byte" + name]
        assert found == pytest.approx(expected, abs=rounding)

    # Two sources have 750 tokens each, five windows; one is not decoded, and has its split's mean.
    sources = {"a": dataset, "b": replace(dataset, tokenizer=None)}
    parts = RunTexts(Mixture(sources, {"a": 0.5, "b": 0.5}), {}).held_out(config)
    found = [Evaluated(each, 960.0, 640.0) for each in parts]
    size = lengths[1 : 1 + 640].sum() + 640 * dataset.bytes_per_token
    found_size = 1920 / math.log(2) / loss_metrics(found)["bits_per_byte"]
    assert found_size == pytest.approx(size, abs=rounding)


def test_tokens_of_another_tokenizer_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val"):
        np.full(300, 600, "<u2").tofile(tmp_path / f"{name}.bin")
    dataset = opened_one(PathConfig(path=str(tmp_path), tokenizer=TOKENIZER))
    with pytest.raises(
        DataError, match=r"token id 600 is outside .*; name the tokenizer that made"
    ):
        RunTexts(dataset, {}).held_out(pico(eval_tokens=128))


def test_evaluation_sets_change_no_step_and_count_in_the_identity(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = pico(budget={"steps": 10})
    train_twice = {"train": stdlib.files["train"], "val": stdlib.files["train"]}
    other = replace(stdlib, fingerprint="other", files=train_twice)
    plain = train(config, stdlib, tmp_path / "plain")
    beside = train(config, stdlib, tmp_path / "beside", eval_sets={"wiki": other, "same": stdlib})
    assert beside.val_loss == plain.val_loss and beside.fingerprint != plain.fingerprint
    last, alone = rows_of(tmp_path / "beside")[-1], rows_of(tmp_path / "plain")[-1]
    assert {name: last[name] for name in alone} == alone
    assert last["val_loss/same"] == last["val_loss"] != last["val_loss/wiki"]

    tree = RunTexts(stdlib, {"wiki": other}).identity(config)
    assert tree["eval_sets"] == {"wiki": "other"}
    assert RunTexts(stdlib, {}).identity(config) == identity(config, stdlib.fingerprint)
    # A longer run goes on from the steps of one that was evaluated on other sets.
    assert trajectory(tree) == trajectory(RunTexts(stdlib, {}).identity(config))


def test_a_run_on_a_mixture_reads_and_evaluates_both_sources(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    train_twice = {"train": stdlib.files["train"], "val": stdlib.files["train"]}
    other = replace(stdlib, files=train_twice)
    sources = {"a": {"val_fraction": 0.05}, "b": {"val_fraction": 0.5}}

    def run(name: str, a: float) -> float | None:
        weights = {"a": a, "b": 1 - a}
        data = MixtureConfig.model_validate({"sources": sources, "mixture": weights})
        config = pico(budget={"steps": 4}).model_copy(update={"data": data})
        return train(config, Mixture({"a": stdlib, "b": other}, weights), tmp_path / name).val_loss

    assert run("even", 0.5) == run("again", 0.5) != run("uneven", 0.25)
    last = rows_of(tmp_path / "even")[-1]
    read = {each.source: each.tokens for each in Seen(tmp_path / "uneven").sources()}
    assert read == {"a": 4 * 8 * 128 // 4, "b": 3 * 4 * 8 * 128 // 4}
    # 1,500 tokens are 750 of each source: five sequences of 128.
    assert last["val_loss"] == pytest.approx((last["val_loss/a"] + last["val_loss/b"]) / 2, 1e-6)


def test_a_text_that_the_model_cannot_read_is_refused(stdlib: TokenDataset, tmp_path: Path) -> None:
    wide = replace(stdlib, size=replace(stdlib.size, vocab_size=300))
    rows = replace(stdlib, row_tokens=100)
    with pytest.raises(InputError, match=r"eval_sets\.wide has 300 token ids"):
        train(pico(), stdlib, tmp_path, eval_sets={"wide": wide})
    with pytest.raises(InputError, match="rows of 100 tokens hold no window of 129; lower block"):
        train(pico(), rows, tmp_path)


def test_identities_of_texts_hold_no_path() -> None:
    config = pico()
    sources = {"web": {"path": "/here/web"}, "code": {"path": "/here/code"}}
    weights = {"web": 0.75, "code": 0.25}
    data = MixtureConfig.model_validate({"sources": sources, "mixture": weights})
    mixed = identity(config.model_copy(update={"data": data}), "abc")
    assert mixed["data"] == {"mixture": weights, "fingerprint": "abc"}
    moved = MixtureConfig.model_validate(
        {"sources": {"web": {"path": "s3://there"}, "code": {"path": "c"}}, "mixture": weights}
    )
    again = identity(config.model_copy(update={"data": moved}), "abc")
    assert fingerprint(again) == fingerprint(mixed)
    other = identity(config.model_copy(update={"data": data.weighted({"web": 1.0})}), "abc")
    assert fingerprint(other) != fingerprint(mixed)
    # The bundled corpus is as it was in version 1.
    assert identity(config, "abc")["data"] == {
        "source": "python-stdlib",
        "tokenizer": "byte",
        "val_fraction": 0.05,
        "fingerprint": "abc",
    }
