"""Files that belong to the user and the machine rather than to a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def measured_here(file: str) -> Path:
    """Where this user keeps what was measured of this machine: in $XDG_CACHE_HOME or ~/.cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    home = cache if cache.is_absolute() else Path.home() / ".cache"
    return home / "structured-scaling" / file
