"""Files written whole or not at all."""

from pathlib import Path

import pytest

from workloads.files import write_atomically


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(
    tmp_path: Path, durable: bool
) -> None:
    path = tmp_path / "new folder" / "file.txt"
    write_atomically(path, "first ü", durable)
    write_atomically(path, b"second", durable)
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "first")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "taken", "a folder is there")
    assert path.read_text() == "first"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file.txt", "taken"]
