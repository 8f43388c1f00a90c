"""Names that errors suggest."""

import pytest

from workloads.schema.nearest import nearest


@pytest.mark.parametrize(
    ("name", "expected"),
    [("LowRnk", "lowrank"), ("blockdens", "blockdense"), ("MICRO", "Micro")],
)
def test_the_nearest_name_is_found_whatever_its_case(name: str, expected: str) -> None:
    assert nearest(name, ["dense", "lowrank", "blockdense", "Micro"]) == expected


def test_nothing_is_near_to_nothing_known() -> None:
    with pytest.raises(ValueError, match="nothing is known"):
        nearest("dense", [])
