"""Checks of everything that may be wrong before a study starts, each with the cure.

A point that no node can ever hold is named here with the reason. Without this check it would wait
in a queue for ever.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from analysis.tables import tracking
from analysis.tables.tracking import LedgerError
from study.ledger import reader, store
from study.ledger.provenance import ROOT
from study.plan.cautions import cautions, most_passes, passes_text, require_trainable
from study.plan.planner import Study
from study.plan.points import Point
from study.plan.texts import command, find_texts
from study.running import ray_session, this_machine
from workloads.cost import flops
from workloads.cost.accelerators import ACCELERATORS
from workloads.cost.memory import peak_memory_bytes
from workloads.data import shards
from workloads.data.config import DataConfig
from workloads.errors import InputError

# The rooms, which are imported from one place or not at all.
PACKAGES = ("kernels", "workloads", "analysis", "study", "cluster")
# Below so much free space anything may fail.
MIN_FREE_BYTES = 5e9
# Of fp32 weights, beside which a checkpoint has the optimizer's state. A run keeps up to three
# checkpoints and writes a fourth.
WEIGHT_BYTES_PER_PARAM, CHECKPOINTS_PER_RUN = 4, 4


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, what was found, and the cure, empty where all is well."""

    name: str
    found: str
    cure: str = ""

    @property
    def ok(self) -> bool:
        return not self.cure


def examine(runs_dir: Path, study: Study | None) -> Iterator[Check]:
    """Check this machine, the ledger and the cluster; with a study, also what it needs of them."""
    yield from examine_machine(runs_dir, study)
    yield check_ledger(runs_dir, study)
    cluster, nodes = _ray()
    yield cluster
    if study and nodes:
        yield from _placement(study, nodes)


def examine_machine(runs_dir: Path, study: Study | None) -> Iterator[Check]:
    """Check what every node needs for itself: versions, packages, GPUs, disk and data."""
    yield _versions()
    yield _packages()
    yield _gpus()
    yield _disk(runs_dir, study)
    if study:
        yield _data(study)


def check_ledger(runs_dir: Path, study: Study | None) -> Check:
    """Check the ledger of the runs folder, and what it holds of the study."""
    uri = store.tracking_uri(runs_dir)
    try:
        path = tracking.database(uri)
        if path and not path.exists():
            return Check("MLflow", f"{path}, made by the first run")
        with tracking.opened(uri):
            pass
        if study:
            reader.states(study, reader.read(uri, study.name))
    except LedgerError as error:
        return Check("MLflow", error.found, error.cure)
    return Check("MLflow", tracking.shown(uri))


