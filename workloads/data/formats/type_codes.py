"""How LITPKDS and Megatron number the types of tokens: the same codes, but for fractions."""

from __future__ import annotations

from pathlib import Path

from workloads.data.manifest import DataError

INTEGER_TYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
CODES = {dtype: code for code, dtype in INTEGER_TYPES.items()}
# From this size of the vocabulary on, both store ids as int32.
WIDE_VOCABULARY = 65_500


def type_of_code(code: int, path: Path, offset: int) -> str:
    """Return the type, in numpy's spelling. Raises DataError where the code is not of integers."""
    if code not in INTEGER_TYPES:
        raise DataError(
            f"{path}: byte {offset}: type code {code}, and only "
            f"{', '.join(map(str, INTEGER_TYPES))} are of token ids; write the file again"
        )
    return INTEGER_TYPES[code]


def type_of_vocabulary(vocab_size: int) -> str:
    """Return the type that both systems choose for a vocabulary: uint16 or int32."""
    return "<u2" if vocab_size < WIDE_VOCABULARY else "<i4"
