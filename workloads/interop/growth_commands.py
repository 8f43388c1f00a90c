"""`python -m workloads grow` and `growth-guideline`: growth of a model file, and when to grow."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from workloads.config.growth import listed
from workloads.config.growth_options import GrowthOptions
from workloads.errors import InputError
from workloads.recipes import growth_guideline as formula
from workloads.schema import strict_yaml

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def grow(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="The base: a run's directory, or a model file.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The model file to write.")],
    operator: Annotated[
        str, typer.Option(help="stack, split, zero, learn or random (arXiv 2405.15319).")
    ],
    layers: Annotated[int | None, typer.Option(help="Layers of the grown model.")] = None,
    width: Annotated[
        int | None, typer.Option(help="Its hidden_dim; FFN and heads grow in proportion.")
    ] = None,
    layer_map: Annotated[
        str | None, typer.Option(help="The base layer of each of its layers: 0,1,2,0,1,2.")
    ] = None,
    interleaved: Annotated[
        bool, typer.Option("--interleaved", help="Copies of a layer stand beside it: 0,0,1,1.")
    ] = False,
    alpha: Annotated[
        float | None, typer.Option(help="Weight of the first copy that split makes.")
    ] = None,
    matrices: Annotated[
        Path | None, typer.Option(dir_okay=False, help="The trained matrices of learn.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Grow the model of a run, or a model file, into one with more layers, more width or both.

    \b
    Example: python -m workloads grow base.safetensors out.safetensors --operator stack --layers 6
    which prints
      layer_map: 0,1,2,0,1,2
      params: 75,168 (base: 39,648)
      preserves: false (logits of random tokens moved by up to 2.29)
      moves_after: copied layers 1

    stack repeats layers. split copies features, with weights that sum to 1. zero adds identity
    blocks, or features that are not read or not written yet. learn multiplies the base by matrices
    (those of the start without --matrices, a safetensors file). random draws new weights, which a
    run fades in: OUT holds them unmasked. `preserves` says whether OUT computes what IN does in
    theory, and the logits in float64 by how much it does not. `moves_after` is the number of AdamW
    steps after which the new weights have moved. OUT has numbers of the type that IN has. Exit code
    0 when OUT is written, 2 when the growth does not fit IN.
    """
    given = {"operator": operator, "layers": layers, "width": width, "alpha": alpha}
    given |= {"interleaved": interleaved, "layer_map": _numbers(layer_map)}
    try:
        options = GrowthOptions.model_validate(given)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        problem = strict_yaml.reason(error).removeprefix(f"{field} ")
        raise InputError(f"{field} {given[field]}: {problem}") from None
    # Imported late so that --help and mistakes in options do not wait for torch.
    from workloads.interop.growth import grow_file

    record = grow_file(source, out, options, seed, matrices)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(record)))
        return
    moves = ", ".join(f"{what} {steps}" for what, steps in record.moves_after.items())
    moved = f"logits of random tokens moved by up to {record.logits_moved:.3g}"
    typer.echo(f"layer_map: {listed(record.layer_map)}")
    typer.echo(f"params: {record.params:,} (base: {record.base_params:,})")
    typer.echo(f"preserves: {str(record.preserves).lower()} ({moved})")
    typer.echo(f"moves_after: {moves}")


def growth_guideline(
    params: Annotated[float, typer.Option(help="Parameters of the grown model.")],
    tokens: Annotated[float, typer.Option(help="Tokens of its training, all phases.")],
    as_json: Json = False,
) -> None:
    """Say how long to train the base before its layers are stacked, by the published formula.

    \b
    Example: python -m workloads growth-guideline --params 7e9 --tokens 2e12
    which prints
      base_tokens: 1.111e+10
      factor: 4
      outside: false

    The formula is that of arXiv 2405.15319, section 4.2: log10 d = 0.88 log10 N + 163.27 / log10 C
    - 5.74 for d tokens of the base, N parameters of the grown model and C = 6 N x tokens FLOPs. It
    leaves its range where the base would train on as many tokens as the whole run has, or more:
    `outside` is true there, and the tokens have to be chosen otherwise. `factor` is the depth of
    the grown model over that of the base. Exit code 0, or 2 when a number is none that can be.
    """
    guideline = formula.guideline(params, tokens)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(guideline)))
        return
    beyond = (
        f" (base_tokens are not below the {tokens:.4g} tokens of the run: the formula is for "
        "larger runs; choose base_tokens yourself)"
    )
    typer.echo(f"base_tokens: {guideline.base_tokens:.4g}")
    typer.echo(f"factor: {guideline.factor}")
    typer.echo(f"outside: {str(guideline.outside).lower()}{beyond if guideline.outside else ''}")


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"layer_map {text} is no list of layers; write numbers with commas: 0,1,2,0,1,2"
        ) from None
