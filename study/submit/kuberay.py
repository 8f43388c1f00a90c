"""A study as a RayJob of KubeRay: a Ray cluster of pods that lives as long as the study.

The manifest (`cluster/rayjob.yaml.j2`) has the study file in a ConfigMap; the code is the image's.
Passwords stay out of it: they are in a Secret that the cluster file names.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import time
from importlib.metadata import version
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from analysis.tables.tracking import without_password
from study.display.console import say
from study.plan.planner import Study
from study.submit.cluster_file import NodeOptions, fill, node_count
from study.submit.programs import ProgramError, call
from study.submit.ray_job import STOP_SECONDS
from workloads.errors import InputError
from workloads.schema.strict_yaml import Loaded

Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
Folder = Annotated[str, StringConstraints(pattern=r"^/[\w./-]+$")]
Quantity = Annotated[str, StringConstraints(pattern=r"^\d+([KMGT]i?)?$")]
# KubeRay's own bound, so that the names of the pods fit.
MOST_NAME = 47
DEADLINE_SECONDS = 1800
POLL_SECONDS = 5.0
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
NOT_PULLED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName")
SECRET = ("PASSWORD", "TOKEN", "KEY", "SECRET")


class KubeRayOptions(NodeOptions):
    """What a study takes of a Kubernetes cluster with KubeRay."""

    image: str
    """The image of every pod, built from cluster/Containerfile."""
    memory_per_node: Quantity
    """Memory of a node's pod, such as 512Gi."""
    namespace: Label = "default"
    """The namespace of the job."""
    claim: Label
    """The PersistentVolumeClaim, ReadWriteMany, that holds runs and data."""
    mount: Folder = "/shared"
    """Where the pods see the claim."""
    secret: Label | None = None
    """A Secret whose entries are environment variables of the pods, such as MLflow's password."""
    queue: Label | None = None
    """The LocalQueue of Kueue that admits the job."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that train."""


