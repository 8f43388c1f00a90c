"""`python -m workloads coordinate-check`: whether a recipe keeps its layers' sizes over widths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.config.run import RunConfig
from workloads.errors import InputError
from workloads.recipes.presets import PRESETS
from workloads.recipes.recipe import Recipe
from workloads.recipes.schedule_command import UNDATED
from workloads.schema import strict_yaml

if TYPE_CHECKING:
    from workloads.checks.coordinates import Coordinates

# The largest spread over widths that is called flat.
FLAT = 1.1


def coordinate_check(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="The run, written as for `train`.")
    ],
    widths: Annotated[
        str | None,
        typer.Option(help="Widths, as 64,128,256. [default: 1, 2, 4 and 8 times the base's]"),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = 4,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds to average over, from 0.")] = 16,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(dir_okay=False, metavar="OUT", help="Draw it too: a .png, .svg or .pdf."),
    ] = None,
    data_root: Annotated[
        Path, typer.Option(file_okay=False, help="Where token shards are kept.")
    ] = Path("runs/data"),
) -> None:
    """Train a model in several widths for a few steps, and compare the sizes of its activations.

    \b
    Example: python -m workloads coordinate-check low-rank.yaml --plot check.png
    where low-rank.yaml holds
      preset: nano
      batch_size: 4
      learning_rate: 0.001
      ffn: {kind: lowrank, fraction: 0.3125}
      recipe: mup

    Sizes are root mean squares of what attention, FFN and residual stream of each layer give, and
    of the logits. A recipe that transfers keeps them: the spread, the largest size over the
    smallest, is at most 1.1 after the last step. Logits may fall with the width, and not grow.
    Small steps and many seeds keep the noise of single runs below that. Exit code 0 when every
    layer is flat, 1 when one is not, 2 when the configuration is wrong.
    """
    if plot and plot.suffix not in UNDATED:
        raise InputError(f"{plot}: {plot.suffix or 'no suffix'} is no figure; use .png, .svg, .pdf")
    runs = runs_of(config, widths)
    # Imported late so that --help and configuration errors do not wait for torch.
    from workloads.checks.coordinates import measure
    from workloads.checks.figure import draw
    from workloads.data.texts import opened, placed

    text = opened(placed(runs[0].data, data_root))
    found = measure(runs, text, steps, seeds, lambda line: typer.echo(line, err=True))
    if plot:
        draw(found, plot)
    typer.echo(json.dumps(_record(found), indent=2) if as_json else _table(found))
    raise typer.Exit(0 if found.worst[1] <= FLAT else 1)


def runs_of(config: Path, widths: str | None) -> list[RunConfig]:
    """Return the file's run in each width. Raises InputError for a mistake in it."""
    loaded = strict_yaml.load(config, Recipe)
    recipe = loaded.value
    base, _ = recipe.recipe.base_of(PRESETS[recipe.preset].model)
    try:
        own = recipe.resolve().model.hidden_dim
        return [
            recipe.model_copy(update={"width": recipe.width * width / own}).resolve()
            for width in _numbers(widths) or [base * times for times in (1, 2, 4, 8)]
        ]
    except ValueError as error:
        place = loaded.first_written(strict_yaml.blamed(error))
        raise loaded.error(place, strict_yaml.reason(error)) from error


def _numbers(widths: str | None) -> list[int]:
    """Return the widths that are written, none where none are."""
    written = widths.split(",") if widths is not None else []
    if not all(part.strip().isdecimal() and int(part) for part in written) or len(written) == 1:
        raise InputError(f"--widths {widths}: give two or more widths, as 64,128,256,512")
    return sorted({int(part) for part in written})


def _record(found: Coordinates) -> dict[str, Any]:
    layer, spread = found.worst
    return {
        "widths": found.widths,
        "sizes": found.sizes,
        "spreads": {
            each: [found.spread(each, step) for step in range(found.steps + 1)]
            for each in found.sizes
        },
        "losses": found.losses,
        "worst_layer": layer,
        "worst_spread": spread,
        "flat": spread <= FLAT,
    }


def _table(found: Coordinates) -> str:
    """Return sizes after the last step and spreads at the first and last, and the verdict."""
    last = found.steps
    header = f"{'layer':<24}" + "".join(f"{width:>9}" for width in found.widths)
    lines = [
        f"Size of outputs after {last} steps, by width:",
        f"{header}   spread   before training",
        *(
            f"{layer:<24}"
            + "".join(f"{size:>9.3g}" for size in sizes[last])
            + f"{found.spread(layer, last):>9.2f}{found.spread(layer, 0):>18.2f}"
            for layer, sizes in found.sizes.items()
        ),
        "",
    ]
    layer, spread = found.worst
    verdict = "flat: every" if spread <= FLAT else f"not flat: {layer} has the"
    kind = "spread is at most" if spread <= FLAT else "largest spread,"
    return "\n".join([*lines, f"{verdict} {kind} {spread:.2f} (flat up to {FLAT:g})"])
