"""`study prepare`: the texts that a study names, as datasets in the data root."""

from __future__ import annotations

import typer

from study.commands.options import RUNS, Runs, Spec
from study.display.console import results, say
from study.plan.planner import data_root
from study.spec.study_file import load as load_spec


def prepare(spec: Spec, runs: Runs = RUNS) -> None:
    """Make the datasets that a study trains on and is evaluated on, where they are missing.

    A named corpus is read from the hub and tokenized over Ray: on this machine, or on the cluster
    at RAY_ADDRESS, whose nodes share the runs folder. The same command goes on after a stop, and
    does nothing where all is there. Exit code 1 when the work was stopped.

    \b
    Example:
      python -m study prepare study/specs/paper.yaml
    """
    from study.corpus.prepare import prepare_texts
    from workloads.data.preparing.display import Progress
    from workloads.data.preparing.processes import WorkerDied

    loaded, kept = load_spec(spec), "what is finished is kept, and the same command goes on"
    try:
        for each in prepare_texts(loaded, data_root(runs), Progress()):
            size = each.found.size
            tokens = f", {size.train_tokens:,} and {size.val_tokens:,} tokens" if size else ""
            state = "made" if each.is_new else "there"
            line = f"{each.name}: {each.found.dataset or each.found.place}{tokens}; {state}"
            results.print(line, soft_wrap=True)
    except KeyboardInterrupt:
        say(f"stopped; {kept}")
        raise typer.Exit(1) from None
    except WorkerDied:
        say(f"a worker was killed again and again, perhaps for its memory; {kept}")
        raise typer.Exit(1) from None
