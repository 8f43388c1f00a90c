"""`python -m workloads data ...`: token data made, looked at, checked and handed on."""

from __future__ import annotations

import typer

from workloads.data import format_commands, prepare_commands

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.command()(prepare_commands.prepare)
app.command()(prepare_commands.train_tokenizer)
app.command()(format_commands.inspect)
app.command()(format_commands.verify)
app.command()(format_commands.export)


@app.callback()
def data() -> None:
    """Make, inspect, check and export token data.

    \b
    Example: python -m workloads data prepare web/ --tokenizer llama.json --out runs/data/web
             python -m workloads data inspect runs/data/web
    """
