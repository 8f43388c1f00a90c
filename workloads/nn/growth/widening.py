"""Growth of a model's width, matrix by matrix.

Every linear map of the model, the factors of structured projections among them, is taken as a
matrix between two axes of features. An operator says what becomes of an axis and of a matrix; which
matrices there are, and between which axes, is said here once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from workloads.config.growth import GrowthPlan
from workloads.config.model import FFNConfig, ModelConfig, layer_ffns
from workloads.errors import Misfit
from workloads.nn.ffn import projection_class
from workloads.nn.projections.base import Projection
from workloads.nn.projections.dense import DenseProjection

Weights = dict[str, Tensor]
A = TypeVar("A")


class Part(NamedTuple):
    """Consecutive features of an axis that grow together, such as all queries: how many the base
    has, and how many the grown model. `space` tells what they are; `fixed` ones do not grow."""

    space: str
    old: int
    new: int


class Widening(Protocol[A]):
    """What an operator does with axes (in a form `A` of its own), matrices and norms."""

    def axis(self, parts: Sequence[Part]) -> A:
        """Return what becomes of an axis of these parts."""
        ...

    def matrix(self, old: Tensor, out: A, into: A, held: Tensor, fresh: Tensor) -> Tensor:
        """Return the grown matrix (outputs, inputs).

        `held` is 1 where the grown matrix has a weight, `fresh` is a newly initialized one.
        """
        ...

    def norm(self, name: str, old: Tensor, hidden: A, fresh: Tensor) -> Tensor:
        """Return the grown gain (`NAME.weight`) or bias (`NAME.bias`) of a norm."""
        ...


class _Map(NamedTuple):
    """One linear map by its weights: their names here and in the model, and between which parts."""

    projection: type[Projection]
    names: Mapping[str, str]
    bias: str | None
    out: Sequence[Part]
    inner: Sequence[Part]
    into: Sequence[Part]
    transposed: bool = False


def widened(
    plan: GrowthPlan, weights: Mapping[str, Tensor], fresh: Mapping[str, Tensor], how: Widening[A]
) -> Weights:
    """Return the weights of the base in the new width. `fresh` are those of a new such model.

    Raises Misfit where an FFN kind does not say how it grows.
    """
    grown: Weights = {}
    hidden = how.axis([Part("hidden", plan.base.hidden_dim, plan.wide.hidden_dim)])
    for name, old in weights.items():
        if _is_norm(name):
            # Imported norms may have biases that the configuration does not give them.
            new = fresh.get(name, old.new_zeros(plan.wide.hidden_dim))
            grown[name] = how.norm(name, old, hidden, new)
    for linear in _maps(plan, weights):
        _widen_map(linear, weights, fresh, how, grown)
    return {name: grown[name] for name in weights}


def matrices_of(
    projection: type[Projection], names: Mapping[str, str], weights: Mapping[str, Tensor]
) -> list[Tensor]:
    """Return the matrices of a projection, given the model's name of each of its weights.

    Raises Misfit where the kind does not give its weights as matrices.
    """
    try:
        return projection.matrices({short: weights[name] for short, name in names.items()})
    except NotImplementedError:
        raise Misfit(
            f"{projection.__name__} does not give its weights as matrices, as this growth needs; "
            "use operator stack",
            "operator",
        ) from None


def spaces(plan: GrowthPlan, weights: Mapping[str, Tensor]) -> dict[str, Part]:
    """Return the parts of the model's axes that grow, by their space."""
    parts = {
        part.space: part
        for linear in _maps(plan, weights)
        for part in (*linear.out, *linear.inner, *linear.into)
    }
    return {space: part for space, part in parts.items() if part.new > part.old}


def _is_norm(name: str) -> bool:
    return name.split(".")[-2] in ("ln1", "ln2", "ln_f")


def _widen_map(
    linear: _Map,
    weights: Mapping[str, Tensor],
    fresh: Mapping[str, Tensor],
    how: Widening[A],
    grown: Weights,
) -> None:
    def matrices(source: Mapping[str, Tensor]) -> list[Tensor]:
        found = matrices_of(linear.projection, linear.names, source)
        return [matrix.T for matrix in found] if linear.transposed else found

    out, into = how.axis(linear.out), how.axis(linear.into)
    between = [how.axis(linear.inner)] if linear.inner else []
    axes = [into, *between, out]
    held = matrices({name: torch.ones_like(fresh[name]) for name in linear.names.values()})
    new = [
        how.matrix(*given)
        for given in zip(matrices(weights), axes[1:], axes[:-1], held, matrices(fresh), strict=True)
    ]
    new = [matrix.T for matrix in new] if linear.transposed else new
    shapes = {short: fresh[name].shape for short, name in linear.names.items()}
    own = linear.projection.weights_of(new, shapes)
    grown |= {name: own[short].contiguous() for short, name in linear.names.items()}
    if linear.bias:
        # A bias is a matrix whose one input is 1.
        one = how.axis([Part("fixed", 1, 1)])
        old, drawn = weights[linear.bias][:, None], fresh[linear.bias][:, None]
        column = how.matrix(old, out, one, torch.ones_like(drawn), drawn)
        grown[linear.bias] = column[:, 0].contiguous()


