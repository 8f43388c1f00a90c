"""The library of a CPU's float32 matrix products: oneDNN where it is as exact and faster.

`torch.set_float32_matmul_precision("medium")` gives mm, addmm, bmm and baddbmm to oneDNN, also
with preallocated results. On CPUs that MKL, torch's default, serves badly, oneDNN is up to twice as
fast with the same rounding errors. On other CPUs (with AMX) it rounds to bfloat16, which shows in
every loss. `probe` therefore measures both.

The verdict is kept in a file for this CPU, its instruction sets, torch and the number of threads. A
speed measured twice may fall on either side of the threshold, but a resumed run must repeat its
numbers. Delete the file to measure again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from kernels import switches
from kernels.files import create_file
from kernels.machine import cpu_name, instruction_sets
from kernels.timing import Contender, Ratio, time_rounds

# Norm-relative error against float64: float32 products have 2e-7 to 4e-7, bfloat16 ones 2e-3.
ERROR_LIMIT = 1e-6
LEAST_SPEEDUP = 1.05
ROUNDS = 5
# (tokens, inputs, outputs) of the products that are timed; each takes a few milliseconds.
SHAPE = (1024, 256, 1024)
BLOCKS = 2
CHECKED_TOKENS = 128
logger = logging.getLogger(__name__)
_verdicts: dict[Path, Verdict] = {}


@dataclass(frozen=True)
class Verdict:
    """What `probe` measured of oneDNN.

    Attributes:
        error: the largest norm-relative error of its products against float64.
        speedup: the default's seconds over oneDNN's; None if oneDNN is too inexact to be timed.
    """

    error: float
    speedup: float | None

    @property
    def onednn(self) -> bool:
        """Whether to multiply by oneDNN."""
        return self.speedup is not None and self.speedup >= LEAST_SPEEDUP


def choose(folder: Path) -> None:
    """Make this process multiply by oneDNN if the verdict kept in `folder` says so.

    Otherwise, and if KERNELS switches `gemm` to its reference, torch's default multiplies.
    """
    use(switches.fast("gemm") and verdict(folder).onednn)


def use(onednn: bool) -> None:
    """Make this process multiply by oneDNN, or by torch's default."""
    torch.set_float32_matmul_precision("medium" if onednn else "highest")


@contextmanager
def using(onednn: bool) -> Iterator[None]:
    """Multiply by oneDNN, or by torch's default, within the context."""
    before = torch.get_float32_matmul_precision()
    use(onednn)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def library() -> str:
    """Return the library that multiplies: onednn, mkl, or torch for any other default of torch."""
    if torch.get_float32_matmul_precision() == "medium":
        return "onednn"
    return "mkl" if torch.backends.mkl.is_available() else "torch"


def verdict(folder: Path) -> Verdict:
    """Return the verdict on this machine from `folder`; the first time, `probe` and keep it there.

    If several processes probe at the same time, the first to finish decides for all.
    """
    setting = [cpu_name(), instruction_sets(), torch.__version__, torch.get_num_threads()]
    key = hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:12]
    path = folder / f"{key}.json"
    if path not in _verdicts:
        _verdicts[path] = _read(path) or _keep(path, probe(), setting)
    return _verdicts[path]


def probe() -> Verdict:
    """Measure oneDNN beside torch's default, in well under a second.

    The caller's random generator and choice of library stay as they were.
    """
    tokens, n, m = SHAPE
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, n, generator=generator)
    weight = torch.randn(m, n, generator=generator)
    exact = x[:CHECKED_TOKENS].double() @ weight.double().T
    products = (_allocated, _preallocated, _in_blocks)
    with using(True):
        found = [product(x, weight)[:CHECKED_TOKENS] for product in products]
    error = max(float((y.double() - exact).norm() / exact.norm()) for y in found)
    if not error < ERROR_LIMIT:
        return Verdict(error, None)

    def multiplying(onednn: bool) -> Contender:
        def multiply(number: int) -> None:
            with using(onednn):
                _allocated(x, weight)

        return multiply

    samples = time_rounds({"default": multiplying(False), "onednn": multiplying(True)}, ROUNDS)
    return Verdict(error, Ratio.of(samples["default"], samples["onednn"]).median)


def _allocated(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight.T


def _preallocated(x: Tensor, weight: Tensor) -> Tensor:
    """Add the product to preallocated memory."""
    y = x.new_zeros(len(x), len(weight))
    return torch.addmm(y, x, weight.T, out=y)


def _in_blocks(x: Tensor, weight: Tensor) -> Tensor:
    """Write blocks of the product into memory where each block's rows have gaps.

    The products of BlockDense and BlockShuffle are such blocks.
    """
    y = x.new_empty(len(x), len(weight))
    torch.bmm(
        x.expand(BLOCKS, *x.shape),
        weight.unflatten(0, (BLOCKS, -1)).mT,
        out=y.unflatten(1, (BLOCKS, -1)).transpose(0, 1),
    )
    return y


def _read(path: Path) -> Verdict | None:
    """Read a verdict; return None if there is no file, or with a warning if it is damaged.

    A damaged file is removed.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["verdict"]
        speedup = found["speedup"]
        return Verdict(float(found["error"]), None if speedup is None else float(speedup))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("%s is damaged (%r); measuring anew", path, error)
        with suppress(OSError):
            path.unlink()
        return None


def _keep(path: Path, found: Verdict, setting: list[str | int]) -> Verdict:
    """Write a verdict to its file; return another process's verdict if that came first."""
    document = {"setting": setting, "verdict": asdict(found)}
    try:
        create_file(path, json.dumps(document, indent=1) + "\n")
    except FileExistsError:
        return _read(path) or found
    except OSError as error:
        logger.warning(
            "%s cannot be written (%s): the choice between MKL and oneDNN may differ when this "
            "run resumes; set XDG_CACHE_HOME to a folder that can",
            path,
            error,
        )
    return found
