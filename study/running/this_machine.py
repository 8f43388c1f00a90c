"""What this machine offers to a study that starts Ray on it."""

from __future__ import annotations

import os
import re
import subprocess

from study.plan.planner import Study
from study.running import ray_session
from workloads.cost.memory import peak_memory
from workloads.errors import InputError


def gpu_names() -> list[str]:
    """Return the names of the NVIDIA GPUs, as their driver gives them."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


def resources() -> dict[str, float]:
    """Return what Ray would offer here: CPU, GPU and the GPU's model, under Ray's names."""
    gpus = gpu_names()
    # Ray's name of `NVIDIA A100-SXM4-80GB` is `A100`.
    models = [match[1] for name in gpus if (match := re.match(r"\w+\s+([A-Z0-9]+)", name))]
    kinds = {f"accelerator_type:{model}": 1.0 for model in models}
    return {"CPU": float(os.cpu_count() or 1), "GPU": float(len(gpus)), **kinds}


def cannot_hold(study: Study) -> str:
    """Return why this machine cannot train some of the points; empty where it can train all."""
    needs = study.spec.value.resources
    try:
        ray_session.places(needs, [resources()])
    except InputError as error:
        return str(error)
    if needs.gpus_per_worker:
        return ""
    workers, memory = max(1, needs.num_workers), _memory_bytes()
    peaks = [peak_memory(point.config, workers, "cpu") for point in study.points]
    needed = [workers * (peak.device_bytes + peak.host_bytes) for peak in peaks]
    large = [size for size in needed if size > memory]
    if not large:
        return ""
    return (
        f"{len(large)} of {len(needed)} points need more memory than its {memory / 1e9:.0f} GB, up "
        f"to {max(large) / 1e9:,.0f} GB; lower runtime.micro_batch_size, or use a larger machine"
    )


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
