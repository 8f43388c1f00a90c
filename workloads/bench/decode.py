"""What decoding costs with a dense, a structured and a pre-merged FFN, and the crossover.

The crossover is measured first: one forward pass of an FFN, structured and merged, at growing
numbers of tokens. Both are timed in the order S M M S, so that a slow drift of the machine affects
them alike. Then whole models decode at several batch sizes, in turns; the pre-merged one has the
crossover just found.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import accumulate
from statistics import median
from typing import Any

import torch
from torch import Tensor

from kernels.bench.provenance import checkout
from kernels.timing import SAMPLE_SECONDS, synchronize, time_round
from workloads.config.model import FFNConfig, ModelConfig
from workloads.inference.crossover import Crossover, Setting, premerge
from workloads.inference.generate import new_cache, next_logits
from workloads.nn.ffn import FeedForward
from workloads.nn.transformer import Transformer
from workloads.training.hardware import environment

# For how long one number of tokens is timed, and in how many rounds at least.
SECONDS_PER_COUNT = 0.5
MIN_ROUNDS = 3
MEGABYTE = 1e6


@dataclass(frozen=True)
class Size:
    """What is measured: `new_tokens` decoded after a prompt of `prompt_tokens`, at each batch
    size, `rounds` times; and the numbers of tokens at which the crossover is looked for."""

    prompt_tokens: int
    new_tokens: int
    batches: tuple[int, ...] = (1, 4, 16, 64)
    rounds: int = 5
    # Two an octave.
    token_counts: tuple[int, ...] = (
        1,
        *(n for k in range(1, 12) for n in (2**k, 3 * 2 ** (k - 1))),
        4096,
    )

    @classmethod
    def filling(cls, model: ModelConfig) -> Size:
        """Return half a block of prompt, and up to 64 new tokens."""
        prompt = model.block_size // 2
        return cls(prompt, min(64, model.block_size - prompt))


@dataclass(frozen=True)
class PassTimes:
    """Seconds of one FFN pass over `tokens` tokens, by round."""

    tokens: int
    structured: list[float]
    merged: list[float]

    @property
    def ratio(self) -> float:
        """Merged over structured time, each of its fastest round, because noise only adds time."""
        return min(self.merged) / min(self.structured)


@dataclass(frozen=True)
class Row:
    """One model at one batch size: seconds of each round, and bytes.

    `cache_bytes` are the keys and values of the whole text. `peak_bytes` is the most that was held
    at a time, weights included; None where the device does not count it.
    """

    model: str
    batch: int
    seconds: list[float]
    new_tokens: int
    weight_bytes: int
    cache_bytes: int
    peak_bytes: int | None

    @property
    def tokens_per_second(self) -> float:
        return self.batch * self.new_tokens / median(self.seconds)


@dataclass(frozen=True)
class Report:
    """The results of one benchmark; `model` has the structured FFN."""

    model: ModelConfig
    crossover: Crossover
    pass_times: list[PassTimes]
    rows: list[Row]
    provenance: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """Return the raw samples and what they were measured on, ready for JSON."""
        return {
            "benchmark": "decoding, dense against structured and pre-merged FFNs",
            "model": self.model.model_dump(mode="json"),
            "crossover": self.crossover.model_dump(mode="json"),
            "pass_times": [asdict(times) for times in self.pass_times],
            "rows": [asdict(r) | {"tokens_per_second": r.tokens_per_second} for r in self.rows],
            **self.provenance,
        }


@torch.no_grad()
def measure(
    config: ModelConfig, size: Size, device: torch.device, show: Callable[[str], None]
) -> Report:
    """Measure a model with structured FFNs, in bf16 on CUDA and in fp32 elsewhere.

    `show` is called with what begins.
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    # A guide is for training.
    config = config.model_copy(update={"guide": None})
    torch.manual_seed(0)
    show("building the models")
    structured = _build(config, device, dtype)
    models = {
        "dense": _build(config.model_copy(update={"ffn": FFNConfig()}), device, dtype),
        "structured": structured,
        "pre-merged": copy.deepcopy(structured),
    }
    layer = structured.layers[-1].mlp
    assert isinstance(layer, FeedForward)
    pass_times = list(_time_passes(layer, config.hidden_dim, size.token_counts, show))
    crossover = Crossover(
        setting=Setting.of(config, device, dtype), tokens=crossover_tokens(pass_times)
    )
    premerge(models["pre-merged"], crossover.tokens)
    rows = [row for batch in size.batches for row in _decode(models, batch, size, show)]
    provenance = {"environment": environment(device), **checkout()}
    return Report(config, crossover, pass_times, rows, provenance)


def crossover_tokens(pass_times: list[PassTimes]) -> int:
    """Return the largest number of tokens that the merged weight should serve; 0 for none.

    It minimizes the sum of the logarithms of the times over all numbers of tokens, so that one
    outlier moves it by no more than its own size.
    """
    gains = accumulate((math.log(times.ratio) for times in pass_times), initial=0.0)
    tokens = [0, *(times.tokens for times in pass_times)]
    return min(zip(gains, tokens, strict=True))[1]