def _versions() -> Check:
    file = ROOT / "constraints.txt"
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    pinned = dict(line.split("==") for line in lines if "==" in line and line[0] != "#")
    others = [
        f"{name} {found} (tested: {version})"
        for name, version in pinned.items()
        if (found := _version(name)) and found.partition("+")[0] != version
    ]
    if others:
        cure = "pip install -c constraints.txt -e ."
        return Check("versions", ", ".join(others), cure)
    agree = ", packages as constraints.txt" if pinned else ""
    return Check("versions", f"Python {platform.python_version()}{agree}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _packages() -> Check:
    strangers = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        origin = spec.origin if spec else None
        if origin is None or not Path(origin).is_relative_to(ROOT):
            strangers.append(f"{name} is {origin or 'not found'}")
    if strangers:
        cure = (
            f"work in {ROOT}, or pip install -e {ROOT}; a package of that name from PyPI has to "
            "go: pip uninstall " + " ".join(name.split()[0] for name in strangers)
        )
        return Check("packages", ", ".join(strangers), cure)
    return Check("packages", f"all in {ROOT}")


def _gpus() -> Check:
    import torch

    installed = this_machine.gpu_names()
    usable = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if installed and not usable:
        cure = f"install a CUDA build of torch for this driver (here: {torch.__version__})"
        return Check("GPUs", f"torch uses none of {', '.join(installed)}", cure)
    return Check("GPUs", ", ".join(usable) or "none: points train on CPUs")


def _disk(runs_dir: Path, study: Study | None) -> Check:
    wanted = study.directory if study else runs_dir.resolve()
    place = next(path for path in (wanted, *wanted.parents) if path.exists())
    if not place.is_dir():
        return Check("disk", f"{place} is a file", "move it away, or choose another --runs")
    free = shutil.disk_usage(place).free
    needed = MIN_FREE_BYTES + (_checkpoint_bytes(study) if study else 0)
    found = f"{free / 1e9:.0f} GB free in {place}, {needed / 1e9:.0f} GB needed"
    if not os.access(place, os.W_OK):
        return Check("disk", f"{place} cannot be written", "choose another --runs")
    return Check("disk", found, "" if free > needed else "free some, or choose another --runs")


def _checkpoint_bytes(study: Study) -> int:
    """Return the bytes that the checkpoints of points without a directory may take."""
    return CHECKPOINTS_PER_RUN * sum(
        p.params.total * WEIGHT_BYTES_PER_PARAM
        + p.config.optimizer.state_bytes(flops.trained(p.config.phases[-1].model))
        for p in study.points
        if not study.run_dir(p).exists()
    )


def _data(study: Study) -> Check:
    """Check the texts, and tell the plan's cautions: they are no problem of the machine."""
    places: list[str] = []
    try:
        require_trainable(study)
    except InputError as error:
        return Check("data", str(error), "correct the study file")
    for name, found in find_texts(study.spec, study.data_root).named():
        if found.missing:
            return Check("data", f"{name}: {found.missing}", command(found, study.spec.path))
        if found.dataset and isinstance(found.text, DataConfig):
            try:
                shards.open_dataset(found.dataset)
            except InputError as error:
                cure = f"delete {found.dataset}; `run` prepares it again"
                return Check("data", str(error), cure)
        place = str(found.dataset or f"{found.place}: not here yet, `run` makes it")
        places.append(f"{place} (fingerprint {found.fingerprint})")
    return Check("data", _with_cautions(", ".join(places), study))


def _with_cautions(found: str, study: Study) -> str:
    """Return what was found, with the passes over the text and the plan's cautions."""
    passes = f"up to {passes_text(most_passes(study))} passes over the training text"
    return "; ".join([found, passes, *cautions(study)])


def _ray() -> tuple[Check, list[dict[str, float]]]:
    """Check Ray; also return what each node offers, or this machine if Ray would start here."""
    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        found = "RAY_ADDRESS is not set: `run` starts Ray on this machine"
        return Check("Ray", found), [this_machine.resources()]
    try:
        nodes = ray_session.nodes_of(address)
    except InputError as error:
        found, _, cure = str(error).partition("; ")
        return Check("Ray", found, cure), []
    total = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    found = f"{address}: {len(nodes)} nodes, {total['CPU']:g} CPUs, {total['GPU']:g} GPUs"
    return Check("Ray", found), nodes


def _placement(study: Study, nodes: list[dict[str, float]]) -> Iterator[Check]:
    resources = study.spec.value.resources
    try:
        places = ray_session.places(resources, nodes)
    except InputError as error:
        place = study.spec.error(("resources",), str(error))
        yield Check("placement", f"no point can ever start: {place}", "change resources, or nodes")
        return
    known = f" of {len(study.points)}" if study.points else ""
    at_a_time = min(places, len(study.points) or places)
    yield Check("placement", f"{at_a_time}{known} points at a time")
    for point in study.points:
        if reason := _too_large(study, point):
            cure = "shard it over more workers (runtime.parallel: fsdp) or recompute activations"
            yield Check("placement", f"{point.id} can never train: {reason}", cure)


def _too_large(study: Study, point: Point) -> str:
    """Return why the point does not fit into the memory of the stated hardware, or nothing."""
    resources, hardware = study.spec.value.resources, study.spec.value.hardware
    if hardware is None or not resources.gpus_per_worker:
        return ""
    gpus = max(1, resources.num_workers)
    needed = peak_memory_bytes(point.config, gpus)
    memory = ACCELERATORS[hardware.accelerator].memory_bytes
    if needed <= memory:
        return ""
    return f"it needs {needed / 1e9:.0f} GB on each of {gpus} GPUs of {memory / 1e9:.0f} GB"
