"""Width against depth at equal step time: the models that this machine trains as fast as a preset.

For each depth, the width is looked for whose optimizer step takes as long as the preset's. FLOPs
give the first width, measured times those after it. Heads keep their size, so widths are whole
numbers of heads. Every model is timed in turn with the preset's, as `kernels.timing` says, on
random tokens, in the batch, the micro-batches and the precision of training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from kernels.bench import roofline
from kernels.bench.provenance import checkout
from kernels.timing import Contender, Ratio, time_rounds
from workloads.config.run import RunConfig
from workloads.cost import flops
from workloads.optim.build import build_optimizer
from workloads.optim.update import use_gradients
from workloads.recipes.width import scale
from workloads.training import parallel, phases
from workloads.training.hardware import environment

# Depths over the preset's, where none are given.
DEPTHS = (0.5, 0.75, 1.5, 2.0)
# Widths measured for a depth, at most, and a step time near enough to look no further.
TRIES, NEAR = 3, 0.03
# Step times that count as equal.
EQUAL = 0.15
# The widest model that is looked at, over the preset's width.
WIDEST = 8


@dataclass(frozen=True)
class Shape:
    """One model: its step's seconds, their ratio to the preset's with the extreme rounds, and its
    training FLOPs a second (`paper`), over those of the machine's fastest matrix product."""

    layers: int
    width: int
    params: int
    step_seconds: float
    ratio: Ratio
    flops_per_second: float
    roofline_share: float

    @property
    def name(self) -> str:
        """Layers x width."""
        return f"{self.layers} x {self.width}"

    @property
    def equal(self) -> bool:
        """Whether its step takes as long as the preset's."""
        return abs(self.ratio.median - 1) <= EQUAL


def measure(
    config: RunConfig,
    depths: Sequence[int],
    rounds: int,
    seconds: float,
    device: torch.device,
    tell: Callable[[Shape], None],
    out: Path | None = None,
) -> list[Shape]:
    """Measure the run's own shape, and for each depth the widths that come near its step time.

    Shapes are told and appended to `out`, one JSON object a line, as they are measured. No
    measurement begins after so many seconds.
    """
    ends, shapes = time.monotonic() + seconds, []
    bench = _Bench(config, rounds, device)
    for model_run in bench.runs(depths, shapes):
        if shapes and time.monotonic() > ends:
            break
        shapes.append(bench.shape(model_run))
        tell(shapes[-1])
        if out is not None:
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(shapes[-1])) + "\n")
    return shapes


class _Bench:
    """The measurements beside one reference."""

    def __init__(self, config: RunConfig, rounds: int, device: torch.device) -> None:
        self._config, self._rounds, self._device = config, rounds, device
        self._peak = roofline.measure(device, roofline.Sizes.of(device)).gemm_flops_per_second
        self._reference = _step(config, device)

    def runs(self, depths: Sequence[int], measured: list[Shape]) -> Iterator[RunConfig]:
        """Yield the reference, then the runs to measure; `measured` has the shape of each before
        the next is asked for."""
        yield self._config
        own = _step_flops(self._config)
        for layers in [n for n in depths if n != self._config.model.num_layers]:
            tried: set[int] = set()
            wanted = float(own)
            for _ in range(TRIES):
                run = self._nearest(layers, wanted)
                if run.model.hidden_dim in tried:
                    break
                tried.add(run.model.hidden_dim)
                yield run
                ratio = measured[-1].ratio.median
                if abs(ratio - 1) <= NEAR:
                    break
                wanted = _step_flops(run) / ratio

    def shape(self, run: RunConfig) -> Shape:
        """Time a run's step in turn with the reference's."""
        contenders = {"reference": self._reference, "shape": _step(run, self._device)}
        samples = time_rounds(contenders, self._rounds, self._device)
        seconds = median(samples["shape"])
        rate = _step_flops(run) / seconds
        return Shape(
            layers=run.model.num_layers,
            width=run.model.hidden_dim,
            params=flops.count_params(run.model).total,
            step_seconds=seconds,
            ratio=Ratio.of(samples["shape"], samples["reference"]),
            flops_per_second=rate,
            roofline_share=rate / self._peak,
        )

    def _nearest(self, layers: int, step_flops: float) -> RunConfig:
        """Return the run of so many layers whose step's FLOPs are nearest to these."""
        heads = self._config.model.num_heads
        runs = (self._scaled(layers, n / heads) for n in range(1, WIDEST * heads + 1))
        return min(runs, key=lambda run: abs(_step_flops(run) - step_flops))

    def _scaled(self, layers: int, width: float) -> RunConfig:
        model = self._config.model.model_copy(update={"num_layers": layers})
        return self._config.model_copy(update={"model": scale(model, width)})


