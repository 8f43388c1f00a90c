"""The lines of a results file: one measured pair each, appended and never rewritten."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch

from kernels import gemm
from kernels.bench.ceilings import Ceilings
from kernels.bench.claims import BASELINES, Claim, FFNTask
from kernels.bench.errors import InputError
from kernels.bench.provenance import provenance
from kernels.bench.sides import BASELINE, SUBJECT
from kernels.machine import device_name
from kernels.timing import Ratio

RESULTS = Path(__file__).parent / "results"
# What the table reads of a line.
FIELDS = {"claim", "device", "gate", "ratio", "held", "source", "hardware", "threads"}
FIELDS |= {"kernel_path", "ceilings", "gemm_probe", "versions", "time", "share_of_gemm_ceiling"}


@dataclass(frozen=True)
class Conditions:
    """What one run measures under: the device, whether oneDNN multiplies, what the probe found of
    it (None on CUDA), and the machine's ceilings."""

    device: torch.device
    onednn: bool
    probed: gemm.Verdict | None
    ceilings: Ceilings


def line(
    claim: Claim, gate: float, samples: dict[str, list[float]], flops: int | None, at: Conditions
) -> dict[str, Any]:
    """The record of one pair.

    `flops` are those that the task nominally is, a guide's included; None where nobody counts.
    """
    ratio = Ratio.of(samples[BASELINE], samples[SUBJECT])
    with gemm.using(at.onednn):  # The path is that of the subject.
        where = provenance(at.device)
    rate = None
    if flops is not None and claim.quantity == "seconds":
        rate = flops / median(samples[SUBJECT]) / at.ceilings.gemm_flops_per_second
    return {
        "claim": claim.name,
        "device": claim.device,
        "task": str(claim.task),
        "fraction": claim.task.layer.fraction if isinstance(claim.task, FFNTask) else None,
        "baseline": BASELINES[claim.baseline],
        "quantity": claim.quantity,
        "gate": gate,
        "ratio": asdict(ratio),
        "held": ratio.median >= gate,
        "share_of_gemm_ceiling": rate,
        "samples": samples,
        "gemm_probe": None if at.probed is None else asdict(at.probed),
        "ceilings": asdict(at.ceilings),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **where,
    }


def shown(record: dict[str, Any]) -> str:
    """A line for people."""
    ratio = record["ratio"]
    spread = f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
    verdict = "held" if record["held"] else "missed"
    return f"{record['claim']:<34}{spread:<22}gate {record['gate']:.2f}  {verdict}"


def file_of(device: torch.device) -> Path:
    """The results file of the device, by its name."""
    name = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    return RESULTS / f"{name}.jsonl"


def append(path: Path, record: dict[str, Any]) -> None:
    """Add one line to a results file, which need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a results file, oldest first; InputError names a line that is none."""
    records = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(text)
            missing = sorted(FIELDS - set(record))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}, line {number}: not a measured pair ({error!r})") from error
        if missing:
            raise InputError(f"{path}, line {number}: not a measured pair, without {missing[0]}")
        records.append(record)
    return records
