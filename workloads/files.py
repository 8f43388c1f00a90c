"""The user's cache: what was measured on this machine, and what files were found to hold."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def measured_here(file: str) -> Path:
    """Return where this user keeps measurements of this machine: $XDG_CACHE_HOME or ~/.cache.

    A user without a home keeps them in the folder of temporary files.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # the XDG specification has relative paths ignored
        try:
            cache = Path.home() / ".cache"
        except RuntimeError:
            cache = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return cache / "structured-scaling" / file
