"""The faster encoder: the reference's ids for awkward text, or none at all."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workloads.data.tokenizers.test_cutting import ATOMS, gpt_2, llama_1, llama_3
from workloads.data.manifest import DataError
from workloads.data.tokenizers.checked_gigatoken import GigatokenTokenizer
from workloads.data.tokenizers.json_file import JsonTokenizer


@pytest.mark.parametrize("tree", [gpt_2, llama_3, llama_1])
def test_ids_are_those_of_the_reference(tmp_path: Path, tree: Any) -> None:
    pytest.importorskip("gigatoken", reason="needs the extra gigatoken")
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tree()), encoding="utf-8")
    reference = JsonTokenizer(path)
    tokenizer = GigatokenTokenizer(reference)
    draw = random.Random(0)
    characters = [number for number in range(0x110000) if not 0xD800 <= number < 0xE000]
    texts = ["", " ", "x" * 10_000, "\n" * 3000, " a" * 3000]
    texts += ["".join(map(chr, draw.choices(characters, k=100))) for _ in range(300)]
    texts += ["".join(map(chr, draw.choices(range(0x250), k=100))) for _ in range(300)]
    texts += ["".join(draw.choices([*ATOMS, " ", "\n"], k=100)) for _ in range(300)]
    for found, wanted in zip(
        tokenizer.encode_batch(texts), reference.encode_batch(texts), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_another_id_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gigatoken", reason="needs the extra gigatoken")
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(gpt_2()), encoding="utf-8")
    tokenizer = GigatokenTokenizer(JsonTokenizer(path))
    encoded = tokenizer._encoded
    monkeypatch.setattr(tokenizer, "_encoded", lambda texts: [i[::-1] for i in encoded(texts)])
    with pytest.raises(DataError, match="other ids than tokenizers for the text 'some words'"):
        tokenizer.encode_batch(["", "some words"])


def test_added_words_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("gigatoken", reason="needs the extra gigatoken")
    tree = gpt_2()
    tree["added_tokens"].append(
        tree["added_tokens"][0] | {"id": 512, "content": "word", "special": False}
    )
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(DataError, match=r"tokenizer\.json: has added words; run without"):
        GigatokenTokenizer(JsonTokenizer(path))
