"""`python -m workloads bench ...`: what things cost on this machine."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from kernels.bench.command import ResultsFile, Rounds, measure_claims
from workloads.config.ffn_kinds import FFN_KINDS
from workloads.config.model import ModelConfig, layer_ffns
from workloads.config.run import RunConfig
from workloads.errors import InputError
from workloads.recipes.recipe import Recipe, load_run
from workloads.schema import strict_yaml
from workloads.schema.base import MOST_LAYERS

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def bench() -> None:
    """Measure what structured layers cost on this machine, beside dense ones.

    \b
    Example: python -m workloads bench train --out ffn-cpu.json
    """


@app.command()
def train(
    width: Annotated[int, typer.Option(min=8, help="Model width; the FFN's is 4 times it.")] = 512,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens in a batch.")] = 4096,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to take medians over.")] = 9,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the raw samples here, as JSON.")
    ] = None,
) -> None:
    """Time the FFN's forward and backward: each structured kind against the dense one.

    \b
    Example: python -m workloads bench train --rounds 15 --out ffn-cpu.json

    A row passes when its cost, as a fraction of the dense layer's, is at most its fraction of the
    FLOPs plus 0.15. The block kinds are also timed against a baseline, the formulation of the
    paper's public code. Other work on the machine spoils the numbers: look at the spread.
    """
    if width % 4:
        raise InputError(f"--width {width} must be a multiple of 4, the number of blocks")
    # Imported late so that --help does not wait for torch.
    from workloads.bench.train import Size, measure, record, table

    size = Size(width, tokens, rounds, threads)
    rows = measure(size, lambda name: typer.echo(f"measuring {name}", err=True))
    typer.echo(table(rows))
    _write(out, record(size, rows))


@app.command()
def step(
    rounds: Rounds = 9,
    out: ResultsFile = None,
) -> None:
    """Time whole training steps on the CPU, with the kernels' fast paths and without.

    \b
    Example: python -m workloads bench step --rounds 15
    then:    python -m kernels table

    They are among the claims that `python -m kernels table` lists; the lines are those of
    `python -m kernels bench`. Exit code 0 when all claims were verified, 1 when one was missed.
    """
    # Imported late, as above.
    import torch

    from kernels.bench.claims import of_steps
    from workloads.bench.step import compare

    measure_claims(of_steps(), rounds, torch.device("cpu"), out, compare)


@app.command()
def loader(
    tokens: Annotated[
        int, typer.Option(min=2**20, help="Tokens of the text, 2 bytes each, in memory.")
    ] = 2**27,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to take medians over.")] = 9,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the raw samples here, as JSON.")
    ] = None,
) -> None:
    """Time the reading of batches, against a plain loop over rows and against a training step.

    \b
    Example: python -m workloads bench loader --rounds 15

    The text is in the page cache, as in a run that has begun. A row passes with 50 million tokens a
    second on two cores; the last line, where a batch of `micro` takes under 1% of its step. Exit
    code 0 when all pass, 1 when one does not.
    """
    # Imported late, as above.
    from workloads.bench.loader import measure, record, table

    found = measure(tokens, rounds, lambda name: typer.echo(f"measuring {name}", err=True))
    typer.echo(table(found))
    _write(out, record(found))
    raise typer.Exit(0 if found.passes else 1)


@app.command()
def prepare(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to take medians over.")] = 3,
    datatrove: Annotated[
        Path | None,
        typer.Option(metavar="PYTHON", help="An interpreter that has datatrove, to compare with."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the raw samples here, as JSON.")
    ] = None,
) -> None:
    """Time `data prepare` with 1 and 2 processes beside a plain loop over `tokenizers`.

    \b
    Example: python -m venv elsewhere && elsewhere/bin/pip install datatrove orjson
             python -m workloads bench prepare --datatrove elsewhere/bin/python

    All read the bundled text as one JSONL file and must write the same tokens. Exit code 0 when a
    process is at least 0.9 times as fast as the loop, and two are 1.8 times as fast as one; else 1.
    """
    # Imported late so that --help does not wait.
    from workloads.bench.prepare import measure, record, table

    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), rounds, datatrove, lambda line: typer.echo(line, err=True))
    typer.echo(table(result))
    _write(out, record(result))
    raise typer.Exit(0 if result.passes else 1)


@app.command()
def memory(
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="Where to train.")] = "cuda",
    minutes: Annotated[float, typer.Option(min=0, help="No row begins later.")] = 6.0,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Append each row here, as a line of JSON.")
    ] = None,
) -> None:
    """Measure training steps at long contexts: peak memory beside the plan's, time, share of peak.

    \b
    Example: python -m workloads bench memory --device cuda --minutes 6 --out memory.jsonl

    On a CUDA device the 1B shape (preset llama-1b) from 32,768 tokens on, each length in every
    setting of `runtime` that the plan says fits, then the 8B shape with its states or all of it in
    CPU memory. On a CPU a small model, so that the code is used; its bytes are not measured. A row
    is printed as soon as it is there.
    """
    # Imported late so that --help does not wait for torch.
    from workloads.bench.memory import head, line, measure

    typer.echo(head())
    measure(device, minutes, lambda row: typer.echo(line(row)), out)


@app.command()
def shapes(
    preset: Annotated[str, typer.Option(help="The model and batch to compare with.")] = "micro",
    layers: Annotated[
        str | None,
        typer.Option(help="Depths to try, as 2,6,8; by default from half the preset's to twice."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="No measurement begins later.")] = 120.0,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to take medians over.")] = 5,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Append each shape here, as a line of JSON."),
    ] = None,
) -> None:
    """Rank width against depth: models whose step takes as long as a preset's on this machine.

    \b
    Example: python -m workloads bench shapes --preset noam-wide --layers 8,12,16 --seconds 300

    For each depth, the width of equal step time is looked for. The table has parameters, the step's
    time over the preset's, measured in turn with it, and training FLOPs a second, over those of
    this machine's fastest matrix product. A row is printed as soon as it is there.
    """
    # Imported late so that --help does not wait for torch.
    import torch

    from workloads.bench.shapes import default_depths, head, line, measure, record, verdict
    from workloads.training.hardware import training_device

    config = _preset(preset)
    depths = _depths(layers) if layers else default_depths(config.model.num_layers)
    torch.set_num_threads(threads)
    device, show = training_device(), (lambda text: typer.echo(text, err=as_json))
    show(head())
    found = measure(config, depths, rounds, seconds, device, lambda shape: show(line(shape)), out)
    show(verdict(found))
    if as_json:
        typer.echo(json.dumps(record(preset, found, device), indent=1))


def _preset(name: str) -> RunConfig:
    try:
        return Recipe.model_validate({"preset": name}).resolve()
    except ValidationError as error:
        raise InputError(f"--preset {name}: {strict_yaml.reason(error)}") from error


def _depths(text: str) -> list[int]:
    """Return the depths that are written as a list."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and 0 < int(part) <= MOST_LAYERS for part in parts):
        raise InputError(f"--layers {text}: this should be whole numbers, such as 2,6,8; change it")
    return [int(part) for part in parts]


