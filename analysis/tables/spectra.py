"""Singular values of the products that structured projections compute, in numpy.

At initialization they follow from the kinds' definitions (arXiv 2406.16450, section 3): the
low-rank product is the best approximation of a dense normal(0, 0.02) matrix, and the block kinds
are products of matrices with orthonormal rows or columns. After training they are computed from
the newest checkpoint of a run.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.laws.law import Array
from analysis.tables.errors import RunTableError

KINDS = ("dense", "lowrank", "blockdense", "blockshuffle")  # whose initialization is known
DENSE_SD = 0.02
NAME = "model.layers.{layer}.mlp.fc1.{part}"


@dataclass(frozen=True)
class Shape:
    """A projection from n features to m; `rank` and `nblocks` where its kind has them."""

    kind: str
    n: int
    m: int
    rank: int | None = None
    nblocks: int | None = None


def initial_singular_values(shape: Shape, seed: int = 0) -> Array:
    """Compute the singular values that are not zero by construction, largest first.

    `shape.kind` is one of `KINDS`.
    """
    smaller = min(shape.n, shape.m)
    if shape.kind in ("dense", "lowrank"):
        drawn = np.random.default_rng(seed).normal(0, DENSE_SD, (shape.m, shape.n))
        return singular_values(drawn)[: shape.rank]
    return np.ones(min(shape.rank or smaller, smaller))


def singular_values(matrix: Array) -> Array:
    """Compute the singular values of `matrix`, largest first, to 1e-8 of the largest.

    They are the roots of the smaller Gram matrix's eigenvalues, which at a model's widths takes a
    tenth of the time of an SVD.
    """
    small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return np.sqrt(np.maximum(np.linalg.eigvalsh(small @ small.T)[::-1], 0))


def trained_projection(run_dir: Path) -> tuple[Shape, Array]:
    """Load the last layer's first projection, merged, from the newest checkpoint in `run_dir`.

    Raises:
        RunTableError: there is no checkpoint that can be read.
    """
    from safetensors import SafetensorError, safe_open

    found = sorted((run_dir / "checkpoints").glob("step-*.safetensors"))
    if not found:
        raise RunTableError(f"{run_dir}: no checkpoint; keep the study's points/ beside runs.csv")
    try:
        with safe_open(found[-1], framework="np") as file:
            names = set(file.keys())
            layer = max(int(n.split(".")[2]) for n in names if n.startswith("model.layers."))
            parts = {
                part: np.asarray(file.get_tensor(name), dtype=np.float64)
                for part in ("weight", "v", "u")
                if (name := NAME.format(layer=layer, part=part)) in names
            }
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise RunTableError(f"{found[-1]}: cannot be read ({error}); restore it") from error
    return _merged(parts, found[-1])


def _merged(parts: dict[str, Array], path: Path) -> tuple[Shape, Array]:
    """Multiply a projection's parts, read from `path`, into a dense matrix; give its shape too."""
    if "weight" in parts:
        weight = parts["weight"]
        return Shape("dense", weight.shape[1], weight.shape[0]), weight
    if not {"v", "u"} <= set(parts):
        raise RunTableError(f"{path}: {NAME.format(layer='N', part='*')} is of no kind known here")
    v, u = parts["v"], parts["u"]
    if v.ndim == 2:
        return Shape("lowrank", v.shape[1], u.shape[0], v.shape[0]), u @ v
    blocks, k, width = v.shape
    n, inner = blocks * width, blocks * k
    h = np.zeros((inner, n))
    for b in range(blocks):
        h[b * k : (b + 1) * k, b * width : (b + 1) * width] = v[b]
    if u.ndim == 2:
        return Shape("blockdense", n, u.shape[0], inner, blocks), u @ h
    # Entry r B + l of h goes to block l, and place s of block l to entry s B + l.
    z = np.einsum("lsr,rln->sln", u, h.reshape(k, blocks, n))
    m = blocks * u.shape[1]
    return Shape("blockshuffle", n, m, nblocks=blocks), z.reshape(m, n)
