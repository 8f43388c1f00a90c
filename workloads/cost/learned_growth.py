"""What learning a growth costs beside the passes: its matrices, their products and what those keep.

The products are those of `workloads.nn.growth.learn`, made once in each optimizer step: matrices of
the base become B_out W B_in^T, then layers become sums of layers. No torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from workloads.config.growth import GrowthPlan, plan_of
from workloads.config.model import FFNConfig, GrowthConfig, layer_ffns


@dataclass(frozen=True)
class LearnedGrowth:
    """Matrices that a growth trains: how many `parameters` they have, the training `flops` of their
    products in one optimizer step, and the numbers that these keep for the backward pass."""

    parameters: int
    flops: int
    kept: int


@dataclass(frozen=True)
class _Matrix:
    """One matrix of the base: its outputs in parts that grow by themselves, and its inputs, each
    with the features before and after. Embeddings, biases and norms are matrices, too."""

    out: tuple[tuple[int, int], ...]
    into: tuple[int, int]


@dataclass(frozen=True)
class _Group:
    """Tensors that the same layers of the base have: their number in one of these layers, their
    numbers there in the new width, those layers and the grown ones that come from them."""

    tensors: int
    numbers: int
    layers: int
    grown: int


def learned_growth(growth: GrowthConfig) -> LearnedGrowth:
    """Return what the matrices of a growth cost.

    A product of two tensors has two more in the backward pass, or one where the base is one of the
    two, which is frozen.
    """
    plan = plan_of(growth)
    parameters, multiply_adds, kept = 0, 0, 0
    if plan.widens:
        parameters += _width_parameters(plan)
        for matrix in _matrices(plan):
            inputs, wide_inputs = matrix.into
            old, new = (sum(sizes) for sizes in zip(*matrix.out, strict=True))
            if grows := new > old:
                multiply_adds += 2 * inputs * sum(before * after for before, after in matrix.out)
            if wide_inputs > inputs:
                multiply_adds += (3 if grows else 2) * inputs * wide_inputs * new
                kept += new * inputs * grows
    if plan.deepens:
        for group in _groups(plan):
            parameters += group.tensors * group.grown * group.layers
            products = group.grown * group.layers * group.numbers
            multiply_adds += (3 if plan.widens else 2) * products
            kept += group.layers * group.numbers
    return LearnedGrowth(parameters, 2 * multiply_adds, kept)


def _width_parameters(plan: GrowthPlan) -> int:
    """Count the entries of one matrix for each space of features that grows."""
    old, new = plan.base, plan.wide
    spaces = ("hidden_dim", "ffn_dim", "attn_dim", "kv_dim")
    count = sum(getattr(old, name) * getattr(new, name) for name in spaces)
    count += old.kv_dim * new.kv_dim  # values beside keys
    if old.kv_dim != old.attn_dim:
        count += old.attn_dim * new.attn_dim  # what query heads mix of values of fewer heads
    for side in (0, 1):
        inner = {_inner(plan, ffns, side) for ffns in _ffns(plan)}
        count += sum(before * after for before, after in inner if after > before)
    return count


def _ffns(plan: GrowthPlan) -> Iterator[tuple[FFNConfig, FFNConfig]]:
    """Yield the FFN of each layer of the base, before and after the growth in width."""
    return zip(layer_ffns(plan.base), layer_ffns(plan.wide), strict=True)


def _inner(plan: GrowthPlan, ffns: tuple[FFNConfig, FFNConfig], side: int) -> tuple[int, int]:
    """Return the features between the factors of a projection, before and after; 0 for none."""
    models = (plan.base, plan.wide)
    before, after = (
        ffn.row.inner(*model.ffn_shapes[side], ffn.sizes)
        for model, ffn in zip(models, ffns, strict=True)
    )
    return before, after


def _matrices(plan: GrowthPlan) -> Iterator[_Matrix]:
    """Yield the matrices of all tensors of the base."""
    old, new = plan.base, plan.wide
    hidden, query, kv, inner = (
        (getattr(old, name), getattr(new, name))
        for name in ("hidden_dim", "attn_dim", "kv_dim", "ffn_dim")
    )
    norm = [_Matrix((hidden,), (1, 1))] * (2 if old.norm == "layernorm" and old.bias else 1)
    yield _Matrix((hidden,), (old.vocab_size, old.vocab_size))
    if old.position == "absolute":
        yield _Matrix((hidden,), (old.block_size, old.block_size))
    if not old.tie_embeddings:
        yield _Matrix(((old.vocab_size, old.vocab_size),), hidden)
    yield from norm
    wide = (inner,) * (old.ffn_shapes[0][1] // old.ffn_dim)
    for ffns in _ffns(plan):
        yield from norm * 2
        for side, (out, into) in enumerate(((wide, hidden), ((hidden,), inner))):
            between = _inner(plan, ffns, side)
            if between[0]:
                yield from (_Matrix((between,), into), _Matrix(out, between))
            else:
                yield _Matrix(out, into)
        qkv = (query, kv, kv)
        yield from (_Matrix(qkv, hidden), _Matrix((hidden,), query))
        for out in (qkv, (hidden,), wide, (hidden,)) if old.bias else ():
            yield _Matrix(out, (1, 1))


def _groups(plan: GrowthPlan) -> Iterator[_Group]:
    """Yield the tensors of layers: what all layers have, then the weights of each kind of FFN."""
    wide, ffns = plan.wide, layer_ffns(plan.wide)
    layers, grown = len(ffns), len(plan.layer_map)
    norms = 4 if wide.norm == "layernorm" and wide.bias else 2
    biases = wide.attn_dim + 2 * wide.kv_dim + wide.hidden_dim + sum(m for _, m in wide.ffn_shapes)
    attention = 2 * wide.hidden_dim * (wide.attn_dim + wide.kv_dim)
    numbers = attention + norms * wide.hidden_dim + (biases if wide.bias else 0)
    yield _Group(2 + norms + (4 if wide.bias else 0), numbers, layers, grown)
    for ffn in dict.fromkeys(ffns):
        own = [layer for layer, its in enumerate(ffns) if its == ffn]
        yield _Group(
            tensors=sum(2 if ffn.row.inner(n, m, ffn.sizes) else 1 for n, m in wide.ffn_shapes),
            numbers=sum(ffn.row.weights(n, m, ffn.sizes) for n, m in wide.ffn_shapes),
            layers=len(own),
            grown=sum(layer in own for layer in plan.layer_map),
        )
