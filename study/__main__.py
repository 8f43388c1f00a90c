"""`python -m study COMMAND`: a study file from its cost to its figure."""

from __future__ import annotations

from collections.abc import Callable

from analysis.tables.errors import RunTableError
from kernels.command_line import run_command
from workloads.errors import InputError


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    run_command(_load, "study", InputError, RunTableError)


def _load() -> Callable[..., object]:
    from study.commands.app import app

    return app


if __name__ == "__main__":
    main()
