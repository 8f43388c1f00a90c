"""The CPU's float32 matrix products: by oneDNN where it is as exact as the default, and faster.

`torch.set_float32_matmul_precision("medium")` hands mm, addmm, bmm and baddbmm to oneDNN, those
into given memory among them. On CPUs that MKL serves badly this is up to twice as fast with the
same rounding; on others (AMX) it rounds to bfloat16, which shows in every loss. So both are
measured, by `probe`.

The verdict is kept in a file, for this CPU and its instruction sets, torch and number of threads:
a speed that is measured twice may fall on either side of the bar, and a resumed run is to repeat
its numbers. To have it measured anew, delete the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from kernels import switches
from kernels.machine import cpu_name, instruction_sets
from kernels.timing import Ratio, time_rounds

# Products of float32 err by 2 to 4e-7 against float64, those rounded to bfloat16 by 2e-3.
ERROR_LIMIT = 1e-6
LEAST_SPEEDUP = 1.05
ROUNDS = 5
# (tokens, inputs, outputs) of the products that are timed; a few milliseconds each.
SHAPE = (1024, 256, 1024)
BLOCKS = 2
CHECKED_TOKENS = 128
logger = logging.getLogger(__name__)
_verdicts: dict[Path, Verdict] = {}


@dataclass(frozen=True)
class Verdict:
    """What `probe` found of oneDNN: the largest norm-relative error, and how many times faster
    than the default it is; None where it is too inexact to be timed."""

    error: float
    speedup: float | None

    @property
    def onednn(self) -> bool:
        """Whether to use it."""
        return self.speedup is not None and self.speedup >= LEAST_SPEEDUP


def choose(folder: Path) -> None:
    """From now on multiply by oneDNN if the verdict on this machine, kept in `folder`, says so;
    by default if not, or if KERNELS turns `gemm` off."""
    use(switches.fast("gemm") and verdict(folder).onednn)


def use(onednn: bool) -> None:
    """From now on multiply by oneDNN, or as torch does by default."""
    torch.set_float32_matmul_precision("medium" if onednn else "highest")


@contextmanager
def using(onednn: bool) -> Iterator[None]:
    """Within it multiply by oneDNN, or as torch does by default."""
    before = torch.get_float32_matmul_precision()
    use(onednn)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def library() -> str:
    """The library at work: onednn, mkl, or torch for another that it was built with."""
    if torch.get_float32_matmul_precision() == "medium":
        return "onednn"
    return "mkl" if torch.backends.mkl.is_available() else "torch"


def verdict(folder: Path) -> Verdict:
    """The verdict on this machine, from `folder` or, the first time, by `probe`.

    Where several processes measure at once, the first to finish decides for all.
    """
    setting = [cpu_name(), instruction_sets(), torch.__version__, torch.get_num_threads()]
    key = hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:12]
    path = folder / f"{key}.json"
    if path not in _verdicts:
        _verdicts[path] = _read(path) or _keep(path, probe(), setting)
    return _verdicts[path]


def probe() -> Verdict:
    """Measure oneDNN beside the default, in well under a second; draws no numbers of the caller's
    generator, and leaves the choice as it was."""
    tokens, n, m = SHAPE
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, n, generator=generator)
    weight = torch.randn(m, n, generator=generator)
    exact = x[:CHECKED_TOKENS].double() @ weight.double().T
    with using(True):
        found = [product(x, weight)[:CHECKED_TOKENS] for product in (_whole, _added, _in_blocks)]
    error = max(float((y.double() - exact).norm() / exact.norm()) for y in found)
    if not error < ERROR_LIMIT:
        return Verdict(error, None)

    def timed(onednn: bool) -> Callable[[int], object]:
        def side(number: int) -> None:
            with using(onednn):
                _whole(x, weight)

        return side

    samples = time_rounds({"default": timed(False), "onednn": timed(True)}, ROUNDS)
    return Verdict(error, Ratio.of(samples["default"], samples["onednn"]).median)


def _whole(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight.T


def _added(x: Tensor, weight: Tensor) -> Tensor:
    """Into given memory, on top of what is there."""
    y = x.new_zeros(len(x), len(weight))
    return torch.addmm(y, x, weight.T, out=y)


def _in_blocks(x: Tensor, weight: Tensor) -> Tensor:
    """Into memory where each block's rows stand apart, as the block kinds' products are."""
    y = x.new_empty(len(x), len(weight))
    torch.bmm(
        x.expand(BLOCKS, *x.shape),
        weight.unflatten(0, (BLOCKS, -1)).mT,
        out=y.unflatten(1, (BLOCKS, -1)).transpose(0, 1),
    )
    return y


def _read(path: Path) -> Verdict | None:
    """The verdict in the file, or None; a damaged file is a warning, and removed."""
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
    """Write the verdict unless another process has meanwhile; returns the one that stands."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    document = {"setting": setting, "verdict": asdict(found)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        try:
            os.link(temporary, path)  # Unlike a rename, it takes no other's place.
        finally:
            temporary.unlink()
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
