"""The paper's public model and its training step once more, from their definition (arXiv
2406.16450 and its code's tensor names), as functions of a state dict in plain torch.

Nothing here comes from `workloads`: sizes are read off the tensors or given in `Shape`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """A model of the public implementation. `gelu` is exact, or its own tanh approximation."""

    kind: Literal["linear", "lowrank", "blockdense", "blockshuffle"] = "linear"
    rank: int = 5
    nblocks: int = 3
    first_layer: bool = True  # The first FFN stays dense.
    vocab_size: int = 37
    max_positions: int = 11
    num_layers: int = 3
    hidden_dim: int = 18
    ffn_dim: int = 45
    attn_dim: int = 18
    num_q_heads: int = 3
    num_kv_heads: int = 3
    tied: bool = True
    act: Literal["gelu", "swiglu"] = "gelu"
    gelu: Literal["none", "tanh"] = "none"
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    bias: bool = True
    position: Literal["rope", "absolute"] = "rope"
    rotary_base: float = 10_000.0
    interpolation: float | None = None
    inverse_layer_scale: bool = False
    guided: bool = False

    @property
    def head_dim(self) -> int:
        return self.attn_dim // self.num_q_heads


def random_state(shape: Shape, std: float = 0.15) -> State:
    """Weights around 0, norms' around 1; no tensor at a special value. Guides start afresh."""
    sizes: dict[str, tuple[int, ...]] = {
        "model.wte.weight": (shape.vocab_size, shape.hidden_dim),
        "model.ln_f.weight": (shape.hidden_dim,),
    }
    if shape.position == "absolute":
        sizes["model.wpe.weight"] = (shape.max_positions, shape.hidden_dim)
    for layer in range(shape.num_layers):
        prefix = f"model.layers.{layer}."
        qkv = shape.attn_dim + 2 * shape.num_kv_heads * shape.head_dim
        sizes |= {
            prefix + "ln1.weight": (shape.hidden_dim,),
            prefix + "ln2.weight": (shape.hidden_dim,),
            prefix + "qkv_linear.weight": (qkv, shape.hidden_dim),
            prefix + "o_linear.weight": (shape.hidden_dim, shape.attn_dim),
        }
        if shape.bias:
            sizes |= {
                prefix + "qkv_linear.bias": (qkv,),
                prefix + "o_linear.bias": (shape.hidden_dim,),
            }
        wide = shape.ffn_dim * (2 if shape.act == "swiglu" else 1)
        dense = shape.first_layer and layer == 0
        for name, n, m in (
            ("mlp.fc1.", shape.hidden_dim, wide),
            ("mlp.fc2.", shape.ffn_dim, shape.hidden_dim),
        ):
            inner = projection_sizes(shape, n, m, dense)
            sizes |= {f"{prefix}{name}{leaf}": size for leaf, size in inner.items()}
    if shape.norm == "layernorm":  # It has its bias whatever the linear layers have.
        norms = [name for name in sizes if name.split(".")[-2].startswith("ln")]
        sizes |= {name.replace("weight", "bias"): (shape.hidden_dim,) for name in norms}
    state = {name: std * torch.randn(size) for name, size in sizes.items()}
    for name, value in state.items():
        if name.split(".")[-2].startswith("ln") and name.endswith("weight"):
            value += 1
        if name.endswith(".ratio"):
            value.fill_(1.0)
    state |= {n: torch.tensor(0) for n in state if n.endswith(".count")}
    head = state["model.wte.weight"]
    state["lm_head.weight"] = head if shape.tied else std * torch.randn_like(head)
    return state


def converted(state: State, dtype: torch.dtype) -> State:
    """The same values in another precision; a tied head stays tied."""
    new = {n: v.to(dtype) if v.is_floating_point() else v.clone() for n, v in state.items()}
    if state["lm_head.weight"] is state["model.wte.weight"]:
        new["lm_head.weight"] = new["model.wte.weight"]
    return new


