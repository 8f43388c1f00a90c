"""Exports: where files appear, and what is refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from tests.workloads.data.formats.files import own_dataset
from workloads.data.formats.exporting import export
from workloads.data.formats.flat import FlatFormat
from workloads.data.formats.format import Layout, Tokens
from workloads.data.formats.opening import TokenData, read_path
from workloads.data.manifest import DataError

FLAT = FlatFormat()


@pytest.fixture
def own(tmp_path: Path) -> TokenData:
    return read_path(own_dataset(tmp_path / "own", np.arange(100), vocab_size=100))


@pytest.mark.parametrize("prefix", ["a[1]", "*", "x?"])
def test_a_prefix_is_no_pattern(tmp_path: Path, own: TokenData, prefix: str) -> None:
    layout = Layout(prefix=prefix)
    (file,) = export(own, ["train"], tmp_path / "out", FLAT, layout)
    assert file == tmp_path / "out" / f"{prefix}-train.bin" and file.stat().st_size == 200
    with pytest.raises(DataError, match="is there already; delete it"):
        export(own, ["train"], tmp_path / "out", FLAT, layout)


@pytest.mark.parametrize("prefix", ["../esc", "sub/x", "/abs/x", ".", "x/"])
def test_a_prefix_leads_nowhere_else(tmp_path: Path, own: TokenData, prefix: str) -> None:
    with pytest.raises(DataError, match=r"--prefix .*: must be what names of files begin with"):
        export(own, ["train"], tmp_path / "out", FLAT, Layout(prefix=prefix))
    assert not (tmp_path / "out").exists() and not (tmp_path / "esc-train.bin").exists()


def test_an_export_that_was_faster_stays(
    tmp_path: Path, own: TokenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, original = tmp_path / "out", FlatFormat.write

    def slow(self: FlatFormat, tokens: Tokens, folder: Path, stem: str, layout: Layout) -> None:
        original(self, tokens, folder, stem, layout)
        (folder / "earlier.bin").write_text("ours")
        (out / "train.bin").write_text("theirs")

    monkeypatch.setattr(FlatFormat, "write", slow)
    with pytest.raises(DataError, match=r"out/train\.bin: is there already"):
        export(own, ["train"], out, FLAT, Layout())
    assert [path.name for path in out.iterdir()] == ["train.bin"]
    assert (out / "train.bin").read_text() == "theirs"


def test_a_full_disk_is_named(
    tmp_path: Path, own: TokenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(FlatFormat, "write", full)
    with pytest.raises(OSError, match="No space left") as error:
        export(own, ["train"], tmp_path / "out", FLAT, Layout())
    assert error.value.filename == str(tmp_path / "out")
    assert not (tmp_path / "out").exists()
