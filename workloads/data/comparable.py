"""Whether the losses of a run's texts can be compared: one vocabulary, one name each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from workloads.data.dataset import require_one_tokenizer
from workloads.data.manifest import DataError, TextSize


class KnownText(Protocol):
    """What is known of a text, opened or only looked up."""

    @property
    def size(self) -> TextSize | None: ...
    @property
    def tokenizer_sha256(self) -> str | None: ...
    @property
    def vocabulary_is_known(self) -> bool: ...


def require_comparable(
    sources: Mapping[str, KnownText], eval_sets: Mapping[str, KnownText]
) -> None:
    """Raise DataError where an evaluation set has the name of a source, whose losses it would
    replace, or the texts were made with different tokenizers.

    A text that is no mixture has an empty name. A vocabulary whose size is a guess counts as the
    same.
    """
    for name in eval_sets.keys() & sources.keys():
        raise DataError(
            f"eval_sets.{name}: a source has this name, and both would record val_loss/{name}; "
            "choose another"
        )
    texts = {f"data.sources.{name}" if name else "data": each for name, each in sources.items()}
    texts |= {f"eval_sets.{name}": each for name, each in eval_sets.items()}
    require_one_tokenizer({name: each.tokenizer_sha256 for name, each in texts.items()})
    known = {
        name: each.size.vocab_size
        for name, each in texts.items()
        if each.size and each.vocabulary_is_known
    }
    first = next(iter(known), "")
    for name, ids in known.items():
        if ids != known[first]:
            raise DataError(
                f"{name} has {ids:,} token ids and {first} has {known[first]:,}: their losses "
                "cannot be compared; prepare both with one tokenizer"
            )