@app.command()
def decode(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG.yaml]", help="A run, as `train` takes it, whose model to measure."
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option(help="The model's size, by default micro.")] = None,
    kind: Annotated[str | None, typer.Option(help="The FFN's kind, by default lowrank.")] = None,
    fraction: Annotated[
        float | None, typer.Option(help="The FFN's fraction of dense weights, by default 0.3125.")
    ] = None,
    nblocks: Annotated[int | None, typer.Option(help="Blocks of the block kinds.")] = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the raw samples here, as JSON.")
    ] = None,
) -> None:
    """Time decoding with dense, structured and pre-merged FFNs, and store their crossover.

    \b
    Example: python -m workloads bench decode --preset micro --fraction 0.3125

    Up to the crossover's number of tokens an FFN is faster with its weights merged into a dense
    one. It is stored for this device and this shape of FFN, and `premerge` goes by it.
    """
    choice = {"kind": kind, "fraction": fraction, "nblocks": nblocks}
    given = {name: value for name, value in choice.items() if value is not None}
    model = _decoded_model(config, preset, given)
    # Imported late so that --help does not wait for torch.
    from workloads.bench.decode import Size, measure, table
    from workloads.inference.crossover import store
    from workloads.training.hardware import training_device

    report = measure(
        model, Size.filling(model), training_device(), lambda name: typer.echo(name, err=True)
    )
    typer.echo(table(report))
    _write(out, report.record())
    typer.echo(f"stored in {store(report.crossover)}", err=True)


def _decoded_model(
    config: Path | None, preset: str | None, ffn: dict[str, str | float]
) -> ModelConfig:
    """Return the model with the structured FFN that the options or the file describe."""
    if config is not None:
        if preset or ffn:
            option = "preset" if preset else next(iter(ffn))
            raise InputError(f"{config} says which model to measure; remove --{option}")
        model = load_run(config).model
    else:
        row = FFN_KINDS.get(str(ffn.setdefault("kind", "lowrank")))
        if row and row.fraction_size:
            ffn.setdefault("fraction", 0.3125)
        tree = {"preset": preset or "micro", "ffn": ffn}
        try:
            model = Recipe.model_validate(tree).resolve().model
        except ValidationError as error:
            first = error.errors()[0]
            option = first["loc"][-1] if first["loc"] else "ffn"
            # An option by name, or all of them together.
            place = "the FFN" if option == "ffn" else f"--{option} {first['input']}"
            raise InputError(f"{place}: {strict_yaml.reason(error)}") from error
    if not any(layer.row.mergeable for layer in layer_ffns(model)):
        raise InputError("the model has no structured FFN to compare; choose another kind")
    return model


def _write(out: Path | None, samples: Any) -> None:
    """Write what was measured to `out` as JSON, where it is asked for."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(samples, indent=2) + "\n", encoding="utf-8")
