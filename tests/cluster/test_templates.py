"""The templates of `cluster`: what they name is what the platform has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import typer.main
import yaml
from ray.autoscaler._private.local.config import prepare_local

import study.commands.app
from study.submit.cluster_file import NodeOptions
from study.submit.kuberay import KubeRayOptions
from study.submit.slurm import SlurmOptions
from workloads.schema import strict_yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
TEMPLATES = sorted(path for path in CLUSTER.iterdir() if path.is_file() and path.suffix != ".py")


def text(name: str) -> str:
    return (CLUSTER / name).read_text()


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_commands_specs_and_files_that_are_named_exist(path: Path) -> None:
    content = path.read_text()
    commands: Any = typer.main.get_command(study.commands.app.app)
    assert set(re.findall(r"python -m study ([a-z]+) ", content)) <= set(commands.commands)
    for name in re.findall(r"\b(?:study/specs|cluster)/[\w.-]+\w", content):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("name", ["ray-a100.yaml", "ray-aws-spot.yaml"])
def test_ray_cluster_is_valid_for_the_ray_that_is_installed(name: str) -> None:
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    config = yaml.safe_load(text(name))
    local = config["provider"]["type"] == "local"
    prepared = prepare_local(config)[0] if local else config
    jsonschema.validate(prepared, json.loads(schema.read_text()))
    for source in config["file_mounts"].values():
        assert source.startswith("~") or (ROOT / source).exists()


def test_spot_nodes_are_bought_again_and_the_head_is_none_of_them() -> None:
    config = yaml.safe_load(text("ray-aws-spot.yaml"))
    nodes = config["available_node_types"]
    spot = {name for name, node in nodes.items() if "InstanceMarketOptions" in node["node_config"]}
    assert spot == nodes.keys() - {config["head_node_type"]}
    assert all(nodes[name]["min_workers"] == nodes[name]["max_workers"] > 0 for name in spot)
    assert sum(nodes[name]["max_workers"] for name in spot) == config["max_workers"]


@pytest.mark.parametrize("name", ["ray-a100.yaml", "ray-aws-spot.yaml"])
def test_ray_cluster_installs_every_package_that_the_platform_needs(name: str) -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    block = pyproject.split("dependencies = [")[1].split("]\n")[0]
    needed = set(re.findall(r'"([a-z][\w.-]*(?:\[[a-z,]+\])?)[=><;]', block)) - {"triton"}
    installed = " ".join(yaml.safe_load(text(name))["setup_commands"])
    assert needed <= set(installed.replace("'", "").split())


def test_options_of_ray_and_mlflow_exist() -> None:
    folder = Path(sys.executable).parent
    for command, name in (("ray start", "slurm.sh.j2"), ("mlflow server", "mlflow.service")):
        program, sub = command.split()
        help_text = subprocess.run(
            [folder / program, sub, "--help"], capture_output=True, text=True, check=True
        ).stdout
        written = text(name).replace("\\\n", " ")
        calls = [line for line in written.splitlines() if command in line and line[0] != "#"]
        for option in re.findall(r"--[a-z][a-z-]+", " ".join(c.split(command)[1] for c in calls)):
            assert re.search(rf"{option}\b", help_text), option


@pytest.mark.parametrize(
    ("name", "model"), [("slurm.yaml", SlurmOptions), ("kuberay.yaml", KubeRayOptions)]
)
def test_cluster_files_read_and_show_every_key(name: str, model: type[NodeOptions]) -> None:
    given = strict_yaml.load(CLUSTER / name, model)
    page = (ROOT / "docs" / "cluster.md").read_text()
    assert [key for key in model.model_fields if f"| `{key}` |" not in page] == []
    assert given.value.nodes > 1


def test_image_copies_files_that_exist() -> None:
    for line in re.findall(r"^COPY (.+)$", text("Containerfile"), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    unit = tmp_path / "mlflow.service"
    content = text("mlflow.service").replace(
        "/opt/structured-scaling/.venv/bin/mlflow", "/bin/true"
    )
    unit.write_text(content)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert str(unit) not in done.stderr and done.returncode == 0, done.stderr
