"""Where a result comes from: commit, uncommitted changes, versions, command.

Code that was packed for a cluster is no checkout any more. Its commit is therefore written beside
it when it is packed, and read from there.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

from analysis.tables.tracking import without_password

PACKAGES = ("torch", "ray", "mlflow", "numpy", "scipy", "pandas", "pydantic", "safetensors")
ROOT = Path(__file__).parents[2]
# What `pack` leaves beside the packages for `capture` in another place.
PACKED_FILE = "packed.json"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The state of a checkout; `diff` is empty where nothing is uncommitted.

    `submitted_from` is the host that packed the code, empty where it runs from its checkout.
    """

    commit: str
    diff: str
    command: str
    submitted_from: str = ""

    @property
    def dirty(self) -> bool:
        return bool(self.diff)


@dataclass(frozen=True, kw_only=True)
class Provenance(Origin):
    """The state of the code and of the machine whose driver runs it."""

    host: str
    python: str
    versions: dict[str, str]


def capture() -> Provenance:
    """Return the provenance of this process.

    The commit is `unknown` where the code is neither a git checkout nor packed.
    """
    packed = ROOT / PACKED_FILE
    origin = Origin(**json.loads(packed.read_text("utf-8"))) if packed.exists() else _checkout()
    return Provenance(
        **asdict(origin),
        host=platform.node(),
        python=platform.python_version(),
        versions={name: metadata.version(name) for name in PACKAGES},
    )


def pack(directory: Path) -> None:
    """Write this checkout's commit, changes and command beside a copy of its code."""
    origin = replace(_checkout(), submitted_from=platform.node())
    (directory / PACKED_FILE).write_text(json.dumps(asdict(origin)), encoding="utf-8")


def _checkout() -> Origin:
    return Origin(
        commit=_git("rev-parse", "HEAD").strip() or "unknown",
        diff=_git("diff", "HEAD") + _untracked(),
        command=" ".join(["python", "-m", "study", *map(without_password, sys.argv[1:])]),
    )


def _untracked() -> str:
    paths = _git("ls-files", "--others", "--exclude-standard").splitlines()
    return "".join(f"untracked: {path}\n" for path in paths)


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
