"""The table of tokenizers: a tokenizer is one file beside this one and one row here."""

from __future__ import annotations

from workloads.data.tokenizers.byte import ByteTokenizer
from workloads.data.tokenizers.tokenizer import Tokenizer

TOKENIZERS: dict[str, Tokenizer] = {"byte": ByteTokenizer()}
