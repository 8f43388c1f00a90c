"""The claims: how they are selected by name, and which threshold applies."""

from dataclasses import replace

import pytest

from kernels.bench.claims import of_kernels, of_steps, select
from kernels.bench.errors import InputError
from tests.kernels.bench.tiny import CLAIMS as TINY


def test_names_are_claims_or_what_they_begin_with() -> None:
    cpu = of_kernels("cpu")
    assert select([], cpu) == cpu and not set(of_steps()) & set(cpu)
    assert len(select(["blockshuffle/plain"], cpu)) == 4
    assert [c.name for c in select(["dense/default/w256"], cpu)] == ["dense/default/w256"]
    with pytest.raises(InputError, match="lowrang: no such claim here; the nearest is lowrank"):
        select(["lowrank", "lowrang"], cpu)
    for claims_of in (cpu, of_kernels("cuda")):
        names = [claim.name for claim in claims_of]
        assert len(names) == len(set(names))


def test_thresholds_depend_on_onednn_on_a_cpu_alone() -> None:
    claim = replace(TINY[0], threshold=1.5, threshold_default=1.0)
    assert (claim.threshold_with(True), claim.threshold_with(False)) == (1.5, 1.0)
    assert replace(claim, device="cuda").threshold_with(False) == 1.5
    assert TINY[2].threshold_with(False) is None
