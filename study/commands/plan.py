"""`study plan` and `study schema`: what a study file means, before anything starts."""

from __future__ import annotations

import json

from study.commands.options import RUNS, Json, Runs, Spec, load_recorded
from study.display.console import results
from study.display.plan_json import plan_as_json
from study.display.plan_table import print_notes, print_plan
from study.ledger import reader
from study.ledger.status import ENDED
from study.plan.cautions import require_trainable
from study.progress import continuation, estimate
from study.running import ray_session, this_machine


def plan(spec: Spec, as_json: Json = False, runs: Runs = RUNS) -> None:
    """Show what a study would run and what it costs, without starting anything.

    \b
    Example:
      python -m study plan study/specs/paper.yaml --json
    """
    planned, records = load_recorded(spec, runs)
    seconds, basis = estimate.point_seconds(planned.points, records, planned.spec.value.resources)
    states = reader.states(planned, records)
    if any(states[point.id] not in ENDED for point in planned.points):
        require_trainable(planned)
    notes = continuation.notes(planned, records)
    if as_json:
        print(json.dumps(plan_as_json(planned, states, notes, seconds, basis), indent=1))
    else:
        print_plan(results, planned, states, seconds, basis)
        print_notes(results, planned, notes)
        if ray_session.starts_here() and (reason := this_machine.cannot_hold(planned)):
            text = f"caution: not on this machine: {reason}"
            results.print(text, soft_wrap=True)


def schema() -> None:
    """Print the JSON Schema of study files, with which editors complete and check them.

    \b
    Example:
      python -m study schema > study.schema.json

    A study file then begins with: # yaml-language-server: $schema=study.schema.json
    """
    from study.spec.json_schema import study_schema

    print(json.dumps(study_schema(), indent=1))
