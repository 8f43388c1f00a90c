"""The phases of runs whose model grows, as the plan shows them: what each trains and takes."""

from __future__ import annotations

from rich.console import Console

from study.display.tables import count, hours_text, money_text, new_table, print_whole
from study.plan.cost import phase_prices
from study.plan.planner import Study
from study.plan.points import Point


def print_phases(console: Console, study: Study) -> None:
    """Print the phases of one point of each arm that grows, of its most expensive one; nothing
    where none does."""
    longest: dict[str, Point] = {}
    for point in study.points:
        arm = point.variant.arm_name()
        if point.config.model.growths and (
            arm not in longest or point.train_flops > longest[arm].train_flops
        ):
            longest[arm] = point
    if not longest:
        return
    money = ["cost"] if study.hardware.price_per_gpu_hour is not None else []
    table = new_table(
        *("point", "layers", "width", "params", "steps", "tokens", "FLOPs", "GB", "GPU-h", *money)
    )
    for point in longest.values():
        for number, phase in enumerate(phase_prices(point.config, study.hardware)):
            table.add_row(
                "" if number else point.id,
                f"{'learning ' if phase.entry == 'learn' else ''}{phase.layers}",
                str(phase.width),
                count(phase.params),
                f"{phase.steps:,}",
                count(phase.tokens),
                f"{phase.train_flops:.2e}".replace("+", ""),
                f"{phase.peak_memory_bytes / 1e9:.3g}",
                hours_text(phase.hours),
                *([money_text(phase.cost)] if phase.cost is not None else []),
            )
    console.print("Phases of each arm that grows, of its point with the most FLOPs:")
    print_whole(console, table)
