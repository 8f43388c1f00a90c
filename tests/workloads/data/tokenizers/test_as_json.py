"""The `tokenizer.json` that a tokenizer gives to other systems, read by the library alone."""

import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, processors

from workloads.data.tokenizers.byte import ByteTokenizer
from workloads.data.tokenizers.checked_gigatoken import AWKWARD
from workloads.data.tokenizers.json_file import JsonTokenizer

BYTE = ByteTokenizer()


def texts(count: int = 200) -> list[str]:
    draw = random.Random(0)
    ranges = [(0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x110000)]

    def character() -> str:
        return chr(draw.randrange(*draw.choice(ranges)))

    return [AWKWARD.replace("<|endoftext|>", "")] + [
        "".join(character() for _ in range(draw.randrange(40))) for _ in range(count)
    ]


def test_bytes_have_the_same_ids() -> None:
    library = Library.from_str(BYTE.as_json())
    for text in texts():
        assert library.encode(text).ids == BYTE.encode(text).tolist()
        assert library.decode(BYTE.encode(text).tolist()) == text
    assert library.get_vocab_size() == BYTE.vocab_size
    assert library.token_to_id("<|endoftext|>") == BYTE.end_of_document
    # Other systems read the name of the end of a document in a text as that.
    assert library.encode("a<|endoftext|>").ids == [97, 256]


def test_any_bytes_are_decoded_alike() -> None:
    library, draw = Library.from_str(BYTE.as_json()), np.random.default_rng(0)
    for _ in range(300):
        ids = draw.integers(257, size=draw.integers(30)).tolist()
        assert library.decode(ids) == BYTE.decode(ids)


def test_this_platform_reads_it_as_the_same_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(BYTE.as_json())
    read = JsonTokenizer(tmp_path / "t.json")
    assert (read.vocab_size, read.end_of_document) == (257, 256)
    for text in (*texts(20), "a<|endoftext|>b"):
        assert read.encode(text).tolist() == BYTE.encode(text).tolist()


@pytest.fixture
def templated(tmp_path: Path) -> JsonTokenizer:
    """A tokenizer whose file begins every text with a token, and cuts it."""
    vocabulary = {"a": 0, "b": 1, "ab": 2, "<s>": 3, "</s>": 4}
    library = Library(models.BPE(vocabulary, [("a", "b")]))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    library.add_special_tokens(["<s>", "</s>"])
    template = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 3)])
    library.post_processor = template  # pyright: ignore[reportAttributeAccessIssue]
    library.enable_truncation(3)
    library.save(str(tmp_path / "t.json"))
    return JsonTokenizer(tmp_path / "t.json")


def test_a_file_leaves_without_what_adds_tokens_or_cuts(templated: JsonTokenizer) -> None:
    text = "ab a b ab ab"
    library = Library.from_str(templated.as_json())
    assert library.encode(text).ids == templated.encode(text).tolist() == [2, 0, 1, 2, 2]
    assert library.token_to_id("</s>") == templated.end_of_document == 4
