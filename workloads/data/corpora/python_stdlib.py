"""The standard library of the running Python: megabytes of English and code on every machine.

Nothing is downloaded. The text differs between Python versions, so a dataset is known by the
fingerprint of its documents and not by the name of its corpus.
"""

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from workloads.data.corpora.corpus import Corpus, Document

# Folders that hold no document: installed packages, caches and tests.
EXCLUDED_FOLDERS = frozenset(
    {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
)

# The machine's build or packager writes these with its own paths: their text is not the same
# everywhere.
MACHINE_FILES = ("_sysconfigdata_", "sitecustomize.py")


class PythonFiles(Corpus):
    """The `.py` files below `root`, sorted by relative POSIX path.

    Tests and installed packages are left out, and so are files that are not UTF-8. The text is
    exactly what the file holds: line endings are not translated.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def documents(self) -> Iterator[Document]:
        for path in self.files():
            try:
                text = path.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                continue
            yield Document(path.relative_to(self.root).as_posix(), text)

    def files(self) -> list[Path]:
        found: list[Path] = []
        for folder, subfolders, names in os.walk(self.root):
            subfolders[:] = [name for name in subfolders if name not in EXCLUDED_FOLDERS]
            found += [Path(folder, name) for name in names if _is_document(name)]
        # A distribution may leave a link that points at nothing.
        kept = [path for path in found if path.is_file()]
        return sorted(kept, key=lambda path: path.relative_to(self.root).as_posix())


PYTHON_STDLIB = PythonFiles(Path(sysconfig.get_paths()["stdlib"]))


def _is_document(name: str) -> bool:
    excluded = name.startswith(("test_", *MACHINE_FILES)) or name.endswith("_test.py")
    return name.endswith(".py") and not excluded
