"""Whether a cluster is ready for a study: what `study doctor` finds on every node, and what only
several nodes together can show.

`study doctor` knows one machine, and what the driver needs. Here every node runs it for itself;
then the nodes' code, clocks and data are compared, a file goes from one to the other through the
runs folder, and all of them sum a tensor together.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import probe
from cluster.nodes import Call, Failure, Node, Nodes, ThisMachine, reached

DRIVER = "driver"
MOST_SECONDS_APART = 5.0
# A network file system may show a new file late.
SHOWN_SECONDS = 15.0
SAME_EVERYWHERE = (
    "give every node the same code and packages: one image, or one .venv on a file system they "
    "share (pip install -c constraints.txt -e .)"
)


class Mistake(ValueError):
    """A mistake in what a person wrote, such as the study file; the message names the cure."""


@dataclass(frozen=True)
class Finding:
    """What was looked at, where, what was found, and the cure, empty where all is well."""

    name: str
    where: str
    found: str
    cure: str = ""

    @property
    def ok(self) -> bool:
        return not self.cure


@dataclass(frozen=True)
class Request:
    """The study that is to run, if any, the runs folder, and how many nodes there should be."""

    spec: Path | None
    runs: Path
    nodes: int = 1

    @property
    def doctor_arguments(self) -> list[str]:
        return ["--runs", str(self.runs)]

    @property
    def given(self) -> tuple[str, str] | None:
        """The study file as it travels to the nodes: its path and its text."""
        return (str(self.spec), self.spec.read_text("utf-8")) if self.spec else None


def examine(request: Request) -> Iterator[Finding]:
    """Look at the driver's machine, then at every node, then at all of them together.

    Raises Mistake where `study doctor` refuses what it is given.
    """
    driver = _driver(request)
    if any(finding.name == "Ray" and not finding.ok for finding in driver):
        yield from driver
        return
    with reached(request.nodes) as reachable:
        # Nodes that came late were not there for the driver to place points on.
        yield from _driver(request) if request.nodes > 1 else driver
        nodes = reachable.nodes
        yield _count(nodes, request.nodes)
        yield from _compared_versions(reachable)
        if not isinstance(reachable, ThisMachine):
            found = _doctors(reachable, request)
            yield from _grouped(found)
            yield from _same_data([*driver, *found])
            yield from _clocks(reachable)
        if any(node.gpus for node in nodes):
            yield from _gpus(reachable, _bytes_on_a_gpu(request))
        yield from _grouped(_storage(reachable, request.runs))
        yield _exchange(reachable)


def _driver(request: Request) -> list[Finding]:
    """Return what `study doctor` finds on this machine, of the ledger and of the whole cluster."""
    given = [str(request.spec)] if request.spec else []
    answer = probe.doctor([*given, *request.doctor_arguments], None, os.getcwd())
    if isinstance(answer, str):
        raise Mistake(answer)
    return _diagnosed(answer, DRIVER)


def _diagnosed(answer: Any, where: str) -> list[Finding]:
    """Return a doctor's rows as findings."""
    if not isinstance(answer, list):
        reason = answer.reason if isinstance(answer, Failure) else str(answer)
        return [Finding("study doctor", where, reason, SAME_EVERYWHERE)]
    return [Finding(row["name"], where, row["found"], row["cure"]) for row in answer]


