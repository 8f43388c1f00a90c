"""`python -m study COMMAND`: a study file from its cost to its figure."""

from __future__ import annotations

from typing import Any

from analysis.tables.errors import RunTableError
from kernels.command_line import run_command
from workloads.errors import InputError


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    run_command(_commands, "study", InputError, RunTableError)


def _commands(**options: Any) -> None:
    # Imported late, so that Ctrl-C is no traceback while the modules load.
    from study.commands.app import app

    app(**options)


if __name__ == "__main__":
    main()
