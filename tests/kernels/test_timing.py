"""Paired timing: the order of passes, the rounds that count, and ratios."""

import pytest

from kernels import timing
from kernels.timing import Ratio, time_round, time_rounds


def test_a_round_goes_there_and_back() -> None:
    order: list[tuple[str, int]] = []
    contenders = {name: lambda number, name=name: order.append((name, number)) for name in "ab"}
    seconds = time_round(contenders, 5, num_passes=2)
    assert order == [(name, 5) for name in "aabbbbaa"]
    assert seconds.keys() == contenders.keys() and min(seconds.values()) > 0


def test_rounds_after_those_that_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 0.0)
    numbers: list[int] = []
    samples = time_rounds({"a": numbers.append, "b": lambda number: None}, 3)
    assert numbers == [-2, -2, -1, -1, 0, 0, 1, 1, 2, 2]
    assert {name: len(found) for name, found in samples.items()} == {"a": 3, "b": 3}


def test_short_passes_are_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SAMPLE_SECONDS", 0.02)
    numbers: list[int] = []
    time_rounds({"a": numbers.append}, 1)
    assert numbers.count(0) > 100


def test_ratios_are_of_one_round() -> None:
    ratio = Ratio.of([2.0, 3.0, 4.0], [4.0, 2.0, 4.0])
    assert (ratio.median, ratio.low, ratio.high) == (1.0, 0.5, 1.5)
