"""Which texts a run may not have beside one another."""

import pytest

from workloads.data.comparable import require_comparable
from workloads.data.config import PathConfig
from workloads.data.dataset import Mixture, require_shares
from workloads.data.manifest import DataError, TextSize
from workloads.data.texts import Found


def text(ids: int, sha256: str | None = None, known: bool = True) -> Found:
    size = TextSize(ids, 100, 100)
    return Found(
        PathConfig(path="x"), "0", size, tokenizer_sha256=sha256, vocabulary_is_known=known
    )


@pytest.mark.parametrize(
    ("sources", "eval_sets", "said"),
    [
        ({"": text(257)}, {"wiki": text(4096)}, "eval_sets.wiki has 4,096 token ids and data has"),
        ({"": text(512, "a")}, {"wiki": text(512, "b")}, "eval_sets.wiki was made with another"),
        ({"a": text(9, "a"), "b": text(9, "b")}, {}, "data.sources.b was made with another token"),
        ({"a": text(9), "b": text(9)}, {"a": text(9)}, "eval_sets.a: a source has this name"),
    ],
)
def test_losses_that_say_nothing_are_refused(
    sources: dict[str, Found], eval_sets: dict[str, Found], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        require_comparable(sources, eval_sets)


def test_what_is_not_known_is_no_contradiction() -> None:
    require_comparable({"": text(512, "a")}, {"wiki": text(500, None, known=False)})
    require_comparable({"a": text(9), "b": text(9, "b")}, {"c": text(9, "b")})


def test_a_share_that_no_order_can_give_is_refused() -> None:
    require_shares({"a": 1.0, "b": 1e-5})
    with pytest.raises(DataError, match="mixture: b has a share of 1e-12, and the least that is"):
        Mixture({}, {"a": 1.0, "b": 1e-12})
