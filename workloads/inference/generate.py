"""Continue prompts with a trained model: greedy or sampled, many at once, with a KV cache.

Prompts of different lengths share a batch, and each is continued as if it were alone: its positions
and what it sees are the same, and its logits are equal to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from workloads.config.model import ModelConfig
from workloads.errors import InputError
from workloads.nn.kv_cache import KVCache
from workloads.nn.transformer import Transformer


@torch.no_grad()
def generate(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
) -> list[list[int]]:
    """Return the `max_new_tokens` token ids that follow each prompt, without the prompt.

    At temperature 0 each token is the likeliest. Above, it is drawn from softmax(logits /
    temperature), with `top_k` among that many likeliest. The draws depend on `seed` alone: the
    same call on the same device gives the same ids. Raises InputError where a prompt does not fit
    the model.
    """
    _check(model.config, prompts, max_new_tokens, temperature, top_k)
    if not prompts:
        return []
    device = model.device
    generator = torch.Generator(device).manual_seed(seed)
    longest = max(map(len, prompts))
    tokens = torch.tensor([[*p, *[0] * (longest - len(p))] for p in prompts], device=device)
    counts = torch.tensor([len(prompt) for prompt in prompts], device=device)
    # The last new token is not read again.
    cache = new_cache(model, len(prompts), longest + max_new_tokens - 1)
    new: list[Tensor] = []
    with _evaluating(model):
        for _ in range(max_new_tokens):
            logits = next_logits(model, tokens, counts, cache)
            if temperature == 0:
                chosen = logits.argmax(dim=-1)
            else:
                chosen = _sample(logits.float() / temperature, top_k, generator)
            new.append(chosen)
            tokens, counts = chosen[:, None], torch.ones_like(counts)
    return torch.stack(new, dim=1).tolist()


def new_cache(model: Transformer, batch: int, max_time: int) -> KVCache:
    """Return an empty cache on the model's device and in the type that it computes in."""
    return KVCache(model.config, batch, max_time, model.device, model.compute_dtype)


def next_logits(model: Transformer, tokens: Tensor, counts: Tensor, cache: KVCache) -> Tensor:
    """Read the first `counts` (batch,) of each row of `tokens` (batch, time), after what the
    cache holds, and return the logits (batch, vocab_size) of what follows each row."""
    features = model.features(tokens, cache)
    cache.advance(counts)
    rows = torch.arange(len(tokens), device=tokens.device)
    return model.logits(features[rows, counts - 1])


def _sample(logits: Tensor, top_k: int | None, generator: torch.Generator) -> Tensor:
    """Draw one token id for each row of logits (batch, vocab_size)."""
    if top_k is None:
        return torch.multinomial(logits.softmax(-1), 1, generator=generator).squeeze(-1)
    best, ids = logits.topk(top_k)
    drawn = torch.multinomial(best.softmax(-1), 1, generator=generator)
    return ids.gather(-1, drawn).squeeze(-1)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode within, and restore every module's own mode after."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _check(
    config: ModelConfig,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
) -> None:
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}; ask for 1 or more")
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature is {temperature:g}; give 0 for greedy, or a positive number")
    if top_k is not None and not 1 <= top_k <= config.vocab_size:
        raise InputError(
            f"top_k is {top_k}; give 1 to {config.vocab_size}, the model's vocab_size, or none"
        )
    for number, prompt in enumerate(prompts):
        _check_prompt(config, f"prompt {number}", prompt, max_new_tokens)


def _check_prompt(
    config: ModelConfig, name: str, prompt: Sequence[int], max_new_tokens: int
) -> None:
    if len(prompt) == 0:
        raise InputError(f"{name} is empty; give at least one token, such as the end-of-text one")
    for token in prompt:
        if not 0 <= token < config.vocab_size:
            raise InputError(
                f"{name} has token id {token}, and the model's ids are 0 to "
                f"{config.vocab_size - 1}; encode it with the model's own tokenizer"
            )
    if len(prompt) + max_new_tokens > config.block_size:
        raise InputError(
            f"{name} has {len(prompt)} tokens, with {max_new_tokens} new ones "
            f"{len(prompt) + max_new_tokens}: more than the model's block_size "
            f"{config.block_size}; shorten it, or ask for fewer new tokens"
        )
