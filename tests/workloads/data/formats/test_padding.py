"""Tokens behind the text: said where an export adds them, left out where that is known, and
cautioned against where it is not."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.workloads.data.formats.files import chunk, data, own_dataset, refused
from workloads.data.formats.opening import open_path
from workloads.data.loader import eval_batches
from workloads.data.manifest import TextSize

TRAIN, VAL = np.arange(1, 61), np.arange(70, 80)


def packed(tmp_path: Path) -> Path:
    own = own_dataset(tmp_path / "own", TRAIN, VAL)
    options = ("--format", "litpkds", "--chunk", 50, "--pad", 0)
    code, out, err = data("export", own, tmp_path / "out", *options)
    assert code == 0 and len(out.splitlines()) == 3
    for said, split, total in zip(err.splitlines(), ("train", "val"), (100, 50), strict=True):
        line, command = said.split(" in the folder: ")
        assert line == (
            f"{split}: the last 40 of {total} tokens are padding, which readers take for text; for "
            "this platform, say so"
        )
        subprocess.run(command, shell=True, check=True, cwd=tmp_path / "out")
    return tmp_path / "out"


def test_the_padding_of_an_export_is_neither_trained_on_nor_evaluated(tmp_path: Path) -> None:
    out = packed(tmp_path)
    dataset = open_path(out)
    assert dataset.size == TextSize(80, 60, 10) and not dataset.cautions
    assert np.array_equal(np.concatenate(dataset.split("train").shards), TRAIN)
    (batch,) = eval_batches(dataset.split("val"), 3, 8, 1000)
    assert sorted(batch[1][batch[1] >= 0].tolist()) == list(range(71, 80))
    code, shown, _ = data("inspect", out)
    assert code == 0 and "padding             40" in shown
    assert data("verify", out)[1].startswith(f"{out}: sound: format litpkds, 70 tokens in 3 files")
    whole = refused("export", out, out, "--format", "litpkds", "--chunk", 10)
    assert whole.startswith(f"{out}/padding-train.json: is there already")


def test_a_chunk_that_others_follow_is_no_last_one(tmp_path: Path) -> None:
    out = packed(tmp_path)
    first = open_path(out / "train_0000000000.bin", val=out / "val_0000000000.bin")
    assert first.size == TextSize(80, 50, 10)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"id": 1, "tokens": 40}', "its last 40 tokens are not all id 1, as"),
        ('{"id": 0, "tokens": 41}', "its last 41 tokens are not all id 0, as"),
        ('{"id": 0, "tokens": 50}', "its last 50 tokens are not all id 0, as"),
        ('{"id": 0}', "Field required; it should be such as"),
        ("40", "; it should be such as"),
    ],
)
def test_padding_that_is_not_there_is_refused(tmp_path: Path, content: str, said: str) -> None:
    out = packed(tmp_path)
    (out / "padding-train.json").write_text(content)
    assert said in refused("inspect", out)


def test_an_end_of_equal_ids_is_cautioned_against_with_the_way_to_say_so(tmp_path: Path) -> None:
    chunk(tmp_path / "train_0000000000.bin", [*range(1, 100), *[5] * 300])
    chunk(tmp_path / "val_0000000000.bin", [*range(1, 100), *[5] * 255])
    (caution,) = open_path(tmp_path).cautions
    padding = tmp_path / "padding-train.json"
    content = json.dumps({"id": 5, "tokens": 300}, separators=(",", ":"))
    assert caution == (
        f"{tmp_path}/train_0000000000.bin ends with 300 tokens of id 5, of 399: they are read as "
        f"text; where they are padding, say so: echo '{content}' > {padding}"
    )
    assert f"caution: {caution}" in data("inspect", tmp_path)[1]
    before = open_path(tmp_path).fingerprint
    padding.write_text(content)
    dataset = open_path(tmp_path)
    assert dataset.size == TextSize(100, 99, 354) and not dataset.cautions
    assert dataset.fingerprint != before  # other tokens: another text
    np.array([7] * 256, "<u2").tofile(tmp_path / "val.bin")
    (caution,) = open_path(tmp_path / "train", val=tmp_path / "val.bin").cautions
    assert caution.endswith(f"cut them off: truncate -s -512 {tmp_path}/val.bin")
