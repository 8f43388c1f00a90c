"""`data seen`, against batches read and counted token by token."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workloads.data.formats.files import chunk, data, megatron, prepared, refused
from tests.workloads.small_runs import STEPS, Whole, pico
from workloads.data.config import DataConfig
from workloads.data.corpora.table import CORPORA
from workloads.data.dataset import MixedSplit
from workloads.data.formats.opening import open_path
from workloads.data.loader import BatchLoader
from workloads.data.shards import split_of
from workloads.run_dir.reading import record_reading

SEED, BATCH, BLOCK = 3, 4, 5


def places(*lengths: int) -> list[list[int]]:
    """Documents of these lengths whose tokens count up, so that a token is its place."""
    edges = np.cumsum([0, *lengths]).tolist()
    return [list(range(a, b)) for a, b in itertools.pairwise(edges)]


def run_that_reads(
    run_dir: Path,
    texts: dict[str, Path],
    weights: dict[str, float],
    steps: int = 100,
    total_steps: int = 100,
    rows: int | None = None,
    **more: Any,
) -> Path:
    run_dir.mkdir()
    sources = {}
    for name, path in texts.items():
        dataset = open_path(path, rows=rows)
        sources[name] = {
            "path": str(path),
            "fingerprint": dataset.fingerprint,
            "tokens": dataset.size.train_tokens,
            "row_tokens": dataset.row_tokens,
        }
    reading = {"seed": SEED, "batch_size": BATCH, "block_size": BLOCK, "weights": weights}
    reading |= {"steps": steps, "total_steps": total_steps, "sources": sources} | more
    (run_dir / "data.json").write_text(json.dumps(reading))
    return run_dir


def seen(run_dir: Path, step: int | None = None) -> dict[str, Any]:
    options = [] if step is None else ["--step", step]
    code, out, err = data("seen", run_dir, "--json", *options)
    assert (code, err) == (0, "")
    return json.loads(out)


def counted(
    path: Path, documents: Sequence[Sequence[int]], steps: Sequence[int]
) -> list[dict[str, Any]]:
    """What each document that was seen should show, from the batches of these steps."""
    loader = BatchLoader(open_path(path).split("train"), BLOCK, BATCH, SEED)
    found: dict[int, dict[str, Any]] = {}
    for step in steps:
        for inputs, targets in zip(*loader.batch(step), strict=True):
            window = {*inputs.tolist(), *targets.tolist()}
            for number, document in enumerate(documents):
                if not window & set(document):
                    continue
                one = found.setdefault(number, {"document": number, "tokens": 0, "windows": 0})
                one["tokens"] += len(set(targets.tolist()) & set(document))
                one["windows"] += 1
                one["length"] = len(document)
    return [found[number] for number in sorted(found)]


def shown(answer: dict[str, Any]) -> list[dict[str, Any]]:
    keys = ("document", "tokens", "windows", "length")
    return [{key: document[key] for key in keys} for document in answer["documents"]]


@pytest.mark.parametrize("step", [0, 1, 4, 13, 40])
@pytest.mark.parametrize("shard_tokens", [11, 50, 1000])
def test_documents_are_seen_as_the_batches_show(
    tmp_path: Path, shard_tokens: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workloads.data.seen.BLOCK_DOCUMENTS", 7)
    documents = places(*np.random.default_rng(shard_tokens).integers(1, 23, 24).tolist())
    text = prepared(tmp_path / "text", documents, shard_tokens=shard_tokens)
    run_dir = run_that_reads(tmp_path / "run", {"": text}, {"": 1.0})
    answer = seen(run_dir, step)
    assert shown(answer) == counted(text, documents, range(step))
    assert answer["tokens"] == step * BATCH * BLOCK == sum(d["tokens"] for d in shown(answer))
    (source,) = answer["sources"]
    assert (source["documents"], source["documents_seen"]) == (24, len(answer["documents"]))
    files = [(d["file"], d["row"]) for d in answer["documents"]]
    in_turn = [(("a.jsonl", "b.jsonl.gz")[n % 2], n // 2 + 1) for n in range(24)]
    assert files == [in_turn[d["document"]] for d in answer["documents"]]
    passes = {d["document"]: d["tokens"] / d["length"] for d in answer["documents"]}
    assert {d["document"]: d["passes"] for d in answer["documents"]} == passes


def test_steps_beyond_the_fresh_ones_read_the_first_text_again(tmp_path: Path) -> None:
    documents = places(*[9] * 40)
    text = prepared(tmp_path / "text", documents)
    run_dir = run_that_reads(tmp_path / "run", {"": text}, {"": 1.0}, steps=3, total_steps=5)
    assert shown(seen(run_dir, 5)) == counted(text, documents, [0, 1, 2, 0, 1])
    assert refused("seen", run_dir, "--step", 6) == (f"step 6: {run_dir} has 5; choose one of them")


def test_a_run_that_restarts_its_text_as_it_grows_reads_it_from_the_start(tmp_path: Path) -> None:
    documents = places(*[9] * 40)
    text = prepared(tmp_path / "text", documents)
    run_dir = run_that_reads(tmp_path / "run", {"": text}, {"": 1.0}, 9, 9, text_starts=[2, 5])
    assert shown(seen(run_dir, 9)) == counted(text, documents, [0, 1, 0, 1, 2, 0, 1, 2, 3])
    assert shown(seen(run_dir, 4)) == counted(text, documents, [0, 1, 0, 1])


def test_each_source_of_a_mixture_is_answered_for_itself(tmp_path: Path) -> None:
    documents = {"code": places(30, 40, 50), "web": places(*[7] * 50)}
    texts = {
        "code": prepared(tmp_path / "code", documents["code"]),
        "web": megatron(tmp_path / "web" / "train", [[document] for document in documents["web"]]),
    }
    megatron(tmp_path / "web" / "val", [[[1, 2]]])
    texts["web"] = texts["web"].parent
    weights = {"code": 0.25, "web": 0.75}
    answer = seen(run_that_reads(tmp_path / "run", texts, weights), 10)
    splits = {name: open_path(path).split("train") for name, path in texts.items()}
    loader = BatchLoader(MixedSplit(splits, weights), BLOCK, BATCH, SEED)
    read = [one for step in range(10) for one in loader.windows_of(step)]
    assert {source["source"]: source["tokens"] for source in answer["sources"]} == {
        "code": 10 * BLOCK,
        "web": 30 * BLOCK,
    }
    for name, parts in documents.items():
        windows = {window for source, window in read if source == name}
        touched = {place for w in windows for place in range(w * BLOCK, w * BLOCK + BLOCK + 1)}
        expected = [number for number, part in enumerate(parts) if touched & set(part)]
        found = [d["document"] for d in answer["documents"] if d["source"] == name]
        assert found == expected


def test_a_text_may_be_named_by_what_its_files_begin_with(tmp_path: Path) -> None:
    documents = places(*[7] * 20)
    prefix = megatron(tmp_path / "web_document", [[document] for document in documents])
    sources = {"path": str(prefix), "fingerprint": "0" * 16, "tokens": 140, "row_tokens": None}
    reading = {"seed": SEED, "batch_size": BATCH, "block_size": BLOCK, "weights": {"": 1.0}}
    reading |= {"steps": 9, "total_steps": 9, "sources": {"": sources}}
    (tmp_path / "data.json").write_text(json.dumps(reading))
    assert seen(tmp_path, 9)["sources"][0]["documents"] == 20


def test_text_without_documents_is_answered_in_windows_and_tokens(tmp_path: Path) -> None:
    for name in ("train", "val"):
        np.arange(110, dtype="<u2").tofile(tmp_path / f"llama-{name}-tmp.bin")
    run_dir = run_that_reads(tmp_path / "run", {"": tmp_path}, {"": 1.0}, rows=11)
    answer = seen(run_dir, 6)  # 24 of the 20 windows of an epoch
    (source,) = answer["sources"]
    assert (source["windows"], source["windows_seen"], source["passes"]) == (20, 20, 1.2)
    assert (source["documents"], answer["documents"]) == (None, [])
    code, out, _ = data("seen", run_dir, "--step", 6)
    assert code == 0 and "format rows does not say where documents begin" in out


def test_a_run_says_itself_what_it_has_read(whole: Whole) -> None:
    config, run_dir, result, _ = whole
    answer = seen(run_dir)
    assert (answer["step"], answer["steps"], answer["tokens"]) == (STEPS, STEPS, result.tokens)
    paths = [document.path for document in CORPORA["python-stdlib"].documents()]
    trained = [path for path in paths if split_of(path, DataConfig().val_fraction) == "train"]
    assert answer["documents"]
    assert all(each["file"] == trained[each["document"]] for each in answer["documents"])
    earlier = seen(run_dir, 1)
    assert earlier["tokens"] == config.tokens_per_step
    numbers = {each["document"] for each in answer["documents"]}
    assert {each["document"] for each in earlier["documents"]} < numbers
    code, out, _ = data("seen", run_dir)
    first = answer["documents"][0]
    assert code == 0 and first["file"] in out
    assert f"of {len(trained)} documents" in out


def test_a_run_or_a_text_that_is_not_at_hand(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    assert refused("seen", nowhere).startswith(f"{nowhere}/data.json: missing: {nowhere} is no run")
    text = prepared(tmp_path / "text", places(30, 30))
    run_dir = run_that_reads(tmp_path / "run", {"": text}, {"": 1.0})
    assert refused("seen", run_dir) == (
        f"{run_dir}: no result and no checkpoint; say after which step: --step"
    )
    moved = text.rename(tmp_path / "moved")
    line = refused("seen", run_dir, "--step", 1)
    assert line == f"{text}: missing: the run read this text; put it back"
    moved.rename(text)
    manifest = text / "manifest.json"
    read = json.loads(manifest.read_text())["fingerprint"]
    manifest.write_text(manifest.read_text().replace(read, "2" * 16))
    assert refused("seen", run_dir, "--step", 1) == (
        f"{text}: not the text that the run read, whose fingerprint is {read}; put that one back"
    )
    (run_dir / "data.json").write_text('{"seed": "x"}')
    assert refused("seen", run_dir).startswith(f"{run_dir}/data.json: seed: Input should be")


def test_a_text_of_as_many_other_tokens_is_not_the_one_that_was_read(tmp_path: Path) -> None:
    documents = [[document] for document in places(*[7] * 20)]
    prefix = megatron(tmp_path / "text" / "train", documents)
    megatron(tmp_path / "text" / "val", [[[1, 2]]])
    text = prefix.parent
    run_dir = run_that_reads(tmp_path / "run", {"": text}, {"": 1.0})
    reading = json.loads((run_dir / "data.json").read_text())
    reading["sources"][""]["train_sha256"] = open_path(text).train_sha256
    (run_dir / "data.json").write_text(json.dumps(reading))
    assert seen(run_dir, 1)["documents"]
    tokens = prefix.with_suffix(".bin")
    tokens.write_bytes(np.fromfile(tokens, "<u2")[::-1].tobytes())
    assert refused("seen", run_dir, "--step", 1).startswith(f"{text}: not the text that the run")


def test_a_dataset_beside_other_validation_tokens_is_the_text_that_was_read(tmp_path: Path) -> None:
    text = prepared(tmp_path / "text", places(250, 250), val=())
    held_out = chunk(tmp_path / "val_0000000000.bin", [1, 2, 3])
    dataset = open_path(text, val=held_out)
    assert dataset.vocab_size == 512  # the manifest's, and not the greatest id's
    run_dir = tmp_path / "run"
    record_reading(run_dir, pico(), dataset)
    assert seen(run_dir, 0)["sources"][0]["format"] == "shards"
