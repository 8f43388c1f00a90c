"""Results of the benchmarks: what structured FFNs cost beside dense ones."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from analysis.tables.errors import RunTableError
from analysis.tables.files import read_file

REMEDY = (
    "give the --out of `python -m kernels bench latency`, or of `python -m workloads bench train` "
    "or `bench decode`"
)


@dataclass(frozen=True)
class Timing:
    """One FFN at one width and number of tokens, and the dense FFN timed in turn with it.

    `fraction` is its weights over the dense FFN's, `params` their number; medians of seconds.
    """

    kind: str
    fraction: float
    width: int
    tokens: int
    params: float
    seconds: float
    dense_seconds: float

    @property
    def speedup(self) -> float:
        """How many times faster than dense."""
        return self.dense_seconds / self.seconds


@dataclass(frozen=True)
class Latencies:
    """The timings of all files, of one kind of measurement on one machine."""

    timings: list[Timing]
    measured: str  # what was timed, such as "forward"
    hardware: str


def load_latencies(paths: list[Path]) -> Latencies:
    """Read benchmark results.

    Raises:
        RunTableError: a file is no such result, or two differ in machine or in what they time.
    """
    timings: list[Timing] = []
    places: dict[tuple[str, str], Path] = {}
    for path in paths:
        try:
            if path.suffix == ".csv":
                found = _table_timings(read_file(path).frame)
            else:
                found = _document_timings(json.loads(path.read_text(encoding="utf-8")))
            for place, timing in found:
                timings.append(timing)
                places.setdefault(place, path)
        except (OSError, json.JSONDecodeError) as error:
            raise RunTableError(f"{path}: cannot be read as JSON ({error}); {REMEDY}") from error
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise RunTableError(
                f"{path}: not a benchmark's result ({error!r}); {REMEDY}"
            ) from error
    if len(places) > 1:
        (one, first), (other, second) = list(places.items())[:2]
        raise RunTableError(
            f"{second} times {other[0]} on {other[1]}, and {first} {one[0]} on {one[1]}: they "
            "share no axis; draw them apart"
        )
    if not places:
        raise RunTableError(f"{paths[0]}: holds no timing; {REMEDY}")
    measured, hardware = next(iter(places))
    return Latencies(timings, measured, hardware)


# What is timed, and on which machine.
Place = tuple[str, str]


def _table_timings(frame: pd.DataFrame) -> Iterator[tuple[Place, Timing]]:
    for row in frame.to_dict("records"):
        timing = Timing(
            kind=row["kind"],
            fraction=float(row["fraction"]),
            width=int(row["width"]),
            tokens=int(row["tokens"]),
            params=float(row["params"]),
            seconds=float(row["seconds"]),
            dense_seconds=float(row["dense_seconds"]),
        )
        yield (row["measured"], row["hardware"]), timing


def _document_timings(document: dict[str, Any]) -> Iterator[tuple[Place, Timing]]:
    hardware = str(document["environment"]["hardware"])
    decoding = "ladder" in document
    place = ("forward" if decoding else "forward and backward", hardware)
    for timing in _decode_timings(document) if decoding else _train_timings(document):
        yield place, timing


def _train_timings(document: dict[str, Any]) -> Iterator[Timing]:
    width, tokens = int(document["size"]["width"]), int(document["size"]["tokens"])
    for row in document["rows"]:
        yield Timing(
            kind=row["name"].split()[0],
            fraction=float(row["fraction"]),
            width=width,
            tokens=tokens,
            params=float(row["fraction"]) * 8 * width**2,
            seconds=median(row["samples"]["ours"]),
            dense_seconds=median(row["samples"]["dense"]),
        )


def _decode_timings(document: dict[str, Any]) -> Iterator[Timing]:
    """Read the timings of the structured FFN against its weights merged into a dense one."""
    model = document["model"]
    width, inner, ffn = model["hidden_dim"], model["ffn_dim"], model["ffn"]
    fraction = _weights(width, inner, ffn) / (2 * width * inner)
    for rung in document["ladder"]:
        yield Timing(
            kind=ffn["kind"],
            fraction=fraction,
            width=width,
            tokens=int(rung["tokens"]),
            params=fraction * 2 * width * inner,
            seconds=median(rung["structured"]),
            dense_seconds=median(rung["merged"]),
        )


def _weights(width: int, inner: int, ffn: dict[str, Any]) -> float:
    """Count the weights of both projections, by the kinds' definitions (arXiv 2406.16450, s. 3)."""
    rank, blocks = ffn.get("rank") or 0, ffn.get("nblocks") or 1
    both = ((width, inner), (inner, width))
    counted = {
        "dense": 2.0 * width * inner,
        "lowrank": 2.0 * (width + inner) * rank,
        "blockdense": float(sum(rank * (m + n / blocks) for n, m in both)),
        "blockshuffle": 2.0 * min(width, inner) * (width + inner) / blocks,
    }
    if ffn["kind"] not in counted:
        known = ", ".join(counted)
        raise ValueError(f"weights of FFN kind {ffn['kind']!r} are not known here, but of {known}")
    return counted[ffn["kind"]]
