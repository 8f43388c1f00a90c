"""Characters that matplotlib's own font lacks: an installed font has them, or it is said once."""

from __future__ import annotations

import logging
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
from matplotlib.font_manager import fontManager

from analysis.figures import style

NAME = "研究"


def saved(title: str, folder: Path) -> list[str]:
    """Save a figure of that title; return the fonts of the title."""
    figure, (axes,) = style.panels(1, 3, 2)
    axes.set_title(title)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        style.save(figure, folder / "figure")
    return list(axes.title.get_fontfamily())


def test_ordinary_titles_keep_their_font(tmp_path: Path) -> None:
    assert saved("dense", tmp_path) == saved("γ, ×, é", tmp_path) == ["sans-serif"]


@pytest.mark.parametrize("highest", [4.2e10, 4.9e10, 9e10, 3e11, 4e12])
def test_ticks_of_a_log_axis_do_not_touch(highest: float) -> None:
    figure, (axes,) = style.panels(1, 3.4, 2.7)
    axes.set(xscale="log", xlim=(4.1e10, highest))
    style.log_ticks(axes, [4.1e10, highest])
    figure.draw_without_rendering()
    boxes = [
        label.get_window_extent()
        for label, at in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
        if label.get_text() and 4.1e10 <= at <= highest
    ]
    assert len(boxes) >= 2
    assert all(a.x1 < b.x0 for a, b in pairwise(sorted(boxes, key=lambda box: box.x0)))
    minor = [label.get_text() for label in axes.get_xticklabels(minor=True)]
    assert not any(minor)


def test_a_character_without_a_font_is_said_once_in_plain_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [f for f in fontManager.ttflist if f.name.startswith(("DejaVu", "Last Resort"))]
    monkeypatch.setattr(fontManager, "ttflist", own)
    style._family_with.cache_clear()
    style._say_boxes.cache_clear()
    for _ in range(2):
        assert saved(NAME, tmp_path) == ["sans-serif"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "no installed font has the characters 研究: figures show boxes" in caplog.messages[0]
    style._family_with.cache_clear()


def test_an_installed_font_with_the_character_is_taken(tmp_path: Path) -> None:
    style._family_with.cache_clear()
    found = {family for character in NAME if (family := style._family_with(character))}
    assert saved(NAME, tmp_path) == ["sans-serif", *sorted(found)]
