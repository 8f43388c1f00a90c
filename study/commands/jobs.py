"""`study submit` and `study stop`: a study as a job of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from study.commands.options import RUNS, Runs, Spec
from study.display.console import say
from study.plan import planner
from study.spec.study_file import load as load_spec
from study.submit import backends
from study.submit.ray_job import check_lasting
from workloads.errors import InputError

Where = Annotated[
    str, typer.Option("--on", metavar="BACKEND", help=f"One of {', '.join(backends.NAMES)}.")
]
Address = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Of ray: the dashboard, such as http://head:8265."),
]
ClusterFile = Annotated[
    Path | None,
    typer.Option("--cluster", metavar="FILE", help="Of slurm and kuberay: what the study takes."),
]


def submit(
    spec: Spec,
    on: Where = "ray",
    address: Address = None,
    cluster: ClusterFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the job, and submit nothing.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show the job until it ends; exit with its code.")
    ] = False,
    runs: Runs = RUNS,
) -> None:
    """Run a study as a job of a cluster; submit again to go on with a stopped or lost one.

    Checks first, and attaches to the study's job where there is one. --runs is a path on the
    cluster, absolute and shared by its nodes. A Ray cluster with tokens takes the one in
    RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token. docs/cluster.md has more.

    \b
    Example:
      python -m study submit study/specs/paper.yaml --address http://head:8265 --runs /shared/runs
      python -m study submit study/specs/paper.yaml --on slurm --cluster cluster/slurm.yaml \\
        --runs /shared/runs --dry-run
    """
    check_lasting(runs)
    backend = backends.choose(on, address, cluster)
    study = planner.load(spec, runs)
    if dry_run:
        print(backend.render(study), end="")
        return
    if job := backend.find(study.name):
        say(f"runs already as {job}: attached, nothing was submitted")
    else:
        if problems := backend.problems(study):
            for problem in problems:
                say(problem)
            raise typer.Exit(1)
        job = backend.submit(study)
        option = f"--address {address}" if address else f"--on {on} --cluster {cluster}"
        say(f"submitted as {job}; stop: python -m study stop {spec} {option}")
    if follow:
        raise typer.Exit(backend.follow(job))


def stop(
    spec: Spec, on: Where = "ray", address: Address = None, cluster: ClusterFile = None
) -> None:
    """Stop a submitted study; its points save, and what they have done is kept.

    \b
    Example:
      python -m study stop study/specs/paper.yaml --address http://head:8265
    """
    backend, name = backends.choose(on, address, cluster), load_spec(spec).value.study
    job = backend.find(name)
    if job is None:
        raise InputError(f"study {name} is not running there; there is nothing to stop")
    backend.stop(job)
    say(f"stopped {job}")
