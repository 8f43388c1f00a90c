"""The formula of the stacking paper against its published numbers, and where it ends."""

import math

import pytest

from workloads.errors import InputError
from workloads.recipes.growth_guideline import guideline


@pytest.mark.parametrize(
    ("params", "tokens", "billions"),
    [(8e9, 15e12, 6.58), (7e9, 2e12, 11.11), (13e9, 2e12, 15.84), (70e9, 2e12, 42.48)],
)
def test_it_gives_the_published_numbers(params: float, tokens: float, billions: float) -> None:
    found = guideline(params, tokens)
    assert found.base_tokens / 1e9 == pytest.approx(billions, abs=0.006)
    assert (found.factor, found.outside) == (4, False)


@pytest.mark.parametrize(
    ("params", "tokens", "billions"), [(1e9, 20e9, 20.5), (1e8, 2.2e9, 20.4), (1e7, 2e8, 37.5)]
)
def test_it_says_where_it_leaves_its_range(params: float, tokens: float, billions: float) -> None:
    found = guideline(params, tokens)
    assert found.base_tokens / 1e9 == pytest.approx(billions, abs=0.06)
    assert found.outside


@pytest.mark.parametrize("wrong", [0, -1, 0.5, math.nan, math.inf])
def test_no_count_is_refused(wrong: float) -> None:
    with pytest.raises(InputError, match=f"params {wrong:g} is no count"):
        guideline(wrong, 1e9)
    with pytest.raises(InputError, match=f"tokens {wrong:g} is no count"):
        guideline(1e9, wrong)
