"""`study submit` and `study stop`: a study as a job of a Ray cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from study.commands.options import RUNS, Runs, Spec
from study.display.console import say
from study.plan import planner
from study.spec.study_file import load as load_spec
from study.submit import ray_job as jobs

Address = Annotated[
    str, typer.Option(metavar="URL", help="The cluster's dashboard, such as http://head:8265.")
]


def submit(
    spec: Spec,
    address: Address,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print the job's log; exit with the job's code.")
    ] = False,
    runs: Runs = RUNS,
) -> None:
    """Run a study as a job of a Ray cluster; submit again to go on with a stopped or lost one.

    --runs is a path on the cluster, absolute and shared by its nodes. The packages and the study
    file are sent; MLFLOW_* settings go with them. A cluster with token authentication takes its
    token from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.

    \b
    Example:
      python -m study submit study/specs/paper.yaml --address http://head:8265 --runs /shared/runs
    """
    submission_id = jobs.submit(planner.load(spec, runs), address)
    say(f"submitted as {submission_id}; stop: python -m study stop {spec} --address {address}")
    if follow:
        raise typer.Exit(jobs.follow(submission_id, address))


def stop(spec: Spec, address: Address) -> None:
    """Stop a submitted study; what its points have done so far is kept.

    \b
    Example:
      python -m study stop study/specs/paper.yaml --address http://head:8265
    """
    say(f"stopped {jobs.stop(load_spec(spec).value.study, address)}")
