"""Files are whole or absent, whoever reads or writes them meanwhile."""

from pathlib import Path

import pytest

from kernels import files


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    files.replace_file(path, "first\n")
    files.replace_file(path, "Größe\n")
    assert path.read_text(encoding="utf-8") == "Größe\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    files.create_file(path, "first")
    with pytest.raises(FileExistsError):
        files.create_file(path, "second")
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_keeps_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.txt"
    files.replace_file(path, "first")

    def full_disk(written: Path, text: str, encoding: str, newline: str) -> int:
        written.write_bytes(text.encode()[:2])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="no space left"):
        files.replace_file(path, "second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


def test_lines_are_appended_in_one_write_each(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lines.txt"
    long = "x" * 100_000
    for line in ("first", long):
        files.append_line(path, line)
    assert path.read_text() == f"first\n{long}\n"
