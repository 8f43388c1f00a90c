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

from kernels import gemm
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
FIELDS |= {"kernel_path", "roofline", "gemm_probe", "versions", "time", "fraction_of_gemm_peak"}
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
    """What one run of measurements has in common.

    `probed` is what the probe of oneDNN found, None on CUDA; `onednn` is whether oneDNN multiplies.
    """

    device: torch.device
    onednn: bool
    probed: gemm.Verdict | None
    roofline: Roofline


def record_of(
    claim: Claim,
    threshold: float,
    samples: dict[str, list[float]],
    flops: int | None,
    at: Conditions,
) -> dict[str, Any]:
    """Make the record of one measured claim.

    Args:
        claim: the claim.
        threshold: the ratio that it must reach under these conditions.
        samples: seconds or bytes of the candidate and of the baseline, by round.
        flops: nominal FLOPs of one pass of the candidate, a guide's included; None if not counted.
        at: the conditions of the measurement.
    """
    ratio = Ratio.of(samples[BASELINE], samples[CANDIDATE])
    with gemm.using(at.onednn):  # The recorded kernel path is the candidate's.
        where = provenance(at.device)
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
        "threshold": threshold,
        "ratio": asdict(ratio),
        "verified": ratio.median >= threshold,
        "fraction_of_gemm_peak": fraction_of_peak,
        "samples": samples,
        "gemm_probe": None if at.probed is None else asdict(at.probed),
        "roofline": asdict(at.roofline),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **where,
    }


def summary(record: dict[str, Any]) -> str:
    """Return a record as one line for people."""
    ratio = record["ratio"]
    spread = f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
    verdict = "verified" if record["verified"] else "missed"
    return f"{record['claim']:<34}{spread:<22}threshold {record['threshold']:.2f}  {verdict}"


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