def default_depths(layers: int) -> list[int]:
    """Return the depths to compare with a model of so many layers."""
    return sorted({max(1, round(part * layers)) for part in DEPTHS} - {layers})


def nearest_of_each_depth(shapes: Sequence[Shape]) -> list[Shape]:
    """Return the preset's shape, which is the first, and of each other depth the one whose step
    time is nearest to it and equal; those with the most parameters come first."""
    preset, *others = shapes
    nearest_first = sorted(others, key=lambda shape: abs(shape.ratio.median - 1))
    best: dict[int, Shape] = {}
    for shape in nearest_first:
        if shape.equal:
            best.setdefault(shape.layers, shape)
    return sorted([preset, *best.values()], key=lambda shape: -shape.params)


# The table and the record


def head() -> str:
    """Return the names of the columns."""
    return (
        f"{'shape':<12}{'params':>9}{'step s':>10}  {'step / preset':<22}{'GFLOP/s':>9}"
        f"{'of roofline':>13}"
    )


def line(shape: Shape) -> str:
    """Return one shape for people."""
    return (
        f"{shape.name:<12}{shape.params / 1e6:>8.4g}M{shape.step_seconds:>10.4g}  "
        f"{shape.ratio!s:<22}{shape.flops_per_second / 1e9:>9.4g}{shape.roofline_share:>12.0%}"
    )


def verdict(shapes: Sequence[Shape]) -> str:
    """Say which shape is best for what, of those whose step takes as long as the preset's."""
    preset, ranked = shapes[0], nearest_of_each_depth(shapes)
    fastest = max(ranked, key=lambda shape: shape.flops_per_second)
    most = ranked[0]
    lines = [
        f"At the preset's step time, from most to fewest parameters: "
        f"{', '.join(f'{shape.name} ({shape.params / 1e6:.3g}M)' for shape in ranked)}.",
        f"Most parameters: {_beside(most, preset, lambda shape: shape.params)}. "
        f"Most FLOPs a second: {_beside(fastest, preset, lambda shape: shape.flops_per_second)}.",
        "In equal time they read equal tokens. Which of them has the lowest loss, runs under "
        "budget: {wall_seconds} say.",
    ]
    if missing := sorted({s.layers for s in shapes} - {s.layers for s in ranked}):
        depths = ", ".join(map(str, missing))
        lines.insert(1, f"No width comes within {EQUAL:.0%} of that time at layers {depths}.")
    return "\n".join(lines)


def _beside(best: Shape, preset: Shape, value: Callable[[Shape], float]) -> str:
    if best is preset:
        return f"{best.name}, the preset"
    return f"{best.name}, {value(best) / value(preset):.2f} times the preset's"


def record(preset: str, shapes: Sequence[Shape], device: torch.device) -> dict[str, Any]:
    """Return what was measured, the ranking and what it was measured on, ready for JSON."""
    ranked = nearest_of_each_depth(shapes)
    return {
        "benchmark": "optimizer steps of models by depth and width",
        "preset": preset,
        "environment": environment(device),
        **checkout(),
        "shapes": [asdict(shape) | {"equal": shape.equal} for shape in shapes],
        "by_params": [{"layers": s.layers, "width": s.width} for s in ranked],
        "by_flops_per_second": [
            {"layers": s.layers, "width": s.width}
            for s in sorted(ranked, key=lambda shape: -shape.flops_per_second)
        ],
    }


def _step_flops(run: RunConfig) -> int:
    return flops.step_flops(run.model, run.optimizer, run.tokens_per_step)


def _step(config: RunConfig, device: torch.device) -> Contender:
    """Return the optimizer step of a new model, on random tokens."""
    torch.manual_seed(config.seed)
    model = phases.build_model(config.phases[0])
    network = parallel.parallelize(model, config, device)
    optimizer = build_optimizer(model, config.optimizer, config.tokens_per_step)
    size = config.batch_size, config.model.block_size + 1
    tokens = torch.randint(config.model.vocab_size, size, device=device)
    parts = tokens.split(config.runtime.micro_batch_size)

    def step(number: int) -> None:
        for part in parts:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = network(part[:, :-1], part[:, 1:]) / len(parts)
            loss.backward()
        use_gradients(model, optimizer.step, config.optimizer.max_grad_norm)

    return step
