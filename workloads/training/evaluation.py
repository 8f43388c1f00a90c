"""The texts of a run: what it trains on, and what its losses are evaluated on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernels.cross_entropy import Reduction
from workloads.config.fingerprint import identity
from workloads.config.run import RunConfig
from workloads.data.comparable import require_comparable
from workloads.data.dataset import OpenText, TokenDataset
from workloads.data.loader import IGNORED, eval_batches, eval_targets
from workloads.data.manifest import DataError
from workloads.run_dir.metrics_log import Row
from workloads.training import parallel

# Tokens of a held-out text whose bytes are counted, at most, and those that are decoded at once.
COUNTED_TOKENS = 2**23
DECODED_TOKENS = 2**20


@dataclass(frozen=True)
class HeldOut:
    """A held-out text: so many first tokens of a dataset's validation split.

    It is part of the main validation loss, or an evaluation set beside it. A dataset that is the
    only one of the main loss has no name. `bytes_per_token` are UTF-8 bytes a token over the tokens
    that the loss is of, None where they are not known: a loss in nats per token is
    `loss / ln(2) / bytes_per_token` bits per byte.
    """

    name: str
    dataset: TokenDataset
    tokens: int
    in_main: bool
    bytes_per_token: float | None


@dataclass(frozen=True)
class Evaluated:
    """The loss on a held-out text: nats in all, and the tokens that they are of."""

    text: HeldOut
    nats: float
    tokens: float


@dataclass(frozen=True)
class RunTexts:
    """The opened texts of a run: the one that it trains on, and evaluation sets by name."""

    data: OpenText
    eval_sets: Mapping[str, TokenDataset]

    def identity(self, config: RunConfig) -> dict[str, Any]:
        """Return all that changes the result of a run on these texts."""
        prints = {name: dataset.fingerprint for name, dataset in self.eval_sets.items()}
        return identity(config, self.data.fingerprint, prints)

    def require(self, config: RunConfig) -> None:
        """Raise InputError where the model cannot read one of the texts, or their losses would say
        nothing."""
        for name, dataset in self.data.sources.items():
            config.require_text(
                dataset.size, dataset.row_tokens, name=f"data.sources.{name}" if name else "data"
            )
        for name, dataset in self.eval_sets.items():
            config.require_text(
                dataset.size, dataset.row_tokens, ("val",), name=f"eval_sets.{name}"
            )
        require_comparable(self.data.sources, self.eval_sets)

    def held_out(self, config: RunConfig) -> list[HeldOut]:
        """Return what is evaluated: `eval_tokens` in equal parts of the text's sources, and as many
        of each evaluation set. The bytes of their tokens are counted, in seconds at most.

        Raises DataError where a text's tokenizer has not the ids of its tokens.
        """
        sources, each_set = self.data.sources, config.eval_tokens
        share = each_set // len(sources)
        parts = [(name, dataset, share, True) for name, dataset in sources.items()]
        parts += [(name, dataset, each_set, False) for name, dataset in self.eval_sets.items()]
        block_size = config.model.block_size
        return [
            HeldOut(name, dataset, tokens, in_main, _counted(dataset, block_size, tokens))
            for name, dataset, tokens, in_main in parts
        ]


def _counted(dataset: TokenDataset, block_size: int, eval_tokens: int) -> float | None:
    """Return the UTF-8 bytes of a token over a dataset's evaluation slice; over its validation
    split where its tokenizer is not at hand."""
    if not (tokenizer := dataset.tokenizer):
        return dataset.bytes_per_token
    targets = eval_targets(dataset.split("val"), block_size, eval_tokens, COUNTED_TOKENS)
    parts = np.split(targets, range(DECODED_TOKENS, targets.size, DECODED_TOKENS))
    try:
        return sum(map(tokenizer.text_bytes, parts)) / targets.size
    except ValueError as error:
        raise DataError(
            f"{dataset.directory}: {error}; name the tokenizer that made its tokens"
        ) from None


def evaluated(
    text: HeldOut,
    config: RunConfig,
    loss: Callable[[Tensor, Tensor, Reduction], Tensor],
    device: torch.device,
) -> Evaluated:
    """Return the loss on one held-out text, over all workers, each of which evaluates its part.

    `loss` is that of inputs and targets, reduced as it is told.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    batches = eval_batches(
        text.dataset.split("val"),
        config.model.block_size,
        config.runtime.micro_batch_size,
        text.tokens,
        parallel.rank(),
        parallel.world_size(),
    )
    for inputs, targets in batches:
        sums[0] += loss(inputs, targets, "sum")
        sums[1] += (targets != IGNORED).sum()
    total, count = parallel.sum_over_workers(sums).tolist()
    return Evaluated(text, total, count)


def loss_metrics(found: Sequence[Evaluated]) -> Row:
    """Return the losses by the names of their metrics: nats per token as `val_loss`, and as
    `bits_per_byte` where the bytes of all texts are known.

    The main loss is over all tokens of the texts in it; each text with a name has its own beside
    it, as `val_loss/NAME`.
    """
    row = _losses([each for each in found if each.text.in_main])
    for each in found:
        if each.text.name:
            row |= {f"{key}/{each.text.name}": loss for key, loss in _losses([each]).items()}
    return row


def _losses(found: Sequence[Evaluated]) -> Row:
    tokens = sum(each.tokens for each in found)
    row = {"val_loss": sum(each.nats for each in found) / tokens}
    if bytes_per_token := _bytes_per_token(found, tokens):
        row["bits_per_byte"] = row["val_loss"] / math.log(2) / bytes_per_token
    return row


def _bytes_per_token(found: Sequence[Evaluated], tokens: float) -> float | None:
    known = [each.text.bytes_per_token for each in found]
    if len(known) == 1:
        return known[0]
    if None in known:
        return None
    return sum(size * each.tokens for size, each in zip(known, found, strict=True) if size) / tokens
