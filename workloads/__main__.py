"""`python -m workloads COMMAND`: one run, its data, and what is made of its model."""

from __future__ import annotations

from collections.abc import Callable

from kernels.command_line import run_command
from workloads.errors import InputError


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    run_command(_load, "workloads", InputError)


def _load() -> Callable[..., object]:
    from workloads.commands import app

    return app


if __name__ == "__main__":
    main()
