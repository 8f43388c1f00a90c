"""The table of FFN kinds: what its rows have to keep to."""

from workloads.config.ffn_kinds import FFN_KINDS, SIZES
from workloads.config.model import ModelConfig


def test_kinds_that_share_a_size_mean_the_same() -> None:
    for kind in FFN_KINDS.values():
        for name, size in kind.sizes.items():
            assert SIZES[name] == size


def test_every_size_has_a_letter_of_its_own() -> None:
    letters = [size.letter for size in SIZES.values()]
    # A projection maps n features to m, with k between its factors.
    assert len({*letters, "n", "m", "k"}) == len(letters) + 3


def test_sizes_divide_what_there_is() -> None:
    known = set(ModelConfig.model_fields) | set(SIZES)
    assert all(set(size.divides) <= known for size in SIZES.values())


def test_a_fraction_chooses_a_size_that_the_kind_has() -> None:
    for kind in FFN_KINDS.values():
        assert kind.fraction_size is None or kind.fraction_size in kind.sizes
