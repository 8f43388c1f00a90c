"""The table of tokenizers: a tokenizer is one file beside this one and one row here.

Any `tokenizer.json` of the `tokenizers` library is one as well, under its path.
"""

from __future__ import annotations

from pathlib import Path

from workloads.data.manifest import DataError
from workloads.data.tokenizers.byte import ByteTokenizer
from workloads.data.tokenizers.tokenizer import Tokenizer

TOKENIZERS: dict[str, Tokenizer] = {"byte": ByteTokenizer()}


def load_tokenizer(name_or_path: str, gigatoken: bool = False) -> Tokenizer:
    """Return the tokenizer of that name, or the one in a `tokenizer.json` at that path.

    `gigatoken` has that library encode, for the same ids. Raises DataError where there is no such
    tokenizer, the file is not one, or gigatoken is not for it.
    """
    if name_or_path in TOKENIZERS:
        if gigatoken:
            raise DataError(f"--gigatoken is for a tokenizer.json, and {name_or_path} needs it not")
        return TOKENIZERS[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        known = ", ".join(TOKENIZERS)
        raise DataError(
            f"tokenizer {name_or_path}: neither a known name ({known}) nor a file; name a "
            "tokenizer.json, which `python -m workloads data train-tokenizer` makes"
        )
    # Imported late: the library is needed only where such a file is used.
    from workloads.data.tokenizers.json_file import JsonTokenizer

    tokenizer = JsonTokenizer(path)
    if not gigatoken:
        return tokenizer
    from workloads.data.tokenizers.checked_gigatoken import GigatokenTokenizer

    return GigatokenTokenizer(tokenizer)
