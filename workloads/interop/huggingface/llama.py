"""`LlamaForCausalLM`: RMSNorm, SwiGLU, grouped queries and RoPE, with or without biases."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, PositiveFloat, PositiveInt

from workloads.config.model import ModelConfig
from workloads.interop.huggingface.architecture import Architecture, Place, linear_places


class Llama(Architecture):
    """The config.json and the tensors of `LlamaForCausalLM`."""

    name: ClassVar[str] = "LlamaForCausalLM"
    known_as: ClassVar[str] = "llama"
    rope_keys: ClassVar[tuple[str, str]] = ("rope_theta", "partial_rotary_factor")
    head: ClassVar[str] = "lm_head.weight"

    hidden_act: str = "silu"
    num_key_value_heads: PositiveInt | None = None
    head_dim: PositiveInt | None = None
    rms_norm_eps: PositiveFloat = 1e-6
    rope_theta: PositiveFloat = 10_000.0
    partial_rotary_factor: Annotated[float, Field(exclude=True)] = 1.0
    attention_bias: bool = False
    mlp_bias: bool = False

    @classmethod
    def has(cls, model: ModelConfig) -> dict[str, tuple[Any, ...]]:
        whole = max(1, round(model.hidden_dim / model.num_heads)) * model.num_heads
        return {"activation": ("swiglu",), "norm": ("rmsnorm",), "hidden_dim": (whole,)}

    @classmethod
    def of(cls, model: ModelConfig) -> Self:
        return cls(
            **cls.shared(model),
            num_key_value_heads=model.num_kv_heads,
            head_dim=model.head_dim,
            rms_norm_eps=model.norm_eps,
            attention_bias=model.bias,
            mlp_bias=model.bias,
        )

    def readable(self) -> dict[str, tuple[Any, ...]]:
        return {
            "hidden_act": ("silu",),
            "partial_rotary_factor": (1.0,),
            "quantization_config": (None,),
        }

    def options(self) -> dict[str, Any]:
        return {
            "norm": "rmsnorm",
            "activation": "swiglu",
            "norm_eps": self.rms_norm_eps,
            "num_kv_heads": self._kv_heads,
            "attn_dim": self._head_dim * self.num_attention_heads,
        }

    @property
    def biased(self) -> bool:
        return self.attention_bias or self.mlp_bias

    def places(self) -> Iterator[tuple[str, Place]]:
        yield "model.embed_tokens.weight", Place("wte.weight")
        for layer in range(self.num_hidden_layers):
            yield from self._layer_places(f"model.layers.{layer}", f"layers.{layer}")
        yield "model.norm.weight", Place("ln_f.weight")
        if not self.tie_word_embeddings:
            yield self.head, Place("lm_head.weight")

    def _layer_places(self, theirs: str, ours: str) -> Iterator[tuple[str, Place]]:
        queries = self._head_dim * self.num_attention_heads
        keys, inner = self._head_dim * self._kv_heads, self.intermediate_size
        attention = {
            "q_proj": slice(queries),
            "k_proj": slice(queries, queries + keys),
            "v_proj": slice(queries + keys, queries + 2 * keys),
        }
        for name, rows in attention.items():
            place = (f"{theirs}.self_attn.{name}", f"{ours}.attention.qkv_linear")
            yield from linear_places(*place, rows, self.attention_bias)
        place = (f"{theirs}.self_attn.o_proj", f"{ours}.attention.o_linear")
        yield from linear_places(*place, slice(None), self.attention_bias)
        ffn = {
            "gate_proj": ("fc1", slice(inner)),
            "up_proj": ("fc1", slice(inner, 2 * inner)),
            "down_proj": ("fc2", slice(None)),
        }
        for name, (projection, rows) in ffn.items():
            place = (f"{theirs}.mlp.{name}", f"{ours}.mlp.{projection}")
            yield from linear_places(*place, rows, self.mlp_bias)
        yield f"{theirs}.input_layernorm.weight", Place(f"{ours}.ln1.weight")
        yield f"{theirs}.post_attention_layernorm.weight", Place(f"{ours}.ln2.weight")

    @property
    def _kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def _head_dim(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads
