"""Long texts in parts: the same ids as whole, or not cut at all."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from workloads.data.tokenizers import cutting
from workloads.data.tokenizers.json_file import JsonTokenizer

PUBLIC = Path(__file__).parents[1] / "public"
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ATOMS = ["word", "Don't", "é", "漢字", "🙂", "a1b2", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "▁",
         ".", "...", "-\n", "</s>", "x▁y", "'s", "\u0301", "structured", "layers"]  # fmt: skip


def awkward(seed: int, length: int = 3000) -> str:
    draw = random.Random(seed)
    return "".join(draw.choice(ATOMS) + draw.choice(["", " ", " ", "\n"]) for _ in range(length))


TEXT = [awkward(seed, 300).replace("</s>", "") for seed in range(30)]


def gpt_2() -> dict[str, Any]:
    return json.loads((PUBLIC / "tokenizer.json").read_text(encoding="utf-8"))


def llama_3() -> dict[str, Any]:
    split = pre_tokenizers.Split(Regex(LLAMA_3), "isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library = Library(models.BPE(ignore_merges=True))
    library.normalizer = normalizers.NFC()
    library.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only])
    library.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(TEXT, trainer)
    return json.loads(library.to_str())


def llama_1(phrases: bool = False) -> dict[str, Any]:
    """As SentencePiece's BPE is converted."""
    library = Library(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    written = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    library.normalizer = normalizers.Sequence(written)
    if not phrases:
        library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    library.train_from_iterator([text.replace("\n", " ") for text in TEXT], trainer)
    tree = json.loads(library.to_str())
    tree["added_tokens"] = tree["added_tokens"][:3]
    return tree | {"pre_tokenizer": None}


def both(tmp_path: Path, tree: dict[str, Any]) -> tuple[JsonTokenizer, Library]:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(tree), encoding="utf-8")
    library = Library.from_file(str(path))
    library.encode_special_tokens = True
    return JsonTokenizer(path), library


def llama_1_with_phrases() -> dict[str, Any]:
    """Ids that hold the beginning of a later word, so that words cannot be split."""
    tree = llama_1(phrases=True)
    assert any("d▁" in token for token in tree["model"]["vocab"])
    return tree


@pytest.mark.parametrize("tree", [gpt_2, llama_3, llama_1, llama_1_with_phrases])
def test_parts_have_the_ids_of_the_whole(
    tmp_path: Path, tree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "LONG", 40)
    tokenizer, library = both(tmp_path, tree())
    for seed in range(20):
        text = awkward(seed)
        assert len(tokenizer._cutter.parts(text)) > 50
        whole = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text).tolist() == whole


def test_what_is_not_understood_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that reach over a cut, or a pattern that does not split there."""
    monkeypatch.setattr(cutting, "LONG", 40)
    lines = {"type": "Split", "pattern": {"Regex": "[.]"}, "behavior": "Isolated", "invert": False}
    steps = [lines, gpt_2()["pre_tokenizer"] | {"use_regex": False}]
    unsplit = gpt_2() | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
    prefixed = gpt_2() | {"pre_tokenizer": gpt_2()["pre_tokenizer"] | {"add_prefix_space": True}}
    stripping = gpt_2()
    stripping["added_tokens"].append(
        stripping["added_tokens"][0] | {"id": 512, "content": "word", "rstrip": True}
        | {"special": False}
    )  # fmt: skip
    text = "word\nother word é\n" * 100
    bytes_joined = llama_1()
    bytes_joined["model"]["vocab"] |= {"<0xC3><0xA9>": 600}
    bytes_joined["model"]["merges"].append(["<0xC3>", "<0xA9>"])
    for tree in (unsplit, prefixed, stripping, bytes_joined):
        tokenizer, library = both(tmp_path, tree)
        assert tokenizer._cutter.parts(text) == [text]
        whole = library.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text).tolist() == whole


@pytest.mark.parametrize(
    "pattern",
    [r'"[^"]*"|[^"\s]+|\s+', r"[\s\S]{1,7}", r"\s*\w+\s+\w+|\s*\S+|\s+", r"[^\n]+\n?|\n"],
)
def test_words_that_span_spaces_are_not_cut(
    tmp_path: Path, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is near a place does not show whether such a pattern splits there."""
    monkeypatch.setattr(cutting, "LONG", 40)
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    steps = [split | {"invert": False}, gpt_2()["pre_tokenizer"] | {"use_regex": False}]
    tree = gpt_2() | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
    tokenizer, library = both(tmp_path, tree)
    text = ('he said "' + "oh well it goes on and on " * 30 + '" and ') * 4
    assert tokenizer._cutter.parts(text) == [text]
    assert tokenizer.encode(text).tolist() == library.encode(text, add_special_tokens=False).ids


def test_a_tokenizer_that_cannot_cut_says_so(tmp_path: Path) -> None:
    steps = [{"type": "Split", "pattern": {"Regex": "[^x]+"}, "behavior": "Isolated"}]
    steps[0] |= {"invert": False}
    tree = gpt_2() | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
    refusal = both(tmp_path, tree)[0].refusal("he said so " * 400_000)
    assert refusal and "4,400,000 characters in one text, which this tokenizer gives no" in refusal


def test_a_short_text_is_whole() -> None:
    tokenizer = JsonTokenizer(PUBLIC / "tokenizer.json")
    assert tokenizer._cutter.parts("word\n" * 1000) == ["word\n" * 1000]
    assert len(tokenizer._cutter.parts("word\n" * 100_000)) == 8
