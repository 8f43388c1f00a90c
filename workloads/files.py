"""The place of what was measured on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def measured_here(file: str) -> Path:
    """Return where this user keeps measurements of this machine: $XDG_CACHE_HOME or ~/.cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    home = cache if cache.is_absolute() else Path.home() / ".cache"
    return home / "structured-scaling" / file
