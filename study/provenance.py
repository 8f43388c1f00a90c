"""Where a result comes from: commit, uncommitted changes, versions, command."""

from __future__ import annotations

import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "ray", "mlflow", "numpy", "scipy", "pandas", "pydantic", "safetensors")


@dataclass(frozen=True)
class Provenance:
    """The state of code and machine that launched a study; `diff` is empty on a clean tree."""

    commit: str
    diff: str
    command: str
    host: str
    python: str
    versions: dict[str, str]

    @property
    def dirty(self) -> bool:
        return bool(self.diff)


def capture() -> Provenance:
    """Provenance of this process. Outside a git checkout, commit is `unknown`."""
    return Provenance(
        commit=_git("rev-parse", "HEAD").strip() or "unknown",
        diff=_git("diff", "HEAD") + _untracked(),
        command=" ".join(["python", "-m", "study", *sys.argv[1:]]),
        host=platform.node(),
        python=platform.python_version(),
        versions={name: metadata.version(name) for name in PACKAGES},
    )


def _untracked() -> str:
    paths = _git("ls-files", "--others", "--exclude-standard").splitlines()
    return "".join(f"untracked: {path}\n" for path in paths)


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
