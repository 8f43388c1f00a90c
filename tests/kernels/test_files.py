"""Files are whole or absent, whoever reads or writes them meanwhile."""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kernels import files
from kernels.command_line import explain


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "new" / "file.txt"
    files.write_atomically(path, b"first\n", durable)
    files.write_atomically(path, "Größe\n", durable)
    assert path.read_text(encoding="utf-8") == "Größe\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    files.create_file(path, "first")
    with pytest.raises(FileExistsError):
        files.create_file(path, "second")
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_keeps_the_file(tmp_path: Path) -> None:
    path, folder = tmp_path / "file.txt", tmp_path / "folder"
    files.write_atomically(path, "first")
    folder.mkdir()
    with pytest.raises(UnicodeEncodeError):
        files.write_atomically(path, "\ud800")
    with pytest.raises(OSError):
        files.write_atomically(folder, "a folder is there")
    assert path.read_bytes() == b"first" and set(tmp_path.iterdir()) == {path, folder}


@pytest.fixture
def small_files() -> Iterator[None]:
    """Files of this process end at 4 kB, as those on a full disk do somewhere."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("write", [files.write_atomically, files.append_line])
def test_a_write_that_fails_names_its_file(
    write: Callable[[Path, str], None], tmp_path: Path
) -> None:
    with pytest.raises(OSError) as caught:
        for _ in range(2):
            write(tmp_path / "file.txt", "x" * 4097)
    line = explain(caught.value)
    assert str(tmp_path) in line and "file.txt" in line
    assert "File too large; raise the limit on the size of files (ulimit -f)" in line


def test_lines_are_appended_in_one_write_each(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lines.txt"
    long = "x" * 100_000
    for line in ("first", long):
        files.append_line(path, line)
    assert path.read_text() == f"first\n{long}\n"
