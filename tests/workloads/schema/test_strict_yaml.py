"""What a person gets wrong in a file, and the one line that says where and what to write."""

import re
from pathlib import Path
from typing import Any

import pytest

from workloads.data.config import DataConfig
from workloads.errors import InputError
from workloads.recipes.recipe import Recipe
from workloads.schema import strict_yaml


def error_of(directory: Path, content: str | bytes) -> str:
    """The message for this file, without its path: `:LINE: ...`."""
    path = directory / "recipe.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        strict_yaml.load(path, Recipe)
    message = str(error.value)
    assert len(message.splitlines()) == 1, message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    text = """\
# A comment.
preset: nano
ffn: &small {kind: lowrank, fraction: 0.625}
budget:
  tokens: 1.0e5  # whole, if written with an exponent
seed: 0x10
data: {val_fraction: 0.1}
"""
    path.write_text(text)
    loaded = strict_yaml.load(path, Recipe)
    assert loaded.text == text and loaded.path == path
    recipe = loaded.value
    assert (recipe.preset, recipe.ffn.kind, recipe.ffn.fraction) == ("nano", "lowrank", 0.625)
    assert recipe.budget is not None and recipe.budget.tokens == 100_000
    assert (recipe.seed, recipe.data, recipe.runtime) == (16, DataConfig(val_fraction=0.1), None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("preset: pico\n\nsede: 1\n", ":3: sede = 1: no such key; the nearest is seed (of "),
        (
            "preset: pico\nbudget: {steps: 1}\nffn:\n  kind: lowrank\n  rnak: 3\n",
            ":5: ffn.rnak = 3: no such key; the nearest is rank (of kind, rank, nblocks,",
        ),
        (
            "preset: pico\nbudget: {Steps: 1}\n",
            ":2: budget.Steps = 1: no such key; the nearest is s",
        ),
        (
            "preset: pico\nzzz: 1\n",
            ":2: zzz = 1: no such key; the nearest is optimizer (of preset, model, width, ",
        ),
        ("presett: pico\n", ":1: presett = 'pico': no such key; the nearest is preset"),
        (
            "preset: pico\nffn:\n  kind: lowrnak\n  rank: 3\n",
            ":3: ffn.kind = 'lowrnak': no such FFN kind; the nearest is lowrank (of dense, ",
        ),
        ("preset: picoo\n", ":1: preset = 'picoo': no such preset; the nearest is pico (of "),
        ("seed: 1\n", ":1: preset: this key is required; add it"),
        ("preset: pico\nseed: abc\n", ":2: seed = 'abc': this should be a valid integer"),
        ("preset: pico\nlearning_rate: fast\n", ":2: learning_rate = 'fast': this should be"),
        ("preset: pico\nlearning_rate: .inf\n", ":2: learning_rate = inf: this should be a finite"),
        ("preset: pico\nffn: lowrank\n", ":2: ffn = 'lowrank': this should be a mapping; its keys"),
        ("preset: [pico]\n", ":1: preset: this should be a valid string"),
        ("preset: pico\nseed: -1\n", ":2: seed = -1: "),
        (
            "preset: pico\nbudget: {steps: 0}\n",
            ":2: budget.steps = 0: must be greater than 0; raise it",
        ),
        (
            "preset: pico\nbudget:\n  steps: 1\n  tokens: 5\n",
            ":2: budget: a budget has exactly one of ",
        ),
        (
            "preset: pico\nffn: {kind: lowrank, rank: 3, fraction: 0.5}\n",
            ":2: ffn: rank and fraction both give the size; remove one",
        ),
        (
            "preset: pico\nseed: 0\nffn: {kind: blockdense, fraction: 0.5}\n",
            ":3: ffn: kind blockdense needs nblocks; add it",
        ),
        ("", ":1: file: "),
        ("hello\n", ":1: file = 'hello': "),
        ("- preset: pico\n", ":1: file: "),
    ],
)
def test_a_wrong_value_is_one_line_with_place_value_and_remedy(
    tmp_path: Path, content: str, expected: str
) -> None:
    assert error_of(tmp_path, content).startswith(expected)


