"""`GPTNeoXForCausalLM`: LayerNorm, GELU and RoPE, the architecture of the paper's models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import torch
from pydantic import PositiveFloat

from workloads.config.model import ModelConfig
from workloads.interop.huggingface.architecture import Architecture, Place, linear_places

# The activation here of each name there; the first of each is the one that is written.
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
}


class GPTNeoX(Architecture):
    """The config.json and the tensors of `GPTNeoXForCausalLM`.

    Its norms and FFNs always have biases: those that a model here lacks are zeros there.
    """

    name: ClassVar[str] = "GPTNeoXForCausalLM"
    known_as: ClassVar[str] = "gpt_neox"
    rope_keys: ClassVar[tuple[str, str]] = ("rotary_emb_base", "rotary_pct")
    head: ClassVar[str] = "embed_out.weight"
    aliases: ClassVar[Mapping[str, str]] = {"lm_head.weight": "embed_out.weight"}

    hidden_act: str = "gelu"
    layer_norm_eps: PositiveFloat = 1e-5
    rotary_emb_base: PositiveFloat = 10_000.0
    rotary_pct: float = 0.25
    use_parallel_residual: bool = True
    attention_bias: bool = True
    hidden_dropout: float = 0.0

    @classmethod
    def has(cls, model: ModelConfig) -> dict[str, tuple[Any, ...]]:
        return {
            "norm": ("layernorm",),
            "activation": ("gelu", "gelu_tanh"),
            "num_kv_heads": (model.num_heads,),
            "attn_dim": (model.hidden_dim,),
        }

    @classmethod
    def of(cls, model: ModelConfig) -> Self:
        names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
        return cls(
            **cls.shared(model),
            hidden_act=names[model.activation],
            layer_norm_eps=model.norm_eps,
            rotary_pct=1.0,
            use_parallel_residual=False,
            attention_bias=model.bias,
            hidden_dropout=model.dropout,
        )

    def readable(self) -> dict[str, tuple[Any, ...]]:
        return {
            "use_parallel_residual": (False,),
            "rotary_pct": (1.0,),
            "hidden_act": tuple(ACTIVATIONS),
            "quantization_config": (None,),
        }

    def options(self) -> dict[str, Any]:
        return {
            "norm": "layernorm",
            "activation": ACTIVATIONS[self.hidden_act],
            "norm_eps": self.layer_norm_eps,
            "dropout": self.hidden_dropout,
        }

    @property
    def biased(self) -> bool:
        return self.attention_bias

    def places(self) -> Iterator[tuple[str, Place]]:
        everything = slice(None)
        yield "gpt_neox.embed_in.weight", Place("wte.weight")
        for layer in range(self.num_hidden_layers):
            theirs, ours = f"gpt_neox.layers.{layer}", f"layers.{layer}"
            attention = {
                "query_key_value": ("qkv_linear", self._by_head()),
                "dense": ("o_linear", everything),
            }
            for name, (linear, rows) in attention.items():
                place = (f"{theirs}.attention.{name}", f"{ours}.attention.{linear}")
                yield from linear_places(*place, rows, self.attention_bias)
            always = {
                "mlp.dense_h_to_4h": "mlp.fc1",
                "mlp.dense_4h_to_h": "mlp.fc2",
                "input_layernorm": "ln1",
                "post_attention_layernorm": "ln2",
            }
            for name, module in always.items():
                place = (f"{theirs}.{name}", f"{ours}.{module}")
                yield from linear_places(*place, everything, bias=True)
        yield from linear_places("gpt_neox.final_layer_norm", "ln_f", everything, bias=True)
        if not self.tie_word_embeddings:
            yield self.head, Place("lm_head.weight")

    def _by_head(self) -> torch.Tensor:
        """Return the rows of `qkv_linear` in the order there: query, key and value, head by
        head."""
        rows = torch.arange(3 * self.hidden_size).view(3, self.num_attention_heads, -1)
        return rows.transpose(0, 1).flatten()
