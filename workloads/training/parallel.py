"""Workers of one run: who they are, and how a model is spread over them.

Without a process group a run has one worker. The caller that sets up a group (Ray Train, torchrun)
decides the number of workers; each trains on its rows of every global batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

from workloads.config.run import RunConfig
from workloads.nn.self_guided import guided_projections
from workloads.nn.transformer import Block, Transformer

# How workers with CUDA devices talk: of what lies in CPU memory, and of what is on the devices.
BACKENDS = "cpu:gloo,cuda:nccl"
# Variants of the compiled code of a layer that torch keeps (`_compile_layers`).
COMPILED_VARIANTS = 32


def rank() -> int:
    """Return this worker's number; worker 0 is the one that writes files."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of workers."""
    return dist.get_world_size() if dist.is_initialized() else 1


def micro_batches(config: RunConfig) -> list[range]:
    """Return this worker's rows of each global batch, in micro-batches of equal size.

    Raises Misfit where the batch does not divide into them.
    """
    workers = world_size()
    micro = config.require_micro_batch(workers)
    rows = config.batch_size // workers
    first = rank() * rows
    return [range(start, start + micro) for start in range(first, first + rows, micro)]


def wait_for_all() -> None:
    """Wait until every worker has called this."""
    if world_size() > 1:
        dist.barrier()


def sum_over_workers(tensor: Tensor) -> Tensor:
    """Return the sum of all workers' tensors, on each worker; `tensor` is overwritten by it."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def from_first(values: list[float], device: torch.device) -> list[float]:
    """Return the first worker's numbers, on each worker."""
    if world_size() == 1:
        return values
    told = torch.tensor(values, dtype=torch.float64, device=device)
    dist.broadcast(told, src=0)
    return told.tolist()


@contextmanager
def group(config: RunConfig, device: torch.device) -> Iterator[None]:
    """Hold a process group of this worker alone, where its weights are shards and there is none."""
    if config.runtime.offload != "all" or dist.is_initialized():
        yield
        return
    backend = BACKENDS if device.type == "cuda" else "gloo"
    store = dist.HashStore()  # type: ignore[reportPrivateImportUsage]  # torch documents it here
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def parallelize(model: Transformer, config: RunConfig, device: torch.device) -> nn.Module:
    """Move the model to the device and prepare it in place as `config.runtime` says; spread it over
    workers.

    Returns the module to call in place of the model, whose parameter names stay as they are.
    """
    runtime = config.runtime
    if runtime.parameters == "bf16":
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16()
    if runtime.offload != "all" and model.device != device:
        model.to(device)  # Shards move layer by layer: all weights may not fit there.
    _switch(model, config)
    if runtime.compiles_on_cuda and (device.type == "cuda" or runtime.compile):
        _compile_layers(model)
    return _spread(model, config, device)


def _switch(model: Transformer, config: RunConfig) -> None:
    """Set what the layers keep from the forward pass, and where."""
    runtime = config.runtime
    recomputed = runtime.recomputed_layers(len(model.layers))
    model.inputs_on_cpu = runtime.layer_inputs == "cpu"
    for index, layer in enumerate(model.layers):
        assert isinstance(layer, Block)
        layer.recompute = runtime.recompute if index in recomputed else "nothing"
        layer.mlp.tile_tokens = runtime.ffn_tile_tokens


def _spread(model: Transformer, config: RunConfig, device: torch.device) -> nn.Module:
    offloads = config.runtime.offload == "all"
    if world_size() == 1 and not offloads:
        return model
    if config.runtime.parallel == "fsdp":
        mesh = init_device_mesh(device.type, (world_size(),))
        pinned = device.type == "cuda"
        policy = CPUOffloadPolicy(pin_memory=pinned) if offloads else OffloadPolicy()
        for layer in model.layers:
            fully_shard(layer, mesh=mesh, offload_policy=policy)
        # The rest, too, is sharded again after a forward pass. An evaluation would otherwise leave
        # it whole, and a checkpoint would find other parameters than the optimizer's.
        fully_shard(model, mesh=mesh, reshard_after_forward=True, offload_policy=policy)
        return model
    guide = config.model.guide
    skips = guide is not None and guide.reduce_flops and bool(guided_projections(model))
    return DistributedDataParallel(model, forward_sync_buffers=False, find_unused_parameters=skips)


def _compile_layers(model: Transformer) -> None:
    """Compile layer by layer: whole models with guides that draw whether they run would come in
    2^layers variants."""
    # Layers share their code, and it has a variant for each of: dense, guided by either
    # projection, both or none, unguided; in training and in evaluation. The default holds 8.
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.config.recompile_limit = max(COMPILED_VARIANTS, limit)
    for layer in model.layers:
        layer.compile()


def accumulating(network: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which a backward pass does not average gradients over workers.

    Shards are averaged all the same: whole gradients are what sharding has no memory for.
    """
    if isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return nullcontext()
