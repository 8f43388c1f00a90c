"""Losses on held-out texts: of mixtures, of evaluation sets, and of texts of unknown bytes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.workloads.small_runs import pico, rows_of
from workloads.config.fingerprint import fingerprint, identity, trajectory
from workloads.data.config import MixtureConfig
from workloads.data.dataset import Mixture, TokenDataset
from workloads.errors import InputError
from workloads.run_dir.seen import Seen
from workloads.training.evaluation import Evaluated, HeldOut, RunTexts, loss_metrics
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")


def test_the_main_loss_is_over_all_tokens_of_its_texts(stdlib: TokenDataset) -> None:
    sparse, unknown = (replace(stdlib, bytes_per_token=value) for value in (4.0, None))
    found = [
        Evaluated(HeldOut("web", replace(stdlib, bytes_per_token=1.0), 30, True), 90.0, 30.0),
        Evaluated(HeldOut("code", sparse, 10, True), 10.0, 10.0),
        Evaluated(HeldOut("wiki", unknown, 20, False), 50.0, 20.0),
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
