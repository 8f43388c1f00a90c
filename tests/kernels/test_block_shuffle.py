"""Layouts of `block_shuffle`, which its neighbours share; `test_operations` has the rest."""

from kernels.block_shuffle import block_shuffle
from tests.kernels.checks import feature_major
from tests.kernels.operations import shuffle_case


def test_the_wide_side_stays_feature_major() -> None:
    up, down = shuffle_case(8, 32, 2).draw((3, 5)), shuffle_case(32, 8, 2).draw((3, 5))
    wide = block_shuffle(*up.tensors)
    assert wide.flatten(0, 1).T.is_contiguous()
    assert block_shuffle(feature_major(down.x), down.v, down.u, down.bias).is_contiguous()
