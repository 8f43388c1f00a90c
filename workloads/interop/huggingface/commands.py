"""`python -m workloads import-hf` and `export-hf`: models from and for `transformers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def import_hf(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A model's folder, with config.json.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The model file to write.")],
) -> None:
    """Turn a model of transformers into a model file.

    \b
    Example: python -m workloads import-hf Llama-3.2-1B llama.safetensors
    which prints
      llama.safetensors: LlamaForCausalLM, 1,235,814,400 parameters
      llama.tokenizer.json: its tokenizer

    FOLDER is of LlamaForCausalLM, or of GPTNeoXForCausalLM without parallel residuals and with
    whole heads rotated. Its weights are safetensors, in one file or in shards; pickled ones are
    refused. OUT keeps their type; workloads.interop.model_file.load_model(OUT) reads it. Exit code
    0 when OUT is written, 2 when the folder does not hold such a model.
    """
    # Imported late so that --help does not wait for torch.
    from workloads.interop.huggingface.importing import import_folder

    done = import_folder(folder, out)
    count = sum(parameter.numel() for parameter in done.model.parameters())
    typer.echo(f"{out}: {done.architecture}, {count:,} parameters")
    if done.tokenizer:
        typer.echo(f"{done.tokenizer}: its tokenizer")
    else:
        typer.echo(f"no tokenizer: {folder} has no tokenizer.json")


def export_hf(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN_OR_MODEL", help="A run's directory, or a model file."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to write.")],
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="Type of the weights.")
    ] = "float32",
) -> None:
    """Turn a run's model, or a model file, into a folder of transformers.

    \b
    Example: python -m workloads export-hf runs/study/points/POINT llama --dtype bfloat16
    which prints
      llama: LlamaForCausalLM, 217,664 parameters in bfloat16

    The architecture follows from the model: LlamaForCausalLM has RMSNorm and SwiGLU,
    GPTNeoXForCausalLM has LayerNorm and GELU. Structured FFNs are multiplied out to dense ones, a
    guide with its weight at that step. A run's model is that of its newest checkpoint, with the
    tokenizer of its text. AutoModelForCausalLM.from_pretrained(OUT) and AutoTokenizer read the
    folder. Exit code 0 when OUT is written, 2 when the model has an option that neither has.
    """
    # Imported late so that --help does not wait for torch.
    from workloads.interop.huggingface.exporting import export_folder

    done = export_folder(source, out, dtype)
    typer.echo(f"{out}: {done.architecture}, {done.parameters:,} parameters in {dtype}")
    for name, value in done.left_out.items():
        typer.echo(f"{name} {value} is left out: {done.architecture} has none")
    if done.no_tokenizer:
        typer.echo(f"no tokenizer is written: {done.no_tokenizer}")
