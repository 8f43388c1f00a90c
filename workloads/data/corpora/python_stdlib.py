"""Where documents come from: each source yields the same documents in the same order every time.

`python-stdlib` is the standard library of the running Python: megabytes of real English and code
that every machine has, so that nothing is downloaded. It differs between Python versions, which is
why a dataset is known by the fingerprint of its documents and not by the name of its source.
"""

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from workloads.data.corpora.document import Document

# Folders that hold no document: installed packages, caches and tests.
EXCLUDED_FOLDERS = frozenset(
    {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
)

# Written by the machine's build or packager, with its paths: not the same text everywhere.
MACHINE_FILES = ("_sysconfigdata_", "sitecustomize.py")


def python_stdlib() -> Iterator[Document]:
    """The `.py` files of the running Python's standard library, tests excluded."""
    return python_files(Path(sysconfig.get_paths()["stdlib"]))


def python_files(root: Path) -> Iterator[Document]:
    """The `.py` files below `root`, sorted by relative POSIX path.

    Tests and installed packages are left out, and so are files that are not UTF-8. The text is
    exactly what the file holds: line endings are not translated.
    """
    for path in sorted(_python_paths(root)):
        try:
            text = (root / path).read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
        yield Document(path, text)


def _python_paths(root: Path) -> Iterator[str]:
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in EXCLUDED_FOLDERS]
        for name in files:
            path = Path(folder, name)
            # A distribution may leave a link that points at nothing.
            if name.endswith(".py") and not _is_excluded(name) and path.is_file():
                yield path.relative_to(root).as_posix()


def _is_excluded(name: str) -> bool:
    return name.startswith(("test_", *MACHINE_FILES)) or name.endswith("_test.py")
