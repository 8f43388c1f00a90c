"""The commands of `python -m workloads`, of which `train` trains one run without Ray."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from workloads.bench.cli import app as bench_app
from workloads.checks.command import coordinate_check
from workloads.data.commands import app as data_app
from workloads.errors import Preempted
from workloads.interop import growth_commands
from workloads.interop.huggingface import commands as huggingface_commands
from workloads.recipes.memory_command import memory
from workloads.recipes.recipe import load_run
from workloads.recipes.schedule_command import schedule
from workloads.run_dir.seen_command import seen

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(bench_app, name="bench")
app.add_typer(data_app, name="data")
# It reads runs, which the commands of `workloads.data` know nothing of.
data_app.command()(seen)
app.command()(memory)
app.command()(growth_commands.grow)
app.command()(growth_commands.growth_guideline)
app.command()(huggingface_commands.import_hf)
app.command()(huggingface_commands.export_hf)
app.command()(schedule)
app.command()(coordinate_check)


@app.callback()
def workloads() -> None:
    """Train one language model with structured feedforward layers."""


@app.command()
def train(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG.yaml", help="The run: a preset and what differs from it."),
    ],
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Where checkpoints, metrics and result go.")
    ],
    data_root: Annotated[
        Path, typer.Option(file_okay=False, help="Where token shards are kept.")
    ] = Path("runs/data"),
) -> None:
    """Train one run, or go on with it where it stopped.

    \b
    Example: python -m workloads train low-rank.yaml --out runs/low-rank
    where low-rank.yaml holds
      preset: nano
      ffn: {kind: lowrank, fraction: 0.625}
      budget: {steps: 200}

    Prints the result as JSON; the metrics are in OUT/metrics.jsonl. Exit code 0 when the run
    finished, 1 when it diverged or was stopped, 2 when the configuration is wrong. SIGTERM stops it
    after the step in hand, which is saved; the same command goes on there.
    """
    run_config = load_run(config)
    # Imported late so that --help and configuration errors do not wait for torch.
    from workloads.data.texts import opened, opened_one, placed, placed_one
    from workloads.run_dir.metrics_log import Row
    from workloads.run_dir.paths import RESULT_FILE
    from workloads.run_dir.progress import place_in_words
    from workloads.training.trainer import train

    def show(row: Row) -> None:
        typer.echo(
            f"{place_in_words(run_config, row)}  val_loss {row['val_loss']:.4f}  "
            f"train_loss {row['train_loss']:.4f}  {row['tokens_per_second']:,.0f} tokens/s",
            err=True,
        )

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    dataset = opened(placed(run_config.data, data_root))
    eval_sets = {n: opened_one(placed_one(t, data_root)) for n, t in run_config.eval_sets.items()}
    try:
        result = train(run_config, dataset, out, show, should_stop=stop.is_set, eval_sets=eval_sets)
    except Preempted as error:
        typer.echo(f"{error}; the same command goes on from there", err=True)
        raise typer.Exit(1) from None
    typer.echo((out / RESULT_FILE).read_text(encoding="utf-8"))
    raise typer.Exit(0 if result.status == "finished" else 1)


@app.command()
def import_reference(
    checkpoint: Annotated[
        Path,
        typer.Argument(metavar="CKPT.pth", help="A checkpoint of the public implementation."),
    ],
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG.yaml", help="The run it is of, written as for `train`."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The model file to write.")],
) -> None:
    """Turn a checkpoint of the paper's public implementation into a model file.

    \b
    Example: python -m workloads import-reference 5999.pth low-rank.yaml low-rank.safetensors
    where low-rank.yaml holds
      preset: transformer-s
      model: {activation: gelu_tanh}
      ffn: {kind: lowrank, rank: 192}

    CKPT.pth is a state dict (CLAIRE-Labo/StructuredFFN), alone or under `model`, and nothing in it
    is executed: objects pickled beside the tensors are refused. OUT holds the weights and the
    model's configuration as safetensors; workloads.interop.model_file.load_model(OUT) reads it.
    Exit code 0 when OUT is written, 2 when the files do not fit or cannot be read.
    """
    model_config = load_run(config).model
    # Imported late, as above.
    from workloads.interop import structured_ffn

    model = structured_ffn.import_reference(checkpoint, model_config, out)
    typer.echo(f"{out}: {sum(p.numel() for p in model.parameters()):,} parameters")
