"""Work on the processes of a Ray cluster, as `workloads.data.preparing` asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from workloads.data.preparing.processes import WorkerDied

T = TypeVar("T")
R = TypeVar("R")

# Tasks beyond those that the CPUs work on: a CPU that is done finds the next one waiting.
WAITING = 2
# A task whose process or node is lost is started again so many times.
RETRIES = 3


def mapped(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Apply a function to items, a Ray task of one CPU for each; results come in any order.

    Raises what the function raises, and WorkerDied where a task is lost again and again.
    """
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_call).remote
    shared = ray.put(function)
    waiting = iter(items)
    most = int(ray.cluster_resources().get("CPU", 1)) + WAITING
    running = [task(shared, item) for item in islice(waiting, most)]
    try:
        while running:
            done, running = ray.wait(running)
            running += [task(shared, item) for item in islice(waiting, len(done))]
            yield from ray.get(done)
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except RayError as error:
        raise WorkerDied from error


def _call(function: Callable[[T], R], item: T) -> R:
    return function(item)