def test_several_mistakes_are_counted(tmp_path: Path) -> None:
    message = error_of(tmp_path, "preset: pico\nseed: x\nlearning_rate: y\nbudget: {steps: z}\n")
    assert message.endswith("(and 2 more in this file)")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("preset: pico\nseed: 1\nseed: 2\n", ':3: not valid YAML: found duplicate key "seed"'),
        ("preset: pico\nffn: {kind: dense, kind: lowrank}\n", ":2: not valid YAML: found duplic"),
        ("preset: pico\nffn: {kind: dense\nseed: 1\n", ":3: not valid YAML: expected ',' or '}'"),
        ("preset: pico: nano\n", ":1: not valid YAML: mapping values are not allowed here"),
        ("preset:\n\t- pico\n", ":2: not valid YAML: found character '\\t'"),
        ("preset: *nowhere\n", ":1: not valid YAML: found undefined alias 'nowhere'"),
        ("preset: pico\n---\npreset: nano\n", ":2: not valid YAML: but found another document"),
        ("preset: pi\x00co\n", ":1: not valid YAML: unacceptable character #x0000"),
        ("preset: pico\nseed: !!int abc\n", ":2: not valid YAML: invalid literal for int()"),
        ("preset: pico\nseed: 2020-99-99\n", ":2: not valid YAML: month must be in 1..12"),
        (f"preset: pico\nseed: {'9' * 5000}\n", ":2: not valid YAML: Exceeds the limit"),
        ("&a\npreset: *a\n", ": nested too deeply, or in itself"),
        (f"preset: {'[' * 1000}{']' * 1000}\n", ": nested too deeply, or in itself"),
        ("preset: pico\r\n# \x07\r\n", ":2: not valid YAML: unacceptable character #x0007"),
        ("seed: 1\npreset: !!bool maybe\n", ":2: not valid YAML: this cannot be !!bool; correct"),
        ("seed: 1\npreset: !!omap 3\n", ":2: not valid YAML: this cannot be !!omap; correct"),
        (b"# a\npreset: caf\xe9\n", ":2: byte 0xe9 is not UTF-8; save the file as UTF-8 text"),
        ("preset: pico\n".encode("utf-16"), ":1: byte 0xff is not UTF-8; save the file as UTF-8"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_not_yaml_is_one_line(tmp_path: Path, content: str | bytes, expected: str) -> None:
    assert error_of(tmp_path, content).startswith(expected)


@pytest.mark.parametrize(
    "content",
    [
        'preset: pico\n"se\\ned": 1\n',
        "preset: |\n  pi\n  co\n",
        'preset: "a\\u2028b\\u0085c"\n"\\u2028": 1\n',
        "preset: pico\n1: 2\n",
        "preset: pico\nnull: 2\n",
        "preset: pico\n? [a, b]\n: 2\n",
        "preset: pico\n? {a: b}\n: 2\n",
        "preset: !!set {a, b}\n",
        "preset: 2020-01-01\n",
        "preset: &a [*a]\n",
        "%YAML 9.9\n---\npreset: pico\n",
        "\ufeffpreset: pico\nsede: 1\n",
        "preset: pico\r\nsede: 1\r\n",
        b"\xff\xfe\x00",
    ],
    ids=repr,
)
def test_whatever_the_file_holds_the_error_is_one_line(
    tmp_path: Path, content: str | bytes
) -> None:
    error_of(tmp_path, content)


TAGS = ["bool", "int", "float", "null", "timestamp", "binary", "str", "set", "omap", "pairs"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_that_does_not_fit_its_value_is_one_line(tmp_path: Path, tag: str) -> None:
    values = ("maybe", "6", "~", "''", "[1]", "[a: 1]", "{a: 1}", "2026-01-01")
    for value in values:
        error_of(tmp_path, f"seed: !!{tag} {value}\n!!{tag} {value} : 1\npreset: !!{tag} {value}\n")


@pytest.mark.parametrize("item", ["[{}]", "{{{}}}", "{{<<: [{}]}}"], ids=["list", "map", "merge"])
def test_aliases_that_make_a_small_file_a_huge_one_are_refused(tmp_path: Path, item: str) -> None:
    lines = ["a: &a {x: 1}"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        parts = [f"k{i}: *{before}" if item == "{{{}}}" else f"*{before}" for i in range(9)]
        lines.append(f"{name}: &{name} " + item.format(", ".join(parts)))
    message = error_of(tmp_path, "\n".join(lines))
    assert ": not valid YAML: more than 1,000,000 values with what its aliases repeat" in message
    assert message.startswith(":7:")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("seed: 1\nffn:\n  <<: {kindd: lowrank}\n  rank: 3\n", ":2: ffn.kindd = 'lowrank': no suc"),
        ("seed: 1\nffn:\n  <<: {kindd: lowrank}\n", ":2: ffn.kindd = 'lowrank': no such key"),
        ("seed: &s x\npreset: pico\nffn: {rank: *s}\n", ":3: ffn.rank = 'x': this should be a val"),
    ],
)
def test_merged_and_aliased_parts_have_a_place(tmp_path: Path, content: str, expected: str) -> None:
    assert error_of(tmp_path, content).startswith(expected)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.mkdir [{path}]",
        "!!python/object/new:os.mkdir [{path}]",
        "!!python/object/apply:subprocess.run [[mkdir, {path}]]",
        "!!python/name:os.mkdir",
    ],
)
def test_python_tags_are_not_executed(tmp_path: Path, tag: str) -> None:
    made = tmp_path / "made"
    message = error_of(tmp_path, f"preset: {tag.format(path=made)}\n")
    assert message.startswith(":1: preset")
    assert not made.exists()


def test_a_missing_file_or_a_directory_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(InputError, match=re.escape(f"{path}: cannot be read: ")) as error:
            strict_yaml.load(path, Recipe)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (("ffn", "rank"), ":4: ffn.rank = 3: too large"),
        (("ffn",), ":2: ffn: too large"),
        (("budget", "steps"), ":5: budget.steps: too large"),  # As deep as the file goes.
        ((), ":1: file: too large"),
    ],
)
def test_a_later_check_can_point_into_the_file(
    tmp_path: Path, location: tuple[Any, ...], expected: str
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("preset: pico\nffn:\n  kind: lowrank\n  rank: 3\nbudget: {tokens: 5000}\n")
    error = strict_yaml.load(path, Recipe).error(location, "too large")
    assert str(error) == f"{path}{expected}"