def _grouped(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings, one for all the nodes of which the same is true."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for each in findings:
        places.setdefault((each.name, each.found, each.cure), []).append(each.where)
    return [
        Finding(name, ", ".join(where), found, cure)
        for (name, found, cure), where in places.items()
    ]


def _count(nodes: Sequence[Node], wanted: int) -> Finding:
    names = ", ".join(node.name for node in nodes)
    if len(nodes) < wanted:
        found = f"{len(nodes)} of {wanted} joined"
        return Finding("nodes", names, found, "see the logs of the others: ray start has failed")
    return Finding("nodes", names, f"{len(nodes)}")


def _compared_versions(reachable: Nodes) -> Iterator[Finding]:
    """Compare code and packages of the nodes with those of this process."""
    here, findings = probe.versions(), []
    calls = [Call(node, probe.versions) for node in reachable.nodes]
    for node, there in zip(reachable.nodes, reachable.answers(calls), strict=True):
        if isinstance(there, Failure):
            findings.append(Finding("code", node.name, there.reason, SAME_EVERYWHERE))
            continue
        others = [
            f"{name} {there[name]} (driver: {mine})"
            for name, mine in here.items()
            if there[name] != mine
        ]
        found = ", ".join(others) or f"code {here['code']}, packages as the driver's"
        findings.append(Finding("code", node.name, found, SAME_EVERYWHERE if others else ""))
    yield from _grouped(findings)


def _doctors(reachable: Nodes, request: Request) -> list[Finding]:
    """Return what `study doctor` finds on each node, of the node itself."""
    arguments = ([*request.doctor_arguments, "--machine"], request.given, os.getcwd())
    calls = [Call(node, probe.doctor, arguments) for node in reachable.nodes]
    answers = zip(reachable.nodes, reachable.answers(calls), strict=True)
    return [found for node, answer in answers for found in _diagnosed(answer, node.name)]


def _same_data(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Compare the texts that driver and nodes have found, by place and fingerprint."""
    texts = [found for found in findings if found.name == "data" and found.ok]
    if len({found.found for found in texts}) > 1:
        held = "; ".join(f"{found.where}: {found.found}" for found in _grouped(texts))
        cure = "share the folder of the data, or copy the same dataset to every node"
        yield Finding("data", "nodes", f"not the same everywhere: {held}", cure)


def _clocks(reachable: Nodes) -> Iterator[Finding]:
    before = time.time()
    answers = reachable.answers([Call(node, probe.clock) for node in reachable.nodes])
    after = time.time()
    found = [
        judged_clock(node.name, answer, before, after)
        for node, answer in zip(reachable.nodes, answers, strict=True)
    ]
    yield from _grouped(found)


def judged_clock(node: str, time_there: Any, before: float, after: float) -> Finding:
    """Return whether a node's clock is right: it was read between two times of the driver's."""
    if isinstance(time_there, Failure):
        return Finding("clock", node, time_there.reason, "see the node's own log")
    apart = max(before - time_there, time_there - after)
    if apart <= MOST_SECONDS_APART:
        return Finding("clock", node, f"within {MOST_SECONDS_APART:g} s of the driver's")
    side = "behind" if time_there < before else "ahead of"
    found = f"at least {apart:.0f} s {side} the driver's"
    return Finding("clock", node, found, "set it by NTP: timedatectl set-ntp true")


def _bytes_on_a_gpu(request: Request) -> float:
    """Return the most bytes that a point of the study needs on a GPU, 0 without GPUs."""
    if request.spec is None:
        return 0.0
    command = [sys.executable, "-m", "study", "plan", request.spec, "--json"]
    done = subprocess.run(
        [*command, "--runs", request.runs], capture_output=True, text=True, check=False
    )
    if done.returncode:  # the doctor has said why
        return 0.0
    plan = json.loads(done.stdout)
    if not plan["resources"]["gpus_per_worker"]:
        return 0.0
    return max((point["peak_memory_bytes"] for point in plan["points"]), default=0.0)


def _gpus(reachable: Nodes, needed: float) -> Iterator[Finding]:
    """Compare the GPUs that Ray offers with those that the driver shows, and memory with the plan.

    `needed` is in bytes on each GPU.
    """
    nodes = [node for node in reachable.nodes if node.gpus]
    answers = reachable.answers([Call(node, probe.gpu_bytes) for node in nodes]) if nodes else []
    found = [judged_gpus(node, answer, needed) for node, answer in zip(nodes, answers, strict=True)]
    yield from _grouped(found)


def judged_gpus(node: Node, sizes: Any, needed: float) -> Finding:
    """Return whether a node has the GPUs that Ray offers of it, and whether they are large enough.

    `sizes` are the bytes of each, `needed` those of the plan.
    """
    if isinstance(sizes, Failure):
        return Finding("GPU memory", node.name, sizes.reason, "see the node's own log")
    if len(sizes) < node.gpus:
        found = f"Ray offers {node.gpus} GPUs, and nvidia-smi shows {len(sizes)}"
        cure = "start Ray there with the true --num-gpus, or mend the driver (nvidia-smi)"
        return Finding("GPU memory", node.name, found, cure)
    found = f"{min(sizes) / 1e9:.0f} GB on each of {len(sizes)} GPUs"
    if min(sizes) >= needed:
        return Finding("GPU memory", node.name, found)
    cure = "lower runtime.micro_batch_size, shard (runtime.parallel: fsdp), or take larger GPUs"
    return Finding("GPU memory", node.name, f"{found}, {needed / 1e9:.0f} GB planned", cure)


def _storage(reachable: Nodes, runs: Path) -> list[Finding]:
    """Pass a file from the driver to each node and back, through the runs folder."""
    folder = runs / f".preflight-{secrets.token_hex(4)}"
    try:
        folder.mkdir(parents=True)
        return _passed(reachable, folder, runs)
    except OSError as error:
        cure = "free some space, give this user the right to it, or choose another --runs"
        return [Finding("storage", DRIVER, f"{runs}: {error.strerror}", cure)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _passed(reachable: Nodes, folder: Path, runs: Path) -> list[Finding]:
    written = probe.write_mark(str(folder), DRIVER)
    marks = [f"node-{number}" for number, _ in enumerate(reachable.nodes)]
    calls = [
        Call(node, probe.swap_marks, (str(folder), DRIVER, mark))
        for node, mark in zip(reachable.nodes, marks, strict=True)
    ]
    found = []
    rows = zip(reachable.nodes, marks, reachable.answers(calls), strict=True)
    for node, mark, answer in rows:
        problem = _unshared(answer, written, folder / mark)
        text = f"{runs}: {problem or 'written here, read there, and back'}"
        cure = f"mount one folder as {runs} on driver and nodes, or choose another --runs"
        found.append(Finding("storage", node.name, text, cure if problem else ""))
    return found


def _unshared(answer: Any, written: str, mark: Path) -> str:
    """Return why a node does not share the folder with the driver; empty where it does."""
    if isinstance(answer, Failure):
        if "No such file" in answer.reason:
            return "what the driver writes is not seen there"
        return answer.reason
    read, made = answer
    deadline = time.monotonic() + SHOWN_SECONDS
    while not mark.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    with suppress(OSError):
        if read == written and mark.read_text("utf-8") == made:
            return ""
    return "what the node writes is not seen by the driver"


def _exchange(reachable: Nodes) -> Finding:
    """Sum a tensor over a process for each GPU, or for each node without; two at least."""
    on_gpu = any(node.gpus for node in reachable.nodes)
    members = [node for node in reachable.nodes for _ in range(node.gpus if on_gpu else 1)]
    if len(members) == 1:
        if on_gpu:
            return Finding("exchange", members[0].name, "one GPU has nobody to exchange with")
        members *= 2
    where, backend = ", ".join(dict.fromkeys(node.name for node in members)), "gloo"
    if on_gpu:
        backend = "NCCL"
    [port] = reachable.answers([Call(members[0], probe.free_port)])
    address = f"{members[0].address}:{port}"
    answers = reachable.answers(
        [
            Call(node, probe.exchange, (address, rank, len(members), on_gpu), int(on_gpu))
            for rank, node in enumerate(members)
        ]
    )
    failures = [answer.reason for answer in answers if isinstance(answer, Failure)]
    if failures:
        cure = (
            "let the nodes reach each other on every port, and name the interface between them: "
            "GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME, such as eth0"
        )
        return Finding("exchange", where, f"{backend} over {address}: {failures[0]}", cure)
    rate = min(answers) / 1e9
    size = probe.EXCHANGED_BYTES / 2**20
    found = f"{backend}, all-reduce of {size:.0f} MiB by {len(members)} processes: {rate:.2f} GB/s"
    return Finding("exchange", where, found)
