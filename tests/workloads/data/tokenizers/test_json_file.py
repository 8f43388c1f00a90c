"""Tokenizers in files: the library's ids of plain text, and nothing special ever."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers

from workloads.data.manifest import DataError
from workloads.data.tokenizers.table import load_tokenizer

PUBLIC = Path(__file__).parents[1] / "public"
TREE: dict[str, Any] = json.loads((PUBLIC / "tokenizer.json").read_text(encoding="utf-8"))
AWKWARD = ["", " ", "a\r\n\tb", "é 漢 🙂 \u200b", "\x00", "x" * 5000, "don't  stop", "\ufdd0</s>"]


def written(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(TREE | changes), encoding="utf-8")
    return str(path)


def test_ids_are_those_of_the_library() -> None:
    tokenizer = load_tokenizer(str(PUBLIC / "tokenizer.json"))
    library = Library.from_file(str(PUBLIC / "tokenizer.json"))
    assert (tokenizer.vocab_size, tokenizer.end_of_document) == (512, 2)
    for text, ids in zip(AWKWARD[:-1], tokenizer.encode_batch(AWKWARD), strict=False):
        assert ids.tolist() == library.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.decode([2, *tokenizer.encode("hi"), 2]) == "hi"
    with pytest.raises(ValueError, match="token id 512 is outside"):
        tokenizer.decode([512])


@pytest.mark.parametrize("text", ["</s>", "a <s> b</s>", "<unk>", "\ufdd0</s>", "</s></s>"])
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("whole_words", [True, False])
def test_text_that_looks_special_stays_text(
    tmp_path: Path, text: str, special: bool, whole_words: bool
) -> None:
    """Also where the file does not mark its end of document, or looks up whole words."""
    added = [token | {"special": special or token["id"] < 2} for token in TREE["added_tokens"]]
    model = TREE["model"] | {"ignore_merges": whole_words}
    pre = TREE["pre_tokenizer"] | {"use_regex": not whole_words}
    name = written(tmp_path, added_tokens=added, model=model, pre_tokenizer=pre)
    tokenizer = load_tokenizer(name)
    ids = tokenizer.encode(text)
    assert ids.min() > 2
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", ["Unigram", "WordLevel", "WordPiece"])
def test_no_character_makes_text_special(tmp_path: Path, kind: str) -> None:
    """Models whose vocabulary has characters, not bytes."""
    vocabulary = {"</s>": 0, "<unk>": 1, "a": 2, "b": 3}
    library = Library(
        models.Unigram([(token, -float(n)) for token, n in vocabulary.items()], 1, False)
        if kind == "Unigram"
        else getattr(models, kind)(vocabulary, unk_token="<unk>")
    )
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    library.add_special_tokens(["</s>", "<unk>"])
    library.save(str(tmp_path / "t.json"))
    tokenizer = load_tokenizer(str(tmp_path / "t.json"))
    marks = "".join(map(chr, range(0xFDD0, 0xFDF0)))
    for text in ("a </s> b", "a \ufdd0</s> b", f"a {marks}</s> b"):
        ids = tokenizer.encode(text).tolist()
        assert ids[0] == 2 and ids[-1] == 3 and set(ids[1:-1]) == {1}


def test_merges_that_make_a_special_token_are_not_used(tmp_path: Path) -> None:
    """As a tokenizer has them that was trained on text with `</s>` in it."""
    merges = [["<", "/"], ["</", "s"], ["</s", ">"]]
    vocabulary = TREE["model"]["vocab"] | {"</": 512, "</s": 513}
    whole_words = TREE["pre_tokenizer"] | {"use_regex": False}
    for either in (merges, [" ".join(merge) for merge in merges]):
        model = TREE["model"] | {"vocab": vocabulary, "merges": either}
        tokenizer = load_tokenizer(written(tmp_path, model=model, pre_tokenizer=whole_words))
        assert tokenizer.encode("</s>").tolist() == [513, vocabulary[">"]]


def test_an_added_word_keeps_its_id(tmp_path: Path) -> None:
    word = TREE["added_tokens"][0] | {"content": "shuffle", "special": False}
    late = word | {"id": 512, "content": "<late>", "special": True}
    added = [*TREE["added_tokens"], late, word | {"id": 513}]
    tokenizer = load_tokenizer(written(tmp_path, added_tokens=added))
    assert tokenizer.encode("shuffle").tolist() == [513]
    assert tokenizer.vocab_size == 514


def test_templates_truncation_padding_and_dropout_are_not_used(tmp_path: Path) -> None:
    plain = load_tokenizer(str(PUBLIC / "tokenizer.json"))
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}]}
    template["single"] += [{"Sequence": {"id": "A", "type_id": 0}}]
    template["single"][0]["SpecialToken"]["type_id"] = 0
    template |= {"pair": template["single"]}
    template |= {"special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    cut = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    name = written(
        tmp_path,
        post_processor=template,
        truncation=cut,
        model=TREE["model"] | {"dropout": 0.9},
    )
    text = "there was one more structured operation"
    np.testing.assert_array_equal(load_tokenizer(name).encode(text), plain.encode(text))


def test_what_is_no_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tokenizer nowhere\.json: neither a known name \(byte\)"):
        load_tokenizer("nowhere.json")
    for changes in ({"model": None}, {"added_tokens": 3}):
        with pytest.raises(DataError, match=r"tokenizer\.json: not a tokenizer\.json"):
            load_tokenizer(written(tmp_path, **changes))
    model = TREE["model"] | {"vocab": {t: i for t, i in TREE["model"]["vocab"].items() if i > 2}}
    with pytest.raises(DataError, match=r"tokenizer\.json: has none of the tokens that end"):
        load_tokenizer(written(tmp_path, model=model, added_tokens=[]))
