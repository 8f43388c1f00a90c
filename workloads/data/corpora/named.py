"""The table of named corpora: public texts of the hub that a study file may name.

A corpus is one row here. `python -m study prepare SPEC` makes a dataset of it in the data root.
Tokens and vocabulary are those of the published preparation, so that a study can be planned before
anything is downloaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.data.manifest import TextSize


@dataclass(frozen=True)
class NamedCorpus:
    """A public text: where its files are, how they become tokens, and how many that makes.

    `repository` is a dataset of the Hugging Face hub, at a commit, and `patterns` name its files.
    `recipe` is one of `data prepare`. `expected` counts the tokens of `tokenizer`, a repository of
    the hub, which the published preparation used.
    """

    repository: str
    revision: str
    patterns: tuple[str, ...]
    text_field: str
    recipe: str
    tokenizer: str
    expected: TextSize

    @property
    def files(self) -> tuple[str, ...]:
        """The files as sources of `data prepare`."""
        place = f"hf://datasets/{self.repository}@{self.revision}"
        return tuple(f"{place}/{pattern}" for pattern in self.patterns)


LLAMA, LLAMA_IDS = "huggyllama/llama-7b", 32_000  # the first Llama's tokenizer

NAMED: dict[str, NamedCorpus] = {
    # arXiv 2306.01116, prepared as for arXiv 2406.16450: about 65 and 0.7 billion tokens.
    "refinedweb": NamedCorpus(
        repository="tiiuae/falcon-refinedweb",
        revision="c735840575b629292b41da8dde11dcd523d4f91c",
        patterns=("data/train-*.parquet",),
        text_field="content",
        recipe="structured-ffn",
        tokenizer=LLAMA,
        expected=TextSize(LLAMA_IDS, 65_000_000_000, 700_000_000),
    ),
    # 627 billion tokens, of which the recipe leaves GitHub out, 5.2%.
    "slimpajama": NamedCorpus(
        repository="cerebras/SlimPajama-627B",
        revision="2d0accdd58c5d5511943ca1f5ff0e3eb5e293543",
        patterns=("train/chunk*/*.jsonl.zst", "validation/chunk*/*.jsonl.zst"),
        text_field="text",
        recipe="prts",
        tokenizer=LLAMA,
        expected=TextSize(LLAMA_IDS, 594_000_000_000, 470_000_000),
    ),
}
