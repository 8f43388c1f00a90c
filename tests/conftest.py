"""What holds for all tests: how long one may take."""

from __future__ import annotations

import pytest

SLOW_SECONDS = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests half an hour; pyproject.toml has the limit of the others."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))
