"""Work on several processes of one machine, which end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait as wait_for
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

STOPS = (signal.SIGINT, signal.SIGTERM)


class MapFunction(Protocol):
    """What applies a function to items, on any number of processes or machines.

    Results come in any order. Function, items and results can be pickled.
    """

    def __call__(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]: ...


class WorkerDied(Exception):
    """The death of a worker process, such as one that the system killed for its memory."""


@contextmanager
def processes(workers: int) -> Iterator[MapFunction]:
    """Provide a map over `workers` processes; it is the built-in one for a single worker.

    Raises WorkerDied where a worker is killed. Where the map is left early, pieces in hand are
    finished and others not begun.
    """
    if workers == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _begin) as pool:

        def submit(function: Callable[[T], R], item: T) -> Future[R]:
            with _stops_held_back():  # this may start a worker
                return pool.submit(function, item)

        def mapped(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
            waiting = iter(items)
            # No more than the workers need, so that little is left to do after a stop.
            running: set[Future[R]] = {
                submit(function, item) for item in islice(waiting, workers + 1)
            }
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for item in islice(waiting, len(done)):
                    running.add(submit(function, item))
                for future in done:
                    yield future.result()

        try:
            yield mapped
        except BrokenProcessPool:
            raise WorkerDied from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _stops_held_back() -> Iterator[None]:
    """Answer SIGINT and SIGTERM at the end of the context and not in it.

    A worker that starts inherits the mask: while it loads, it has no handler. An exception of a
    handler in here would leave a worker that nobody waits for. The mask alone does not prevent one:
    another thread may take the signal, and the handler then runs in the main thread.
    """
    came: list[int] = []
    handlers = {each: signal.getsignal(each) for each in STOPS}
    in_main = threading.current_thread() is threading.main_thread()
    if in_main:
        for each in STOPS:
            signal.signal(each, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if in_main:
            for each, handler in handlers.items():
                signal.signal(each, handler)
            for number in dict.fromkeys(came):
                signal.raise_signal(number)


def _begin() -> None:
    """Prepare a worker: Ctrl-C is its parent's to answer, whose end is its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)
