"""The tree of the product code, as docs/architecture.md prints it.

`python -m tests.tree` writes it anew after a file was added, moved or removed.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
ROOMS = ("kernels", "workloads", "study", "analysis", "cluster")
BLOCK = re.compile(r"(?<=<!-- tree -->\n```\n).*?(?=```\n)", re.DOTALL)
WIDTH, NAMES_FROM = 99, 24


def tree(stages: dict[str, list[str]]) -> str:
    """Return one line a folder, with the names of its modules; `stages` orders a room's folders."""
    lines = []
    for room in ROOMS:
        folders = sorted({path.parent for path in (ROOT / room).rglob("*.py")})
        order = stages.get(room, [])
        folders.sort(key=lambda folder: _place(folder.relative_to(ROOT / room), order))
        for folder in folders:
            depth = len(folder.relative_to(ROOT).parts) - 1
            names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
            start = f"{'  ' * depth}{folder.name}/".ljust(NAMES_FROM)
            wrapped = textwrap.wrap(" ".join(names), WIDTH - NAMES_FROM) or [""]
            lines.append((start + wrapped[0]).rstrip())
            lines += [" " * NAMES_FROM + rest for rest in wrapped[1:]]
    return "\n".join(lines) + "\n"


def _place(folder: Path, order: list[str]) -> tuple[int, tuple[str, ...]]:
    parts = folder.parts
    return (order.index(parts[0]) if parts and parts[0] in order else -1), parts


def printed() -> str:
    """Return the tree that the page prints now."""
    found = BLOCK.search(PAGE.read_text(encoding="utf-8"))
    assert found, f"{PAGE} has no tree block"
    return found.group()


if __name__ == "__main__":
    from tests.test_architecture import STAGES

    PAGE.write_text(BLOCK.sub(lambda _: tree(STAGES), PAGE.read_text("utf-8")), "utf-8")
