"""The nodes that are asked: those of the Ray cluster at RAY_ADDRESS, or this machine alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from cluster import probe

# How long a call may take on a node, the start of its process included.
ANSWER_SECONDS = 240.0
WAIT_SECONDS = 300.0


@dataclass(frozen=True)
class Node:
    """A machine: its name for people, its address, and how many GPUs Ray offers of it."""

    name: str
    address: str
    gpus: int
    ray_id: str = ""


@dataclass(frozen=True)
class Failure:
    """What came in place of a node's answer, in a line."""

    reason: str


@dataclass(frozen=True)
class Call:
    """A function of `cluster.probe`, to be called on a node with so many of its GPUs."""

    node: Node
    function: Callable[..., Any]
    arguments: Sequence[Any] = ()
    gpus: int = 0


class Nodes(Protocol):
    """Machines that answer calls, all at the same time."""

    nodes: list[Node]

    def answers(self, calls: Sequence[Call]) -> list[Any]:
        """Return each call's answer, or a Failure."""
        ...


class ThisMachine:
    """This machine, where no cluster is named."""

    def __init__(self) -> None:
        gpus = len(probe.gpu_bytes())
        self.nodes = [Node(socket.gethostname(), "127.0.0.1", gpus)]

    def answers(self, calls: Sequence[Call]) -> list[Any]:
        """Return each call's answer, or a Failure; every call has a process of its own."""
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(len(calls), spawn) as pool:
            asked = [pool.submit(call.function, *call.arguments) for call in calls]
            return [_answer(lambda each=each: each.result(ANSWER_SECONDS)) for each in asked]


class RayNodes:
    """The nodes of a Ray cluster that this process has joined."""

    def __init__(self) -> None:
        import ray

        alive = [node for node in ray.nodes() if node["Alive"]]
        hosts = [node["NodeManagerHostname"] for node in alive]
        self.nodes = []
        for node, host in zip(alive, hosts, strict=True):
            # Several nodes of one machine are told apart by their ids.
            name = host if hosts.count(host) == 1 else f"{host}/{node['NodeID'][:6]}"
            gpus = int(node["Resources"].get("GPU", 0))
            self.nodes.append(Node(name, node["NodeManagerAddress"], gpus, node["NodeID"]))

    def answers(self, calls: Sequence[Call]) -> list[Any]:
        """Return each call's answer, or a Failure; a node needs none of this code for it."""
        import ray
        from ray import cloudpickle
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        cloudpickle.register_pickle_by_value(probe)
        asked = []
        for call in calls:
            strategy: Any = NodeAffinitySchedulingStrategy(call.node.ray_id, soft=False)
            remote = ray.remote(
                num_cpus=0,
                num_gpus=call.gpus,
                max_calls=1,
                max_retries=0,
                scheduling_strategy=strategy,
            )
            asked.append(remote(call.function).remote(*call.arguments))
        ready, late = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS)
        for each in late:
            ray.cancel(each, force=True)
        return [
            _answer(lambda each=each: ray.get(each))
            if each in ready
            else Failure(f"no answer in {ANSWER_SECONDS:.0f} s")
            for each in asked
        ]


def _answer(get: Callable[[], Any]) -> Any:
    try:
        return get()
    except Exception as error:  # whatever a function on another machine raises
        return Failure(probe.plain(getattr(error, "cause", None) or error))


@contextmanager
def reached(wanted: int) -> Iterator[Nodes]:
    """Join the cluster at RAY_ADDRESS, wait for so many nodes, and leave it after; without a
    cluster, yield this machine."""
    if "RAY_ADDRESS" not in os.environ:
        yield ThisMachine()
        return
    import ray

    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    try:
        nodes, deadline = RayNodes(), time.monotonic() + WAIT_SECONDS
        while len(nodes.nodes) < wanted and time.monotonic() < deadline:
            print(f"{len(nodes.nodes)} of {wanted} nodes so far", file=sys.stderr)
            time.sleep(2)
            nodes = RayNodes()
        yield nodes
    finally:
        ray.shutdown()
