"""Names that error messages suggest."""

import pytest

from kernels.nearest import nearest_name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("lowrang", "LowRank"), ("LOWRANK", "LowRank"), ("dence", "dense")],
)
def test_the_most_similar_name_whatever_its_case(name: str, nearest: str) -> None:
    assert nearest_name(name, ["dense", "LowRank"]) == nearest


def test_without_known_names_there_is_none() -> None:
    with pytest.raises(ValueError, match="no name is known"):
        nearest_name("dense", [])


def test_some_name_however_unlike() -> None:
    assert nearest_name("zzz", ["dense"]) == "dense"
