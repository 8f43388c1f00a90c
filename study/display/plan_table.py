"""The plan as a table and lines: the points, what each needs, and the totals."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from study.display.recipes import recipe_lines
from study.display.tables import (
    MANY_POINTS,
    count,
    duration,
    hours_text,
    money_text,
    new_table,
    print_whole,
    styled,
)
from study.ledger.status import ENDED
from study.plan.cautions import cautions, most_passes_by_source, passes_text
from study.plan.cost import Price
from study.plan.naming import describe
from study.plan.planner import Study
from study.plan.points import FLOP_CONVENTION
from study.progress import estimate
from workloads.cost.accelerators import ACCELERATORS, PAPER_MFU, PAPER_MFU_SOURCE
from workloads.cost.flops import ffn_fraction


def print_plan(
    console: Console, study: Study, states: dict[str, str], seconds: dict[str, float], basis: str
) -> None:
    """Print the points, then the totals: FLOPs, hours on GPUs and here, money, what does not fit.

    `FFN` is the fraction of the dense FFN's weights, `passes` those over the training text, `GB`
    the memory of one GPU, `GPUs` the smallest number of the planned GPUs that holds the point, and
    `GPU-h` its hours on one of them.
    """
    prices = {point.id: study.price(point) for point in study.points}
    paid = study.hardware.price_per_gpu_hour is not None
    money = ["cost"] if paid else []
    columns = ["point", "params", "FFN", "tokens", "passes", "FLOPs", "GB", "GPUs", "GPU-h"]
    table = new_table(*columns, *money, "here", "state")
    for point in study.points[:MANY_POINTS]:
        price = prices[point.id]
        money = [money_text(price.cost)] if price.cost is not None else []
        table.add_row(
            point.id,
            count(point.params.total),
            f"{ffn_fraction(point.config.model):.3g}",
            count(point.config.tokens),
            passes_text(point.passes),
            f"{point.train_flops:.2e}".replace("+", ""),
            _memory(study, price),
            str(price.min_gpus[study.hardware.accelerator] or "none"),
            hours_text(price.hours[study.hardware.accelerator]),
            *money,
            duration(seconds[point.id]) if seconds else "-",
            styled(states[point.id]),
        )
    if study.points:
        print_whole(console, table)
    if (more := len(study.points) - MANY_POINTS) > 0:
        console.print(f"... and {more:,} points more; --json lists all.")
    lines = _work(study, states, seconds, basis) + _gpus(study, list(prices.values()))
    for line in lines + _misfits(study, prices):
        console.print(line, soft_wrap=True)


def print_notes(console: Console, study: Study, notes: dict[str, str]) -> None:
    """Print how near points come to their target of FLOPs, the notes by point id, what a search
    may add, the texts, what transfer rules have chosen, what was dropped and why, and the cautions.
    """
    lines = [f"{point_id}: {note}" for point_id, note in notes.items()]
    lines += [
        f"search: {describe(space.variant)}: {space.trials} samples of "
        f"{', '.join(space.dimensions)}, {space.max_train_flops:.3g} FLOPs at most"
        for space in study.searched
    ]
    lines += _texts(study)
    lines += recipe_lines(study.points)
    lines += [f"dropped: {item.point}: {item.reason}" for item in study.dropped]
    lines += [f"caution: {sentence}" for sentence in cautions(study)]
    if (most := study.largest_flops_error) is not None:
        lines.insert(0, f"Points spend the FLOPs of isoflop or their twin within {most:.2%}.")
    for line in lines:
        console.print(line, soft_wrap=True)


def _texts(study: Study) -> list[str]:
    """Return lines about how often the sources of a mixture are repeated, and about what is
    missing."""
    mixed = {name: found for name, found in study.texts.sources.items() if name and found.size}
    passes = most_passes_by_source(study)
    lines = [
        f"sources.{name}: {found.size.train_tokens:,} tokens, up to "
        f"{passes_text(passes.get(name))} passes"
        for name, found in mixed.items()
        if found.size
    ]
    return lines + [f"missing: {line}" for line in study.texts.missing(study.spec.path)]


def _work(study: Study, states: dict[str, str], seconds: dict[str, float], basis: str) -> list[str]:
    """Return lines about the FLOPs in all, and the time on this machine."""
    total = sum(point.train_flops for point in study.points)
    left = [point for point in study.points if states[point.id] not in ENDED]
    resources, here = study.spec.value.resources, ""
    if seconds:
        time = duration(estimate.wall_seconds(left, {}, seconds, resources))
        here = f", about {time} here, {estimate.slots(resources)} at a time"
    return [
        f"{len(study.points)} point{'' if len(study.points) == 1 else 's'}, {total:.3g} of at most "
        f"{study.spec.value.max_total_flops:.3g} FLOPs ({FLOP_CONVENTION} convention); "
        f"{len(left)} to run{here}.",
        f"Times here rest on {basis}.",
    ]


def _gpus(study: Study, prices: list[Price]) -> list[str]:
    """Return lines about the GPU-hours of all points on each accelerator, and the money."""
    hardware = study.hardware
    hours = {name: sum(price.hours[name] for price in prices) for name in ACCELERATORS}
    each = ", ".join(f"{hours_text(total)} on {name}" for name, total in hours.items())
    kinds = {point.config.model.ffn.kind for point in study.points}
    mfu = ", ".join(f"{kind} {hardware.mfu[kind]:.3g}" for kind in hardware.mfu if kind in kinds)
    published = all(hardware.mfu[kind] == PAPER_MFU.get(kind) for kind in kinds)
    source = f" ({PAPER_MFU_SOURCE})" if published else ""
    lines = [f"GPU-hours: {each}; at an MFU of {mfu}{source}."]
    if hardware.price_per_gpu_hour is not None:
        total = sum(price.cost or 0.0 for price in prices)
        lines.append(
            f"Cost: {money_text(total)} {hardware.currency} at {hardware.price_per_gpu_hour:g} "
            f"an hour of one {hardware.accelerator}."
        )
    return lines


def _memory(study: Study, price: Price) -> Text:
    """Return the GB of one GPU's memory, red where they exceed those of the planned GPUs."""
    used = f"{price.peak_memory_bytes / 1e9:.3g}"
    return Text(used, "red" if _too_large(study, price) else "")


def _too_large(study: Study, price: Price) -> bool:
    return price.peak_memory_bytes > ACCELERATORS[study.hardware.accelerator].memory_bytes


def _misfits(study: Study, prices: dict[str, Price]) -> list[str]:
    """Return a line about the points that need more memory than the planned GPUs have."""
    large = [point_id for point_id, price in prices.items() if _too_large(study, price)]
    if not large:
        return []
    hardware = study.hardware
    cure = "lower runtime.micro_batch_size, set runtime.activation_checkpointing"
    lines = [
        f"Too large for {hardware.gpus} x {hardware.accelerator}: {', '.join(large)}; {cure}, or "
        "use more GPUs with runtime.parallel fsdp."
    ]
    if never := [i for i in large if not any(prices[i].min_gpus.values())]:
        known = ", ".join(ACCELERATORS)
        lines.append(
            f"caution: no number of {known} holds {', '.join(never)} as planned; {cure}, or shard "
            "them with runtime.parallel fsdp."
        )
    return lines