def table(report: Report) -> str:
    """Format the report."""
    found = report.crossover
    setting = found.setting
    most = report.pass_times[-1].tokens
    verdict = f"up to {found.tokens} tokens" if found.tokens else "at no token count"
    beyond = ", the most that was measured" if found.tokens == most else ""
    dense = {row.batch: row for row in report.rows if row.model == "dense"}
    return "\n".join(
        [
            f"{setting.device}, {setting.dtype}, torch {torch.__version__}",
            f"{_name(report.model)}",
            "",
            f"One FFN, merged over structured time: merged is faster {verdict}{beyond}",
            f"{'tokens':>8}{'ratio':>8}",
            *(f"{times.tokens:>8}{times.ratio:>8.2f}" for times in report.pass_times),
            "",
            "Decoding, and memory in MB",
            f"{'batch':>6}  {'FFN':<11}{'tokens/s':>10}{'of dense':>10}{'weights':>10}"
            f"{'KV cache':>10}{'sum':>10}{'peak':>10}",
            *(_line(row, dense[row.batch]) for row in report.rows),
        ]
    )


def _line(row: Row, dense: Row) -> str:
    rate, dense_rate = row.tokens_per_second, dense.tokens_per_second
    sizes = (row.weight_bytes, row.cache_bytes, row.weight_bytes + row.cache_bytes, row.peak_bytes)
    memory = "".join(f"{'-' if s is None else f'{s / MEGABYTE:.2f}':>10}" for s in sizes)
    return f"{row.batch:>6}  {row.model:<11}{rate:>10,.0f}{rate / dense_rate:>10.2f}{memory}"


def _name(model: ModelConfig) -> str:
    ffn = model.ffn
    given = "".join(f", {name} {value}" for name, value in ffn.sizes.items())
    return (
        f"{model.num_layers} layers of width {model.hidden_dim}, FFN {model.ffn_dim} "
        f"{ffn.kind}{given}; {model.num_kv_heads} of {model.num_heads} heads have keys"
    )


def _build(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> Transformer:
    with device:
        return Transformer(config).to(dtype).eval()


def _time_passes(
    structured: FeedForward, width: int, token_counts: tuple[int, ...], show: Callable[[str], None]
) -> Iterator[PassTimes]:
    merged = copy.deepcopy(structured)
    weight = next(structured.parameters())
    for projection in (merged.fc1, merged.fc2):
        projection.premerge(max(token_counts))
    for tokens in token_counts:
        show(f"one FFN, {tokens} tokens")
        x = torch.randn(tokens, width, device=weight.device, dtype=weight.dtype)
        yield _time_pass(structured, merged, x)


def _time_pass(structured: FeedForward, merged: FeedForward, x: Tensor) -> PassTimes:
    contenders = {"structured": lambda number: structured(x), "merged": lambda number: merged(x)}
    # The first round warms up, and the second tells how many passes make a sample.
    slowest = [max(time_round(contenders, 0, 1, x.device).values()) for _ in range(2)][-1]
    passes = math.ceil(SAMPLE_SECONDS / slowest)
    times = PassTimes(len(x), [], [])
    deadline = time.perf_counter() + SECONDS_PER_COUNT
    while len(times.merged) < MIN_ROUNDS or time.perf_counter() < deadline:
        seconds = time_round(contenders, 0, passes, x.device)
        times.structured.append(seconds["structured"])
        times.merged.append(seconds["merged"])
    return times


def _decode(
    models: dict[str, Transformer], batch: int, size: Size, show: Callable[[str], None]
) -> list[Row]:
    """Time each model in turn, round by round; the first round warms up."""
    show(f"decoding, batch {batch}")
    config = models["structured"].config
    tokens = torch.randint(config.vocab_size, (batch,))
    seconds: dict[str, list[float]] = {name: [] for name in models}
    memory: dict[str, tuple[int, int | None]] = {}
    for number in range(1 + size.rounds):
        for name, model in models.items():
            took, cache, peak = _decode_once(
                model, tokens.to(model.device), size.prompt_tokens, size.new_tokens
            )
            memory[name] = cache, peak
            if number:
                seconds[name].append(took)
    return [
        Row(
            model=name,
            batch=batch,
            seconds=seconds[name],
            new_tokens=size.new_tokens,
            weight_bytes=_weight_bytes(model),
            cache_bytes=memory[name][0],
            peak_bytes=memory[name][1],
        )
        for name, model in models.items()
    ]


def _decode_once(
    model: Transformer, tokens: Tensor, prompt_tokens: int, new_tokens: int
) -> tuple[float, int, int | None]:
    """Return the seconds of the new tokens, the bytes of the cache, and the peak of bytes held."""
    device, batch = model.device, len(tokens)
    counted = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if counted else 0
    if counted:
        torch.cuda.reset_peak_memory_stats(device)
    one = torch.ones(batch, dtype=torch.long, device=device)
    cache = new_cache(model, batch, prompt_tokens + new_tokens)
    # Random keys and values stand for a prompt's: decoding takes as long with them, and computing
    # a prompt is not part of what is timed.
    cache.place(prompt_tokens)
    cache.advance(prompt_tokens * one)
    cache.keys.normal_()
    cache.values.normal_()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(new_tokens):
        tokens = next_logits(model, tokens[:, None], one, cache).argmax(-1)
    synchronize(device)
    seconds = time.perf_counter() - start
    # What the other models hold does not count.
    held = torch.cuda.max_memory_allocated(device) - before if counted else 0
    return seconds, cache.nbytes, _weight_bytes(model) + held if counted else None


def _weight_bytes(model: Transformer) -> int:
    """Count the bytes of parameters and buffers, among them merged weights and rotations."""
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
