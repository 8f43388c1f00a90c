"""How a run executes: batches in pieces, and where its numbers are kept while it trains."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from workloads.errors import Misfit
from workloads.schema.base import Config


class RuntimeConfig(Config):
    """How a run executes; nothing here changes its result beyond floating-point rounding."""

    micro_batch_size: PositiveInt = 16
    """Sequences of one forward pass, per worker."""
    log_interval: PositiveInt = 10
    """Optimizer steps between recorded rows."""
    eval_interval: PositiveInt = 100
    """Optimizer steps between evaluations."""
    checkpoint_interval: PositiveInt = 100
    """Optimizer steps between checkpoints."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Several workers hold a copy of the model each (`ddp`) or a shard (`fsdp`)."""
    compile: bool | None = None
    """Compile the model; left out, on CUDA devices, where neither `layer_inputs`, `ffn_tile_tokens`
    nor `offload` differs from its default."""
    activation_checkpointing: NonNegativeInt = 0
    """Recompute the activations of every k-th layer in the backward pass; of none at 0."""
    recompute: Literal["layer", "ffn"] = "layer"
    """What is recomputed of those layers: all, or the FFN alone."""
    layer_inputs: Literal["device", "cpu"] = "device"
    """Where the inputs of recomputed layers wait for the backward pass."""
    ffn_tile_tokens: NonNegativeInt = 0
    """The FFN takes so many tokens at a time, and recomputes them in the backward pass; all at
    once at 0."""
    parameters: Literal["fp32", "bf16"] = "fp32"
    """Type of the weights and gradients of passes. With `bf16` the optimizer updates fp32 copies of
    the weights."""
    offload: Literal["none", "optimizer", "all"] = "none"
    """What lies in CPU memory, where the optimizer then steps: nothing, the optimizer's state, or
    that with weights and gradients, in shards."""

    fit: Literal["auto"] | None = None
    """In a study file: choose micro-batch, recomputation, tiles, offloading and sharding of each
    point, the cheapest that its `hardware` holds."""

    def recomputed_layers(self, num_layers: int) -> range:
        """Return the indices of the layers whose activations the backward pass recomputes."""
        every = self.activation_checkpointing
        return range(0, num_layers, every) if every else range(0)

    @property
    def has_masters(self) -> bool:
        """True where the optimizer updates fp32 copies of the weights, not the weights."""
        return self.parameters == "bf16" or self.offload == "optimizer"

    @property
    def compiles_on_cuda(self) -> bool:
        """True where the model is compiled on CUDA devices."""
        plain = self.layer_inputs == "device" and not self.ffn_tile_tokens
        return plain and self.offload == "none" if self.compile is None else self.compile

    @model_validator(mode="after")
    def _switches_fit_together(self) -> Self:
        if self.layer_inputs == "cpu" and not self.recomputes_layers:
            raise Misfit(
                "layer_inputs: cpu keeps the inputs of layers that are recomputed whole; set "
                "activation_checkpointing: 1 and recompute: layer",
                "layer_inputs",
            )
        if self.recompute == "ffn" and not self.activation_checkpointing:
            raise Misfit(
                "recompute: ffn says what is recomputed of the layers that "
                "activation_checkpointing names; set activation_checkpointing: 1",
                "recompute",
            )
        if self.offload == "all" and self.parallel != "fsdp":
            raise Misfit(
                "offload: all keeps the weights in shards, of one worker too; set parallel: fsdp",
                "offload",
            )
        return self

    @property
    def recomputes_layers(self) -> bool:
        """True where layers are recomputed whole."""
        return bool(self.activation_checkpointing) and self.recompute == "layer"
