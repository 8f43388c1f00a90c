"""A study as a RayJob: the manifest against KubeRay's schema, and what kubectl is asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from jsonschema import Draft202012Validator

from study.submit import kuberay
from study.submit.kuberay import MOST_NAME, job_name
from tests.study.launching import ROOT, in_process
from tests.study.submit import small_kubernetes

PLANTED = "hunter2-planted"
CLUSTER = """\
image: registry.example.com/study:1
nodes: 2
cpus_per_node: 4
memory_per_node: 8Gi
namespace: team
claim: shared
secret: study-env
queue: studies
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    return path


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Kubernetes that has the claim and the secret of CLUSTER."""
    folder = tmp_path / "kubernetes"
    small_kubernetes.install(folder, "persistentvolumeclaim/shared", "secret/study-env")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(kuberay, "POLL_SECONDS", 0.05)
    return folder


def call(
    command: str, spec: Path, cluster: Path, *more: str | Path
) -> subprocess.CompletedProcess[str]:
    runs = () if command == "stop" else ("--runs", "/shared/runs")
    return in_process(
        command, spec, "--on", "kuberay", "--cluster", cluster, *runs, *more, check=False
    )


def rendered(spec: Path, cluster: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    done = call("submit", spec, cluster, "--dry-run")
    assert done.returncode == 0, done.stderr
    settings, job = yaml.safe_load_all(done.stdout)
    return settings, job


@pytest.mark.parametrize(
    "given", [CLUSTER, CLUSTER.partition("secret")[0], (ROOT / "cluster/kuberay.yaml").read_text()]
)
def test_manifest_is_one_that_kuberay_takes(
    given: str, cluster: Path, tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    cluster.write_text(given)
    spec = write_spec("manifest")
    spec.write_text(spec.read_text() + '# it\'s a "comment": {{ no }} template ${HOME}\n')
    settings, job = rendered(spec, cluster)
    validator = Draft202012Validator(small_kubernetes.schema())
    assert [f"{e.json_path}: {e.message}" for e in validator.iter_errors(job)] == []
    # The schema is one that can refuse: each of these is a slip of the pen.
    for change in ({"backofLimit": 3}, {"preRunningDeadlineSeconds": 0}, {"submissionMode": 1}):
        assert not validator.is_valid(job | {"spec": job["spec"] | change})
    assert settings["data"] == {"manifest.yaml": spec.read_text()}
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_manifest_has_the_nodes_that_the_plan_needs_and_mounts_what_it_names(
    cluster: Path, tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    settings, job = rendered(write_spec("planned"), cluster)
    spec = job["spec"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "studies"
    [workers] = spec["rayClusterSpec"]["workerGroupSpecs"]
    # Two points of one CPU fit on one node of four.
    assert {workers[key] for key in ("replicas", "minReplicas", "maxReplicas")} == {1}
    assert "preflight /study/planned.yaml --runs /shared/runs --nodes 2 &&" in spec["entrypoint"]
    for group in (spec["rayClusterSpec"]["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {each["mountPath"]: volumes[each["name"]] for each in container["volumeMounts"]}
        assert mounts["/study"]["configMap"] == {"name": settings["metadata"]["name"]}
        assert mounts["/shared"]["persistentVolumeClaim"] == {"claimName": "shared"}
        assert container["envFrom"] == [{"secretRef": {"name": "study-env"}}]
        # Longer than the driver has to save.
        assert pod["terminationGracePeriodSeconds"] > 60


def test_secrets_of_the_environment_stay_out_of_the_manifest(
    kubernetes: Path,
    cluster: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_spec: Callable[..., Path],
) -> None:
    spec = write_spec("secret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://team:{PLANTED}@mlflow:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PLANTED)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "9")
    monkeypatch.setenv("RAY_AUTH_TOKEN", PLANTED)
    shown = call("submit", spec, cluster, "--dry-run").stdout
    sent = call("submit", spec, cluster)
    assert sent.returncode == 0, sent.stderr
    kept = "".join(path.read_text() for path in kubernetes.iterdir() if path.is_file())
    assert PLANTED not in shown + sent.stdout + sent.stderr + kept
    assert '{name: "MLFLOW_HTTP_REQUEST_TIMEOUT", value: "9"}' in shown
    cluster.write_text(CLUSTER.replace("secret: study-env\n", ""))
    refused = call("submit", spec, cluster, "--dry-run")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "MLFLOW_TRACKING_PASSWORD" in refused.stderr and PLANTED not in refused.stderr


def test_job_is_submitted_once_followed_stopped_and_submitted_again(
    kubernetes: Path, cluster: Path, tmp_path: Path, write_spec: Callable[..., Path]
) -> None:
    spec, job = write_spec("once"), kubernetes / "rayjob.json"
    assert "submitted as study-once" in call("submit", spec, cluster).stderr
    assert "runs already as study-once" in call("submit", spec, cluster).stderr
    pods = {"items": [{"status": {"containerStatuses": [
        {"state": {"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}}}
    ]}}]}  # fmt: skip
    (kubernetes / "pods.json").write_text(json.dumps(pods))
    followed = call("submit", spec, cluster, "--follow")
    assert followed.returncode == 2
    assert (
        f"{cluster}:1: image = 'registry.example.com/study:1': the nodes cannot" in followed.stderr
    )
    assert "manifest unknown" in followed.stderr.splitlines()[-1]

    status = {"jobStatus": "RUNNING", "rayClusterName": "c", "jobId": "study-once-x"}
    job.write_text(json.dumps(json.loads(job.read_text()) | {"status": status}))
    assert "stopped study-once" in call("stop", spec, cluster).stderr
    assert (
        "exec head-pod --container=ray -- ray job stop study-once-x"
        in (kubernetes / "calls").read_text()
    )
    assert "nothing to stop" in call("stop", spec, cluster).stderr
    assert "submitted as study-once" in call("submit", spec, cluster).stderr
    assert "status" not in json.loads(job.read_text())
    assert "stopped study-once" in call("stop", spec, cluster).stderr  # it has not started yet
    assert not job.exists()


def test_what_would_fail_in_the_cluster_is_one_line_before(
    kubernetes: Path,
    cluster: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_spec: Callable[..., Path],
) -> None:
    spec = write_spec("refused")

    def refused(*more: str | Path) -> str:
        done = call("submit", spec, cluster, *more)
        assert done.returncode in (1, 2) and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    (kubernetes / "have").write_text("secret/study-env")
    assert f"{cluster}:6: claim = 'shared': namespace team has no persistent" in refused()
    line = refused("--runs", "/elsewhere")
    assert f"{cluster}:1: mount" in line and "give --runs /shared/runs" in line
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "kubectl is not on this machine" in refused()


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl here")
def test_kubectl_without_a_cluster_is_one_line(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_spec: Callable[..., Path]
) -> None:
    monkeypatch.setenv("KUBECONFIG", os.devnull)
    done = call("submit", write_spec("nowhere"), cluster)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "kubectl reaches no cluster" in done.stderr


def test_cluster_without_kuberay_is_one_line(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_spec: Callable[..., Path]
) -> None:
    program = tmp_path / "kubectl"
    words = 'error: the server doesn\'t have a resource type "rayjob"'  # kubectl's own
    program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{words}\nEND\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = call("submit", write_spec("bare"), cluster)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "has no KubeRay" in done.stderr and "helm install" in done.stderr


def test_names_are_ones_that_kubernetes_takes_and_differ() -> None:
    names = ["a", "a_b", "a-b", "a" * 60, "a" * 61, "a" * 40 + "-"]
    given = [job_name(name) for name in names]
    assert len(set(given)) == len(names)
    for name in given:
        assert len(name) <= MOST_NAME and "_" not in name and name[-1] != "-"