class KubeRay:
    """A Kubernetes cluster with KubeRay, asked through kubectl."""

    def __init__(self, options: Loaded[KubeRayOptions]) -> None:
        self._file, self._options = options, options.value

    def render(self, study: Study) -> str:
        """Return the manifest.

        Raises InputError for a runs folder outside the claim, where the nodes hold no point, and
        for a password in MLFLOW_TRACKING_URI.
        """
        mount = self._options.mount.rstrip("/")
        if not f"{study.runs_dir}/".startswith(f"{mount}/"):
            raise self._file.error(
                ("mount",), f"--runs {study.runs_dir} is not in {mount}; give --runs {mount}/runs"
            )
        name = study.spec.path.name
        arguments = f"{shlex.quote(f'/study/{name}')} --runs {shlex.quote(str(study.runs_dir))}"
        nodes = node_count(study, self._file)
        return fill(
            "rayjob.yaml.j2",
            study=study.name,
            name=job_name(study.name),
            options=self._options,
            spec_name=name,
            spec_text=study.spec.text.rstrip(),
            # The head is a node as well.
            entrypoint=f"python -m cluster preflight {arguments} --nodes {nodes + 1} && "
            f"exec python -m study run {arguments}",
            nodes=nodes,
            settings=self._settings(),
            deadline=DEADLINE_SECONDS,
            stop_seconds=STOP_SECONDS,
            ray_version=version("ray"),
        )

    def find(self, name: str) -> str | None:
        """Return the name of the study's RayJob that has not ended, if there is one."""
        job = self._job(job_name(name))
        return job_name(name) if job and not _ended(job) else None

    def problems(self, study: Study) -> list[str]:
        """Return a line for each thing that the job names and the cluster lacks. The job itself
        runs the preflight on its nodes before it starts the study."""
        manifest = self.render(study)
        wanted = {("persistentvolumeclaim", self._options.claim): "claim"}
        if self._options.secret:
            wanted["secret", self._options.secret] = "secret"
        problems = []
        for (kind, name), key in wanted.items():
            if not self._kubectl("get", kind, name, "--ignore-not-found", "--output=name").strip():
                message = f"namespace {self._options.namespace} has no {kind} of this name; make it"
                problems.append(str(self._file.error((key,), message)))
        if not problems:
            self._kubectl("apply", "--dry-run=server", "--filename=-", given=manifest)
        return problems

    def submit(self, study: Study) -> str:
        """Apply the manifest, in place of an earlier job of the study that has ended; return the
        job's name."""
        name = job_name(study.name)
        self._kubectl("delete", "rayjob", name, "--ignore-not-found", "--wait=true")
        self._kubectl("apply", "--filename=-", given=self.render(study))
        return name

    def follow(self, job: str) -> int:
        """Print each state of the job until it ends; return 0 where it succeeded.

        Raises InputError when the image cannot be pulled.
        """
        shown = ""
        while not _ended(state := self._job(job) or {}):
            text = _text(state)
            if text != shown:
                say(f"{job}: {text}")
            shown = text
            self._check_image(job)
            time.sleep(POLL_SECONDS)
        say(f"{job}: {_text(state)}")
        return 0 if state["status"].get("jobStatus") == "SUCCEEDED" else 1

    def stop(self, job: str) -> None:
        """Have the driver save and end, then return; a job that does not run yet is deleted."""
        status = (self._job(job) or {}).get("status", {})
        if status.get("jobStatus") != "RUNNING":
            self._kubectl("delete", "rayjob", job, "--wait=true")
            return
        cluster, number = status.get("rayClusterName", ""), status.get("jobId", "")
        head = self._kubectl(
            "get",
            "pod",
            f"--selector=ray.io/cluster={cluster},ray.io/node-type=head",
            "--output=jsonpath={.items[0].metadata.name}",
        )
        self._kubectl("exec", head, "--container=ray", "--", "ray", "job", "stop", number)
        deadline = time.monotonic() + 2 * STOP_SECONDS
        while not _ended(self._job(job) or {}):
            if time.monotonic() > deadline:
                raise InputError(f"{job} does not stop; end it: kubectl delete rayjob {job}")
            time.sleep(POLL_SECONDS)

    def _settings(self) -> dict[str, str]:
        """Return MLflow's settings of this environment that are no secrets."""
        found = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
        secret = [name for name in found if any(word in name for word in SECRET)]
        secret += [name for name, value in found.items() if without_password(value) != value]
        if secret and not self._options.secret:
            raise self._file.error(
                (),
                f"{', '.join(secret)} would stand in the manifest; put it into a Secret (kubectl "
                "create secret generic study-env --from-literal=NAME=VALUE), and name that here "
                "as secret: study-env",
            )
        return {name: value for name, value in found.items() if name not in secret}

    def _job(self, name: str) -> dict[str, Any] | None:
        text = self._kubectl("get", "rayjob", name, "--ignore-not-found", "--output=json")
        return json.loads(text) if text.strip() else None

    def _check_image(self, job: str) -> None:
        """Raise InputError where a pod of the job waits for an image that does not come."""
        text = self._kubectl(
            "get", "pod", f"--selector=ray.io/originated-from-cr-name={job}", "--output=json"
        )
        for pod in json.loads(text)["items"]:
            for container in pod.get("status", {}).get("containerStatuses", []):
                waiting = container.get("state", {}).get("waiting", {})
                if waiting.get("reason") in NOT_PULLED:
                    reason = str(waiting.get("message") or waiting["reason"]).splitlines()[0]
                    raise self._file.error(("image",), f"the nodes cannot pull it ({reason})")

    def _kubectl(self, *arguments: str, given: str = "") -> str:
        try:
            return call(
                "kubectl", f"--namespace={self._options.namespace}", *arguments, given=given
            )
        except ProgramError as error:
            raise self._explained(str(error)) from None

    def _explained(self, message: str) -> InputError:
        if "have a resource type" in message or "no matches for kind" in message:
            return InputError(
                "this Kubernetes cluster has no KubeRay: it knows no RayJob; install it: helm "
                "install kuberay-operator kuberay/kuberay-operator --version 1.7.0"
            )
        if re.search(
            r"refused|no such host|i/o timeout|[Uu]nauthorized|must be logged in", message
        ):
            return InputError(
                f"kubectl reaches no cluster ({message}); choose one: kubectl config use-context"
            )
        key = "namespace" if "namespace" in message else "image" if "image" in message else None
        return self._file.error((key,) if key else (), f"kubectl: {message}")


def job_name(study: str) -> str:
    """Return the name of a study's RayJob: Kubernetes takes no `_`, and KubeRay 47 characters."""
    name = f"study-{study}"
    if len(name) <= MOST_NAME and "_" not in name and not name.endswith("-"):
        return name
    digest = hashlib.sha256(study.encode()).hexdigest()[:8]
    return f"{name.replace('_', '-')[: MOST_NAME - 9].rstrip('-')}-{digest}"


def _ended(job: dict[str, Any]) -> bool:
    status = job.get("status", {})
    return (
        status.get("jobStatus") in ENDED
        and status.get("jobDeploymentStatus") in ("Complete", "Failed")
    ) or status.get("jobDeploymentStatus") == "Failed"


def _text(job: dict[str, Any]) -> str:
    """Return the state of a job in words."""
    status = job.get("status", {})
    state = status.get("jobStatus") or status.get("jobDeploymentStatus") or "waits"
    return f"{state}: {status['message']}" if status.get("message") else state
