"""Models between the presets: the same depth, every width multiplied."""

from __future__ import annotations

import math

from workloads.config.model import ModelConfig
from workloads.errors import Misfit

# Widths are written with few digits: 0.6667 is two thirds.
ROUNDED = 1e-4


def scale(model: ModelConfig, width: float) -> ModelConfig:
    """Return the dense model with `hidden_dim`, `ffn_dim` and `attn_dim` times `width`.

    Heads keep their size, and share keys and values as before, where that divides. Elsewhere the
    number of heads is the nearest one that divides and leaves heads of half to twice their size.
    Raises Misfit, with the nearest width that keeps heads, where there is none, or where a size
    would not be whole.
    """
    if width == 1:
        return model
    sizes = {name: getattr(model, name) for name in ("hidden_dim", "ffn_dim", "attn_dim")}
    unit = math.gcd(*sizes.values())
    multiple = round(width * unit)
    if multiple < 1 or not math.isclose(width * unit, multiple, rel_tol=ROUNDED):
        wrong = ", ".join(f"{name} {width * size:g}" for name, size in sizes.items())
        raise _error(model, width, unit, f"makes {wrong}, which must be whole")
    scaled = {name: size // unit * multiple for name, size in sizes.items()}
    heads = _heads(model, scaled["attn_dim"])
    if heads is None:
        problem = f"leaves no heads of about {model.head_dim} in attn_dim {scaled['attn_dim']}"
        raise _error(model, width, unit, problem)
    return ModelConfig.model_validate(model.model_dump() | scaled | heads)


def _heads(model: ModelConfig, attn_dim: int) -> dict[str, int] | None:
    """Return how many heads an attention of `attn_dim` has for queries and for keys, or None."""
    even = 2 if model.position == "rope" else 1
    possible = [
        n
        for n in range(1, attn_dim + 1)
        if attn_dim % (n * even) == 0 and 0.5 <= attn_dim / n / model.head_dim <= 2
    ]
    if not possible:
        return None
    heads = min(possible, key=lambda n: abs(n - attn_dim / model.head_dim))
    shared = heads * model.num_kv_heads / model.num_heads
    divisors = [n for n in range(1, heads + 1) if heads % n == 0]
    return {"num_heads": heads, "num_kv_heads": min(divisors, key=lambda n: abs(n - shared))}


def _error(model: ModelConfig, width: float, unit: int, problem: str) -> Misfit:
    """Return the error, with the nearest width at which sizes are whole and heads keep theirs."""
    heads = model.num_heads
    most = 2 * heads * math.ceil(max(1.0, width))
    fitting = [n / heads for n in range(1, most) if unit * n % heads == 0]
    nearest = min(fitting, key=lambda fits: abs(fits - width))
    return Misfit(
        f"width {width:g} {problem}; the nearest that keeps heads is {nearest:.4g}", "width"
    )
