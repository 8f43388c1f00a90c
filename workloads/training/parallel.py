"""Workers of one run: who they are, and how a model is spread over them.

Without a process group a run has one worker. The caller that sets up a group (Ray Train, torchrun)
decides the number of workers; each trains on its rows of every global batch.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from workloads.config.run import RunConfig
from workloads.nn.self_guided import guided_projections
from workloads.nn.transformer import Transformer

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


def parallelize(model: Transformer, config: RunConfig, device: torch.device) -> nn.Module:
    """Prepare the model's layers in place as `config.runtime` says, and spread it over workers.

    Returns the module to call in place of the model, whose parameter names stay as they are.
    """
    runtime = config.runtime
    recomputed = runtime.recomputed_layers(config.model.num_layers)
    for index, layer in enumerate(model.layers):
        layer.recompute = index in recomputed  # type: ignore[assignment]  # a Block
    if device.type == "cuda" if runtime.compile is None else runtime.compile:
        _compile_layers(model)
    if world_size() == 1:
        return model
    if runtime.parallel == "fsdp":
        mesh = init_device_mesh(device.type, (world_size(),))
        for layer in model.layers:
            fully_shard(layer, mesh=mesh)
        # The rest, too, is sharded again after a forward pass. An evaluation would otherwise leave
        # it whole, and a checkpoint would find other parameters than the optimizer's.
        fully_shard(model, mesh=mesh, reshard_after_forward=True)
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
