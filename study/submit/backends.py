"""Where a study can be submitted: one file a back-end, and one row here."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from kernels.nearest import nearest_name
from study.plan.planner import Study
from study.submit.kuberay import KubeRay, KubeRayOptions
from study.submit.ray_job import RayCluster
from study.submit.slurm import Slurm, SlurmOptions
from workloads.errors import InputError
from workloads.schema import strict_yaml


class Backend(Protocol):
    """A place to run studies. Every method raises InputError, in one line, where it cannot."""

    def render(self, study: Study) -> str:
        """Return what `submit` would send, without secrets."""
        ...

    def find(self, name: str) -> str | None:
        """Return the id of the study's job that waits or runs, if there is one."""
        ...

    def problems(self, study: Study) -> list[str]:
        """Return a line with the cure for each problem that can be seen before anything waits."""
        ...

    def submit(self, study: Study) -> str:
        """Send the study and return the id of its job."""
        ...

    def follow(self, job: str) -> int:
        """Show the job until it ends; return its exit code."""
        ...

    def stop(self, job: str) -> None:
        """Have the job save and end; return when it has."""
        ...


FILES = {"slurm": (Slurm, SlurmOptions), "kuberay": (KubeRay, KubeRayOptions)}
NAMES = ("ray", *FILES)


def choose(on: str, address: str | None, cluster: Path | None) -> Backend:
    """Return the back-end with its options: the dashboard's URL for `ray`, else a cluster file.

    Raises InputError where these do not go together, and for a mistake in the file.
    """
    if on not in NAMES:
        near = nearest_name(on, NAMES)
        raise InputError(
            f"--on {on}: no such back-end; the nearest is {near} (of {', '.join(NAMES)})"
        )
    if on == "ray":
        if address is None or cluster is not None:
            raise InputError("--on ray takes --address URL, the cluster's dashboard, and no file")
        return RayCluster(address)
    if cluster is None or address is not None:
        raise InputError(
            f"--on {on} takes --cluster FILE and no address; cluster/{on}.yaml is an example"
        )
    backend, options = FILES[on]
    return backend(strict_yaml.load(cluster, options))
