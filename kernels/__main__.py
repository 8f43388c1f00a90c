"""`python -m kernels COMMAND`: what the kernels are worth."""

from __future__ import annotations

from collections.abc import Callable

from kernels.bench.errors import InputError
from kernels.command_line import run_command


def main() -> None:
    """Run the command line. A user's mistake becomes one line on stderr and exit code 2."""
    run_command(_load, "kernels", InputError)


def _load() -> Callable[..., object]:
    from kernels.bench.app import app

    return app


if __name__ == "__main__":
    main()
