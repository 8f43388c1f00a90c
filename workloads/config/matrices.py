"""The hidden matrices of a model: those of its layers, by role (no torch)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from workloads.config.ffn_kinds import initial_norm
from workloads.config.model import FFNConfig, ModelConfig, layer_ffns


@dataclass(frozen=True)
class Matrix:
    """A matrix of a layer, from `columns` inputs to `rows` outputs, or `count` such blocks.

    `initial_norm` is the spectral norm that it, or each block, starts with; None where its kind
    does not say.
    """

    role: str
    count: int
    rows: int
    columns: int
    initial_norm: float | None


def hidden_matrices(model: ModelConfig) -> list[Matrix]:
    """Return the hidden matrices of all layers, the guides included."""
    attention = [
        _plain("attention.qkv_linear.weight", model.attn_dim + 2 * model.kv_dim, model.hidden_dim),
        _plain("attention.o_linear.weight", model.hidden_dim, model.attn_dim),
    ]
    return [
        matrix for ffn in layer_ffns(model) for matrix in (*attention, *_ffn_matrices(model, ffn))
    ]


def _ffn_matrices(model: ModelConfig, ffn: FFNConfig) -> Iterator[Matrix]:
    row = ffn.row
    for name, (n, m) in zip(("fc1", "fc2"), model.ffn_shapes, strict=True):
        shapes = row.matrices(n, m, ffn.sizes)
        norms = row.initial_norms(n, m, ffn.sizes) if row.initial_norms else [None] * len(shapes)
        for weight, shape, norm in zip(row.weight_names, shapes, norms, strict=True):
            yield Matrix(f"mlp.{name}.{weight}", *shape, norm)
        if model.guide and row.mergeable:
            # It starts as what the factors make, whatever they are multiplied by.
            yield Matrix(f"mlp.{name}.guide", 1, m, n, None)


def _plain(role: str, rows: int, columns: int) -> Matrix:
    return Matrix(role, 1, rows, columns, initial_norm(rows, columns))
