"""The records of a results file: one line of JSON per measured claim, only ever appended."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch

from kernels.bench.claims import BASELINES, Claim, FFNTask
from kernels.bench.comparison import BASELINE, CANDIDATE
from kernels.bench.errors import InputError
from kernels.bench.provenance import provenance
from kernels.bench.roofline import Roofline
from kernels.files import append_line
from kernels.machine import device_name
from kernels.timing import Ratio

RESULTS = Path(__file__).parent / "results"
# The keys that every record must have, because the table reads them.
FIELDS = {"claim", "device", "threshold", "ratio", "verified", "source", "hardware", "threads"}
FIELDS |= {"kernel_path", "roofline", "versions", "time", "fraction_of_gemm_peak"}
# Keys of earlier records, which are read for ever, and their present names.
FORMER_KEYS = {
    "gate": "threshold",
    "held": "verified",
    "ceilings": "roofline",
    "share_of_gemm_ceiling": "fraction_of_gemm_peak",
    "subject": CANDIDATE,
}


@dataclass(frozen=True)
class Conditions:
    """What one run of measurements has in common."""

    device: torch.device
    roofline: Roofline


def record_of(
    claim: Claim, samples: dict[str, list[float]], flops: int | None, at: Conditions
) -> dict[str, Any]:
    """Make the record of one measured claim.

    Args:
        claim: the claim.
        samples: seconds or bytes of the candidate and of the baseline, by round.
        flops: nominal FLOPs of one pass of the candidate, a guide's included; None if not counted.
        at: the conditions of the measurement.
    """
    ratio = Ratio.of(samples[BASELINE], samples[CANDIDATE])
    fraction_of_peak = None
    if flops is not None and claim.quantity == "seconds":
        flops_per_second = flops / median(samples[CANDIDATE])
        fraction_of_peak = flops_per_second / at.roofline.gemm_flops_per_second
    return {
        "claim": claim.name,
        "device": claim.device,
        "task": str(claim.task),
        "fraction": claim.task.layer.fraction if isinstance(claim.task, FFNTask) else None,
        "baseline": BASELINES[claim.baseline],
        "quantity": claim.quantity,
        "threshold": claim.threshold,
        "ratio": asdict(ratio),
        "least_of_peak": claim.least_of_peak,
        "fraction_of_gemm_peak": fraction_of_peak,
        "verified": ratio.median >= claim.threshold
        and (fraction_of_peak or 0) >= (claim.least_of_peak or 0),
        "samples": samples,
        "roofline": asdict(at.roofline),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **provenance(at.device),
    }


def summary(record: dict[str, Any]) -> str:
    """Return a record as one line for people."""
    ratio = record["ratio"]
    spread = f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
    verdict = "verified" if record["verified"] else "missed"
    line = f"{record['claim']:<34}{spread:<22}threshold {record['threshold']:.2f}  "
    if record["least_of_peak"] is not None:
        peak, least = record["fraction_of_gemm_peak"], record["least_of_peak"]
        line += f"{peak:.0%} of peak, at least {least:.0%}  "
    return line + verdict


def file_of(device: torch.device) -> Path:
    """Return the results file of the device, which is named after it."""
    name = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    return RESULTS / f"{name}.jsonl"


def append(path: Path, record: dict[str, Any]) -> None:
    """Append a record to a results file, and create the file if needed."""
    append_line(path, json.dumps(record))


def read(path: Path) -> list[dict[str, Any]]:
    """Read the records of a results file, the oldest first, with their keys' present names.

    Raises:
        InputError: a line is no record; the message names the line.
    """
    records = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(text, object_pairs_hook=_with_present_keys)
            missing = sorted(FIELDS - set(record))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}, line {number}: not a measured claim ({error!r})") from error
        if missing:
            raise InputError(f"{path}, line {number}: not a measured claim, without {missing[0]}")
        records.append(record)
    return records


def _with_present_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {FORMER_KEYS.get(key, key): value for key, value in pairs}
