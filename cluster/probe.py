"""What a node is asked; each function answers with plain values.

A node may have another version of this code, or none. So the functions travel to it by value, and
import nothing here but the standard library; `exchange` needs torch, as training does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from importlib import metadata
from pathlib import Path

ROOMS = ("kernels", "workloads", "analysis", "study", "cluster")
# Versions that decide results, or what the nodes say to each other.
PACKAGES = ("torch", "ray", "mlflow", "numpy", "pydantic", "safetensors", "tokenizers")
DOCTOR_SECONDS = 180
EXCHANGED_BYTES, EXCHANGES = 2**25, 5
JOIN_SECONDS = 60


def versions() -> dict[str, str]:
    """Return Python's and the packages' versions, and a hash of the rooms' code with its place."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found | {"code": code_hash()}


def code_hash() -> str:
    """Return a hash of the Python files of the rooms as this process would import them."""
    digest = hashlib.sha256()
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        if spec is None or spec.origin is None:
            return f"{room} not found"
        folder = Path(spec.origin).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{room}/{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def gpu_bytes() -> list[int]:
    """Return the memory of each NVIDIA GPU, in bytes, as the driver tells it."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return [int(line) * 2**20 for line in done.stdout.split()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def clock() -> float:
    """Return the node's time, in seconds since 1970."""
    return time.time()


def doctor(
    arguments: list[str], spec: tuple[str, str] | None, folder: str
) -> list[dict[str, str]] | str:
    """Return what `python -m study doctor` finds, or in a line why it does not run.

    The study file, path and text, is written anew: the node may lack it. `folder` is the working
    directory, where the node has it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given = []
        if spec:
            copy = Path(scratch, Path(spec[0]).name)
            copy.write_text(spec[1], encoding="utf-8")
            given = [str(copy)]
        command = [sys.executable, "-m", "study", "doctor", *given, *arguments, "--json"]
        try:
            done = subprocess.run(
                command,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                cwd=folder if os.path.isdir(folder) else scratch,
                capture_output=True,
                text=True,
                timeout=DOCTOR_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"`study doctor` takes more than {DOCTOR_SECONDS} s"
    output, errors = (
        text.replace(given[0], spec[0]) if spec else text for text in (done.stdout, done.stderr)
    )
    try:
        return json.loads(output)
    except ValueError:
        return (errors.strip() or f"`study doctor` ended with {done.returncode}").splitlines()[-1]


def write_mark(folder: str, name: str) -> str:
    """Write a file of random content into the folder and return the content."""
    content = secrets.token_hex(16)
    with open(os.path.join(folder, name), "x", encoding="utf-8") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return content


def swap_marks(folder: str, read: str, write: str) -> tuple[str, str]:
    """Return the content of the mark `read`, and of the mark `write` that this makes.

    Raises FileNotFoundError where the node does not see the former.
    """
    return Path(folder, read).read_text("utf-8"), write_mark(folder, write)


def free_port() -> int:
    """Return a port that no program of the node listens on."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def exchange(address: str, rank: int, world: int, on_gpu: bool) -> float:
    """Sum a tensor over all processes; return the bus bandwidth in bytes per second.

    That is 2 (n - 1) / n times the bytes over the time: what each link carries in a ring. Raises
    RuntimeError where the processes do not meet, or the sum is wrong.
    """
    import torch
    from torch import distributed

    device = torch.device("cuda" if on_gpu else "cpu")
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=f"tcp://{address}",
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=JOIN_SECONDS),
    )
    try:
        tensor = torch.full((EXCHANGED_BYTES // 4,), float(rank + 1), device=device)
        distributed.all_reduce(tensor)
        if not torch.all(tensor == world * (world + 1) / 2):
            raise RuntimeError("the sum over all processes is wrong")
        seconds = []
        for _ in range(EXCHANGES):
            start = time.perf_counter()
            distributed.all_reduce(tensor)
            tensor[0].item()  # waits for the device
            seconds.append(time.perf_counter() - start)
        return 2 * (world - 1) / world * EXCHANGED_BYTES / min(seconds)
    finally:
        distributed.destroy_process_group()


def plain(error: BaseException) -> str:
    """Return the first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
