"""`python -m workloads memory CONFIG`: what a run holds, and which settings fit on a GPU."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.cost.accelerators import ACCELERATORS, DEFAULT_ACCELERATOR, known_accelerator
from workloads.cost.fit import (
    CHOSEN,
    Hardware,
    Setting,
    fitting,
    longest_context,
    no_fit,
    step_seconds,
    worth_showing,
)
from workloads.cost.memory import PARTS, Peak, peak_memory
from workloads.errors import InputError
from workloads.recipes.recipe import load_run

GB = 1e9


def memory(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG.yaml", help="The run, as `train` takes it."),
    ],
    gpu: Annotated[
        str, typer.Option(help="a100-80g, h100 or h200; one of it.")
    ] = DEFAULT_ACCELERATOR,
    host: Annotated[
        float | None,
        typer.Option(min=0, help="CPU memory in GB (1e9 bytes); left out, this machine's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Plan a run's memory: its peak by part, and the settings of `runtime` that fit on a GPU.

    \b
    Example: python -m workloads memory long.yaml --gpu h100 --host 128
    where long.yaml holds
      preset: transformer-xl
      model: {block_size: 65536}
      batch_size: 1

    Bytes and times are planned, nothing is trained. Settings are listed from the cheapest on, each
    that needs less memory than all before it; `time` is against the cheapest. Exit code 0, or 2
    when no setting fits.
    """
    run = load_run(config)
    try:
        hardware = Hardware(known_accelerator(gpu), (host or _this_host() / GB) * GB)
    except ValueError as error:
        raise InputError(f"--gpu {gpu}: {error}") from None
    found = fitting(run, hardware)
    if not found:
        raise InputError(f"{config}: {no_fit(run, hardware)}")
    record = _record(run, hardware, found)
    typer.echo(json.dumps(record, indent=2) if as_json else _text(record))


def _this_host() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _record(run: RunConfig, hardware: Hardware, found: list[Setting]) -> dict[str, Any]:
    """Return what the command says, as a JSON-ready tree; bytes, tokens and seconds."""
    peak, longest = peak_memory(run), longest_context(run, hardware)
    cheapest = found[0].seconds
    return {
        "gpu": hardware.accelerator,
        "gpu_bytes": ACCELERATORS[hardware.accelerator].memory_bytes,
        "host_bytes": hardware.host_bytes,
        "block_size": run.model.block_size,
        "as_written": _measures(run.runtime, peak, step_seconds(run, hardware), cheapest)
        | {
            "fits": hardware.holds(peak),
            "device_parts": peak.device,
            "host_parts": peak.host,
            "largest": max(peak.device, key=lambda part: peak.device[part]),
        },
        "longest_context": longest and longest[0],
        "longest_context_with": longest and _written(longest[1]),
        "settings": [
            _measures(each.runtime, each.peak, each.seconds, cheapest)
            for each in worth_showing(found)
        ],
    }


def _measures(
    runtime: RuntimeConfig, peak: Peak, seconds: float, cheapest: float
) -> dict[str, Any]:
    return {
        "runtime": _written(runtime),
        "device_bytes": peak.device_bytes,
        "host_bytes": peak.host_bytes,
        "seconds_per_step": seconds,
        "time": seconds / cheapest,
    }


def _written(runtime: RuntimeConfig) -> dict[str, Any]:
    """Return the chosen keys of a runtime that a file has to give."""
    default = RuntimeConfig()
    return {
        name: getattr(runtime, name)
        for name in CHOSEN
        if getattr(runtime, name) != getattr(default, name) or name == "micro_batch_size"
    }


def _text(record: dict[str, Any]) -> str:
    """Return the record for people."""
    written = record["as_written"]
    device, host = written["device_parts"], written["host_parts"]
    lines = [
        f"{record['block_size']:,} tokens of context on {record['gpu']} "
        f"({record['gpu_bytes'] / GB:.0f} GB), host {record['host_bytes'] / GB:.0f} GB; planned, "
        "not measured",
        "",
        f"As written it {'fits' if written['fits'] else 'does not fit'}; the largest part is "
        f"{written['largest']}.",
        f"{'part':<16}{'device GB':>10}{'host GB':>10}",
        *(
            f"{part:<16}{device.get(part, 0) / GB:>10.2f}{host.get(part, 0) / GB:>10.2f}"
            for part in PARTS
            if part in device or part in host
        ),
        f"{'all':<16}{written['device_bytes'] / GB:>10.2f}{written['host_bytes'] / GB:>10.2f}",
        "",
        "Settings that fit:",
        f"{'time':>6}{'device GB':>11}{'host GB':>9}  runtime",
        *(
            f"{each['time']:>6.2f}{each['device_bytes'] / GB:>11.2f}"
            f"{each['host_bytes'] / GB:>9.2f}  {_yaml(each['runtime'])}"
            for each in record["settings"]
        ),
        "",
        f"The longest context that fits: {record['longest_context']:,} tokens with "
        f"{_yaml(record['longest_context_with'])}",
    ]
    return "\n".join(lines)


def _yaml(runtime: dict[str, Any]) -> str:
    return f"{{{', '.join(f'{name}: {value}' for name, value in runtime.items())}}}"
