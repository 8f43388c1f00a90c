"""Recipes: the public files to the byte, and what they say of groups, draws and splits."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.workloads.data.preparing.corpora import (
    PUBLIC,
    TOKENIZER,
    by_definition,
    numbered,
    opened,
    prepared,
    write_file,
)
from workloads.data.formats.exporting import export
from workloads.data.formats.format import Layout
from workloads.data.formats.opening import read_path
from workloads.data.formats.table import FORMATS
from workloads.data.manifest import DataError, SplitName
from workloads.data.tokenizers.table import load_tokenizer


def split_bytes(out: Path, name: SplitName = "train") -> bytes:
    return b"".join(path.read_bytes() for path in sorted(out.glob(f"{name}-0*.bin")))


def test_rows_of_structured_ffn(tmp_path: Path) -> None:
    source = PUBLIC / "simple.jsonl.gz"
    options = {"tokenizer": TOKENIZER, "recipe": "structured-ffn"}
    manifest = prepared(tmp_path, source, val_fraction=0, **options)
    rows = np.load(PUBLIC / "simple_rows_1025.npy")
    assert split_bytes(tmp_path) == rows.tobytes()
    assert manifest.row_tokens == opened(tmp_path).row_tokens == 1025
    assert manifest.train.documents is None and manifest.train.starts is None
    # By default they are shuffled and split.
    manifest = prepared(tmp_path, source, **options)
    order = np.random.default_rng(1005).permutation(56)
    assert split_bytes(tmp_path, "val") == rows[order[:1]].tobytes()
    assert split_bytes(tmp_path) == rows[order[1:]].tobytes()


def test_slimpajama_of_prts(tmp_path: Path) -> None:
    lines = gzip.decompress((PUBLIC / "slimpajama.jsonl.gz").read_bytes()).splitlines(True)[:2000]
    source = tmp_path / "train" / "chunk1" / "some.jsonl"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"".join(lines))
    manifest = prepared(tmp_path / "out", tmp_path / "train", tokenizer=TOKENIZER, recipe="prts")
    code = sum(json.loads(line)["meta"]["redpajama_set_name"].endswith("Github") for line in lines)
    assert code and manifest.counts.documents == 2000 - code
    layout = Layout(block=129, chunk=129 * 64, pad=1, prefix="train_slimpajama_0")
    data = read_path(tmp_path / "out")
    export(data, ["train"], tmp_path / "packed", FORMATS["litpkds"], layout)
    public = sorted((PUBLIC / "slimpajama_packed").iterdir())
    assert [path.name for path in sorted((tmp_path / "packed").iterdir())] == [
        path.name for path in public
    ]
    for path in public:
        assert (tmp_path / "packed" / path.name).read_bytes() == path.read_bytes()


def test_prts_has_its_splits_from_folders(tmp_path: Path) -> None:
    meta = {"redpajama_set_name": "RedPajamaC4"}
    for split in ("train", "validation", "test"):
        write_file(tmp_path / "in" / split / "chunk1" / "a.jsonl.zst", [f"of {split}"], meta=meta)
    folders = [tmp_path / "in" / split for split in ("train", "validation")]
    prepared(tmp_path / "out", *folders, recipe="prts")
    splits = {name: opened(tmp_path / "out").split(name).shards[0] for name in ("train", "val")}
    assert bytes(splits["train"][:-1].tolist()) == b"of train"
    assert bytes(splits["val"][:-1].tolist()) == b"of validation"
    with pytest.raises(DataError, match=r"test/chunk1/a\.jsonl\.zst: is of the test split; name"):
        prepared(tmp_path / "out", tmp_path / "in", recipe="prts")


def test_llm_baselines(tmp_path: Path) -> None:
    source = PUBLIC / "slimpajama.jsonl.gz"
    manifest = prepared(tmp_path, source, tokenizer=TOKENIZER, recipe="llm-baselines")
    assert split_bytes(tmp_path) == (PUBLIC / "llm_baselines_train.bin").read_bytes()
    assert manifest.val.documents == math.ceil(4000 * 0.0005)


GROUPED = [
    "refinedweb/train-00017-of-05379.parquet",
    "refinedweb/train-00099-of-05379.jsonl",
    "refinedweb/train-00100-of-05379.parquet",
    "refinedweb/train-04217-of-05379.jsonl.gz",
]


@pytest.mark.parametrize("drop", [False, True])
def test_groups_of_refined_web(tmp_path: Path, drop: bool) -> None:
    """Against a direct formulation; the first two files are one group, the others one each."""
    texts = {
        name: [f"{text} {name} " + "word " * 40 for text in numbered(count, "w")]
        for name, count in zip(GROUPED, (700, 500, 1100, 300), strict=True)
    }
    texts[GROUPED[1]][5] = texts[GROUPED[0]][7]
    for name, own in texts.items():
        write_file(tmp_path / name, own, field="content", url="http://")
    manifest = prepared(
        tmp_path / "out",
        tmp_path / "refinedweb",
        tokenizer=TOKENIZER,
        recipe="structured-ffn",
        drop_duplicates=drop,
    )
    assert manifest.text_field == "content|text"
    if drop:
        assert manifest.counts.dropped == 1
        del texts[GROUPED[1]][5]
    train, val = _refined_web([(0, GROUPED[:2]), (1, GROUPED[2:3]), (42, GROUPED[3:])], texts)
    assert len(val) == 1 and len(train) > 10
    assert split_bytes(tmp_path / "out", "val") == val.tobytes()
    assert split_bytes(tmp_path / "out") == train.tobytes()


def _refined_web(
    groups: list[tuple[int, list[str]]], texts: dict[str, list[str]]
) -> tuple[np.ndarray, np.ndarray]:
    kept = []
    for group, names in groups:
        documents = by_definition(
            [text for name in names for text in texts[name]], load_tokenizer(TOKENIZER), 0.0
        )["train"]
        rows = []
        for at in range(0, len(documents), 1000):
            stream = np.concatenate(documents[at : at + 1000])
            rows += list(stream[: stream.size // 1025 * 1025].reshape(-1, 1025))
        drawn = np.random.default_rng(group).permutation(len(rows))[: int(0.1 * len(rows))]
        kept += [rows[row] for row in drawn]
    order = np.random.default_rng(1005).permutation(len(kept))
    shuffled = np.array(kept, "<u2")[order]
    count = math.ceil(0.01 * len(kept))
    return shuffled[count:], shuffled[:count]


def test_files_with_and_without_a_shard_number_are_not_mixed(tmp_path: Path) -> None:
    write_file(tmp_path / "in" / "train-00001-of-00002.jsonl", ["a"])
    write_file(tmp_path / "in" / "other.jsonl", ["a"])
    with pytest.raises(DataError, match=r"other\.jsonl: has no shard number such as"):
        prepared(tmp_path / "out", tmp_path / "in", recipe="structured-ffn")


def test_shards_of_rows_hold_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workloads.data.preparing.prepare.MAX_SHARD_TOKENS", 5000)
    source = PUBLIC / "simple.jsonl.gz"
    manifest = prepared(tmp_path, source, tokenizer=TOKENIZER, recipe="structured-ffn")
    assert {shard.tokens for shard in manifest.train.shards[:-1]} == {4 * 1025}


def test_an_unknown_recipe_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--recipe structured_fn: the nearest is structured-ffn"):
        prepared(tmp_path, PUBLIC / "simple.jsonl.gz", recipe="structured_fn")