def _maps(plan: GrowthPlan, weights: Mapping[str, Tensor]) -> Iterator[_Map]:
    """Yield the model's linear maps, with the parts of their axes."""
    old, new = plan.base, plan.wide
    hidden = [Part("hidden", old.hidden_dim, new.hidden_dim)]
    query = Part("query", old.attn_dim, new.attn_dim)
    key, value = (Part(name, old.kv_dim, new.kv_dim) for name in ("key", "value"))
    # Every query head mixes the values of one value head.
    mixed = value if old.kv_dim == old.attn_dim else Part("mixed", old.attn_dim, new.attn_dim)
    inner = Part("ffn", old.ffn_dim, new.ffn_dim)
    for name, count in (("wte", old.vocab_size), ("wpe", old.block_size), ("lm_head", None)):
        if f"{name}.weight" not in weights:
            continue
        names = {"weight": f"{name}.weight"}
        if count is None:
            vocabulary = [Part("fixed", old.vocab_size, old.vocab_size)]
            yield _Map(DenseProjection, names, None, vocabulary, [], hidden)
        else:  # A row for each token or position, which is read as one feature.
            entries = [Part("fixed", count, count)]
            yield _Map(DenseProjection, names, None, hidden, [], entries, transposed=True)
    for layer, ffns in enumerate(zip(layer_ffns(old), layer_ffns(new), strict=True)):
        prefix = f"layers.{layer}."
        for name, out, into in (
            ("attention.qkv_linear", [query, key, value], hidden),
            ("attention.o_linear", hidden, [mixed]),
        ):
            names = {"weight": f"{prefix}{name}.weight"}
            bias = _present(f"{prefix}{name}.bias", weights)
            yield _Map(DenseProjection, names, bias, out, [], into)
        # SwiGLU's gate and value are two projections in one.
        wide = [inner] * (old.ffn_shapes[0][1] // old.ffn_dim)
        for side, (name, out, into) in enumerate(
            (("mlp.fc1", wide, hidden), ("mlp.fc2", hidden, [inner]))
        ):
            own = [n for n in weights if n.startswith(f"{prefix}{name}.")]
            names = {n.rpartition(".")[2]: n for n in own if not n.endswith(".bias")}
            bias = _present(f"{prefix}{name}.bias", weights)
            factors = _inner_parts(old, new, ffns, side)
            yield _Map(projection_class(ffns[0].kind), names, bias, out, factors, into)


def _present(name: str, weights: Mapping[str, Tensor]) -> str | None:
    return name if name in weights else None


def _inner_parts(
    old: ModelConfig, new: ModelConfig, ffns: tuple[FFNConfig, FFNConfig], side: int
) -> list[Part]:
    """Return the features between the factors of fc1 (`side` 0) or fc2, if there are two."""
    before, after = (
        ffn.row.inner(*model.ffn_shapes[side], ffn.sizes)
        for model, ffn in zip((old, new), ffns, strict=True)
    )
    return [Part(f"fc{side + 1}", before, after)] if before else []


@dataclass(frozen=True)
class Origins:
    """An axis whose features come from single ones of the base.

    `origin` (features,) is the base feature that each copies, or -1 for a new one. `share`
    (features,) is the weight with which each is read where its copies are read together. New
    features may be read with any weight where they are `silent`, which is to say hold 0 at first;
    where they are `unwritten` nothing writes them yet.
    """

    origin: Tensor
    share: Tensor
    silent: bool = False
    unwritten: bool = False

    @property
    def new(self) -> Tensor:
        """True for each feature that copies none."""
        return self.origin < 0


def placed(parts: Sequence[Part], silent: bool = False, unwritten: bool = False) -> Origins:
    """Return an axis each of whose parts begins with the base's features."""
    origins, offset = [], 0
    for part in parts:
        origins += [offset + torch.arange(part.old), torch.full((part.new - part.old,), -1)]
        offset += part.old
    origin = torch.cat(origins)
    return Origins(origin, torch.ones(len(origin), dtype=torch.float64), silent, unwritten)


def copied(parts: Sequence[Part], alpha: float | None = None) -> Origins:
    """Return an axis each of whose parts repeats the base's features as a whole.

    `alpha` is the weight of the first copy; the others share the rest. Without it all are equal.
    """
    origins, shares, offset = [], [], 0
    for part in parts:
        copies = part.new // part.old
        first = 1 / copies if alpha is None or copies == 1 else alpha
        rest = [(1 - first) / (copies - 1)] * (copies - 1) if copies > 1 else []
        share = torch.tensor([first, *rest], dtype=torch.float64)
        origins.append((offset + torch.arange(part.old)).repeat(copies))
        shares.append(share.repeat_interleave(part.old))
        offset += part.old
    return Origins(torch.cat(origins), torch.cat(shares))


def grown_matrix(old: Tensor, out: Origins, into: Origins, held: Tensor, fresh: Tensor) -> Tensor:
    """Return a matrix that gives the features of the base what the base's matrix gives them.

    Copies of an input are read with weights that sum to 1 over those that the structure holds.
    What reads new features that are not silent, or writes features that are to be unwritten, is 0;
    all else that is new is fresh.
    """
    weights = held * torch.where(into.new, 0, into.share)
    sums = torch.zeros(len(held), old.shape[1], dtype=held.dtype)
    sums.index_add_(1, into.origin.clamp(min=0), weights)
    parts = weights / sums[:, into.origin].clamp(min=torch.finfo(held.dtype).tiny)
    none = torch.zeros_like(fresh)
    kept = old[out.origin][:, into.origin] * parts
    rows = torch.where(into.new, fresh if into.silent else none, kept)
    return held * torch.where(out.new[:, None], none if out.unwritten else fresh, rows)


def copied_norm(plan: GrowthPlan, name: str, old: Tensor, hidden: Origins) -> Tensor:
    """Return the gain or bias of a norm over copied features."""
    # A tied head cannot read with other weights than those that the embedding writes.
    tied = plan.base.tie_embeddings and name.startswith("ln_f.")
    return old[hidden.origin] * hidden.share if tied else old[hidden.origin]
