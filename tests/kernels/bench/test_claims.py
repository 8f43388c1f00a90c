"""The claims: how they are selected by name, and which threshold applies."""

import pytest

from kernels.bench.claims import StepTask, of_kernels, of_steps, select
from kernels.bench.errors import InputError
from kernels.bench.ffn import STRUCTURED


def test_names_are_claims_or_what_they_begin_with() -> None:
    cpu = of_kernels("cpu")
    assert select([], cpu) == cpu and not set(of_steps()) & set(cpu)
    assert len(select(["blockshuffle/plain"], cpu)) == 4
    assert [c.name for c in select(["lowrank/plain/w256/63"], cpu)] == ["lowrank/plain/w256/63"]
    with pytest.raises(InputError, match="lowrang: no such claim here; the nearest is lowrank"):
        select(["lowrank", "lowrang"], cpu)
    for claims_of in (cpu, of_kernels("cuda")):
        names = [claim.name for claim in claims_of]
        assert len(names) == len(set(names))


def test_no_operation_and_no_step_may_be_slower_on_a_cpu() -> None:
    claimed = [claim for claim in of_kernels("cpu") + of_steps() if claim.quantity == "seconds"]
    assert {claim.threshold for claim in claimed} == {1.0}
    steps = [claim.task for claim in claimed if isinstance(claim.task, StepTask)]
    assert {step.preset for step in steps} == {"nano", "micro", "mini"}
    assert {step.kind for step in steps} == {"dense", *STRUCTURED}
