"""A stand-in of kubectl that keeps what is applied, and refuses what KubeRay's own schema does.

No KubeRay runs behind it: tests write a job's status and pods into `folder` themselves.
"""

from __future__ import annotations

import gzip
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEFINITION = Path(__file__).parent / "data" / "rayjobs_crd_v1.7.0.yaml.gz"


@cache
def schema() -> dict[str, Any]:
    """The schema of a RayJob `ray.io/v1`, which refuses the fields that Kubernetes would drop."""
    with gzip.open(DEFINITION) as file:
        [definition] = [each for each in yaml.load_all(file, yaml.CSafeLoader) if each]
    [version] = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    return _strict(version["schema"]["openAPIV3Schema"])


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {key: _strict(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
        found["additionalProperties"] = False
    if node.get("x-kubernetes-int-or-string"):
        found.pop("type", None)
    return found


def install(folder: Path, *have: str) -> None:
    """Write `folder/bin/kubectl`; the cluster has the objects `have`, such as `secret/a`."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "kubectl"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} "$@"\n')
    program.chmod(0o755)
    (folder / "schema.json").write_text(json.dumps(schema()))
    (folder / "have").write_text("\n".join(have))
    (folder / "pods.json").write_text('{"items": []}')


def main(folder: Path, namespace: str, verb: str, *words: str) -> int:
    """Answer one call of kubectl; exit code 1 where it refuses."""
    with (folder / "calls").open("a") as calls:
        calls.write(f"{namespace} {verb} {' '.join(words)}\n")
    job = folder / "rayjob.json"
    match verb, words[0]:
        case "get", "rayjob":
            print(job.read_text() if job.exists() else "", end="")
        case "get", "pod":
            jsonpath = any("jsonpath" in word for word in words)
            print("head-pod" if jsonpath else (folder / "pods.json").read_text(), end="")
        case "get", kind:
            name = f"{kind}/{words[1]}"
            print(name if name in (folder / "have").read_text().split("\n") else "", end="")
        case "delete", _:
            job.unlink(missing_ok=True)
        case "exec", _:
            status = {"jobStatus": "STOPPED", "jobDeploymentStatus": "Complete"}
            job.write_text(json.dumps(json.loads(job.read_text()) | {"status": status}))
        case "apply", _:
            return _apply(folder, job, keep="--dry-run=server" not in words)
    return 0


def _apply(folder: Path, job: Path, keep: bool) -> int:
    from jsonschema import Draft202012Validator  # slow to load, and most calls need none

    settings, rayjob = yaml.safe_load_all(sys.stdin.read())
    validator = Draft202012Validator(json.loads((folder / "schema.json").read_text()))
    for error in validator.iter_errors(rayjob):
        print(f"Error from server (Invalid): {error.json_path}: {error.message}", file=sys.stderr)
        return 1
    if keep:
        (folder / "configmap.json").write_text(json.dumps(settings))
        job.write_text(json.dumps(rayjob))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