def projection_sizes(shape: Shape, n: int, m: int, dense: bool) -> dict[str, tuple[int, ...]]:
    rank, blocks, narrow = shape.rank, shape.nblocks, min(n, m)
    sizes: dict[str, tuple[int, ...]]
    if dense or shape.kind == "linear":
        sizes = {"weight": (m, n)}
    elif shape.kind == "lowrank":
        sizes = {"lr1": (rank, n), "lr2": (m, rank)}
    elif shape.kind == "blockdense":
        sizes = {"blkdiag": (blocks, rank // blocks, n // blocks), "lr": (m, rank)}
    else:
        sizes = {
            "blkdiag1": (blocks, narrow // blocks, n // blocks),
            "blkdiag2": (blocks, m // blocks, narrow // blocks),
        }
    if shape.bias:
        sizes["bias"] = (m,)
    if shape.guided and "weight" not in sizes:
        sizes |= {"guide_linear": (m, n), "count": (), "ratio": ()}
    return sizes


# Forward


def logits(shape: Shape, state: State, tokens: Tensor) -> Tensor:
    x = state["model.wte.weight"][tokens]
    if shape.position == "absolute":
        x = x + state["model.wpe.weight"][torch.arange(tokens.shape[1])]
    for layer in range(shape.num_layers):
        part = under(state, f"model.layers.{layer}.")
        x = x + attention(shape, part, norm(shape, under(part, "ln1."), x), layer)
        x = x + mlp(shape, under(part, "mlp."), norm(shape, under(part, "ln2."), x))
    return norm(shape, under(state, "model.ln_f."), x) @ state["lm_head.weight"].T


def loss(shape: Shape, state: State, tokens: Tensor, labels: Tensor) -> Tensor:
    scores = logits(shape, state, tokens)
    picked = scores.gather(-1, labels[..., None])[..., 0]
    return (scores.logsumexp(-1) - picked).mean()


def under(state: Mapping[str, Tensor], prefix: str) -> State:
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


def norm(shape: Shape, part: State, x: Tensor) -> Tensor:
    if shape.norm == "rmsnorm":
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * part["weight"]
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred * (centred.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    return scaled * part["weight"] + part["bias"]


def linear(part: State, x: Tensor) -> Tensor:
    y = x @ part["weight"].T
    return y + part["bias"] if "bias" in part else y


def attention(shape: Shape, part: State, x: Tensor, layer: int) -> Tensor:
    """Queries of all heads first, then keys, then values; consecutive queries share a key."""
    batch, time, _ = x.shape
    size, queries, groups = shape.head_dim, shape.num_q_heads, shape.num_kv_heads
    qkv = linear(under(part, "qkv_linear."), x)
    query = qkv[..., : queries * size].reshape(batch, time, queries, size)
    key = qkv[..., queries * size : (queries + groups) * size].reshape(batch, time, groups, size)
    value = qkv[..., (queries + groups) * size :].reshape(batch, time, groups, size)
    if shape.position == "rope":
        query, key = rope(shape, query), rope(shape, key)
    scale = 1 / math.sqrt(size)
    if shape.inverse_layer_scale:
        scale = scale / (layer + 1)
    future = torch.ones(time, time, dtype=torch.bool).triu(1)
    heads = []
    for head in range(queries):
        group = head * groups // queries
        scores = query[:, :, head] @ key[:, :, group].transpose(1, 2) * scale
        shares = scores.masked_fill(future, -math.inf).softmax(-1)
        heads.append(shares @ value[:, :, group])
    return linear(under(part, "o_linear."), torch.cat(heads, -1))


def rope(shape: Shape, x: Tensor) -> Tensor:
    """x (batch, time, heads, size), whose halves turn together; angles in fp32 throughout."""
    size = x.shape[-1]
    frequency = 1.0 / shape.rotary_base ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    position = torch.arange(x.shape[1], dtype=torch.float32)
    if shape.interpolation is not None:
        position = position * (1 / shape.interpolation)
    angle = torch.outer(position, frequency)[:, None, :]
    left, right = x[..., : size // 2], x[..., size // 2 :]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


def mlp(shape: Shape, part: State, x: Tensor) -> Tensor:
    inner = projection(under(part, "fc1."), x)
    if shape.act == "swiglu":
        gate, value = inner[..., : shape.ffn_dim], inner[..., shape.ffn_dim :]
        return projection(under(part, "fc2."), gate * torch.sigmoid(gate) * value)
    return projection(under(part, "fc2."), F.gelu(inner, approximate=shape.gelu))


def projection(part: State, x: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    count = len(rows)
    if "weight" in part:
        y = torch.mm(rows, part["weight"].T)
    elif "lr1" in part:
        y = torch.mm(torch.mm(rows, part["lr1"].T), part["lr2"].T)
    else:
        first = part["blkdiag"] if "blkdiag" in part else part["blkdiag1"]
        blocks, _, width = first.shape
        inner = torch.bmm(rows.reshape(count, blocks, width).transpose(0, 1), first.mT)
        inner = inner.transpose(0, 1).reshape(count, -1)
        if "blkdiag" in part:
            y = torch.mm(inner, part["lr"].T)
        else:
            second = part["blkdiag2"]
            dealt = inner.reshape(count, -1, len(second)).permute(2, 0, 1)
            y = torch.bmm(dealt, second.mT).permute(1, 2, 0).reshape(count, -1)
    if "guide_linear" in part:
        y = part["ratio"] * torch.mm(rows, part["guide_linear"].T) + (1.0 - part["ratio"]) * y
    y = y.reshape(*x.shape[:-1], -1)
    return y + part["bias"] if "bias" in part else y


# Training


@dataclass(frozen=True)
class Training:
    """AdamW with the paper's schedule over `steps`, of which the first are guided."""

    steps: int
    peak: float
    guided_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    clip: float = 1.0
    warmup: float = 0.1
    floor: float = 0.1

    def rate(self, step: int) -> float:
        warmup = int(self.warmup * self.steps)
        if step < warmup:
            return (step + 1) / warmup * self.peak
        low = self.floor * self.peak
        turn = math.pi * (step - warmup) / (self.steps - warmup)
        return low + (self.peak - low) * (1 + math.cos(turn)) / 2


def trainable(state: State) -> State:
    """The parameters, each once."""
    named = {n: v for n, v in state.items() if not n.endswith((".count", ".ratio"))}
    if named["lm_head.weight"] is named["model.wte.weight"]:
        del named["lm_head.weight"]
    return named


def gradients(
    shape: Shape, state: State, tokens: Tensor, labels: Tensor
) -> tuple[float, dict[str, Tensor]]:
    parameters = trainable(state)
    for value in parameters.values():
        value.requires_grad_()
    value = loss(shape, state, tokens, labels)
    grads = torch.autograd.grad(value, list(parameters.values()))
    return value.item(), dict(zip(parameters, grads, strict=True))


def train(
    shape: Shape, state: State, batches: list[tuple[Tensor, Tensor]], plan: Training, first: int
) -> list[float]:
    """One step a batch from step `first` on, moments fresh; changes `state`; the losses."""
    moments = {n: (torch.zeros_like(v), torch.zeros_like(v)) for n, v in trainable(state).items()}
    losses = []
    for number, (tokens, labels) in enumerate(batches, start=1):
        value, grads = gradients(shape, state, tokens, labels)
        losses.append(value)
        for name in [n for n in state if n.endswith(".count")]:
            state[name] += 1
            share = (1 + torch.cos(state[name] / plan.guided_steps * math.pi)) / 2
            state[name.replace("count", "ratio")] = share
        length = torch.stack([grad.norm() for grad in grads.values()]).norm()
        factor = min(1.0, plan.clip / (float(length) + 1e-6))
        rate = plan.rate(first + number - 1)
        with torch.no_grad():
            for name, parameter in trainable(state).items():
                mean, square = moments[name]
                grad = grads[name] * factor
                mean.mul_(plan.betas[0]).add_(grad * (1 - plan.betas[0]))
                square.mul_(plan.betas[1]).add_(grad.square() * (1 - plan.betas[1]))
                parameter.mul_(1 - rate * plan.weight_decay)
                upward = mean / (1 - plan.betas[0] ** number)
                spread = (square / (1 - plan.betas[1] ** number)).sqrt() + 1e-8
                parameter.sub_(rate * upward / spread)
    return losses
