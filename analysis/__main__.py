"""Command line of the analysis: `python -m analysis --help`."""

from __future__ import annotations

import io
import os
import signal
import sys


def main() -> None:
    """Run the command line. What the output refuses is one line on stderr and exit code 2."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack characters of a name
            stream.reconfigure(errors="backslashreplace")
    try:
        _run()
    except BrokenPipeError:
        _end(1)  # the reader has what it wanted, such as `| head`
    except OSError as error:
        print(f"standard output: {error.strerror}; free some space", file=sys.stderr)
        _end(2)


def _run() -> None:
    # Imported late, so that Ctrl-C is no traceback while the modules load.
    from analysis.commands.app import app

    try:
        app(prog_name="python -m analysis")
    finally:
        sys.stdout.flush()


def _end(code: int) -> None:
    """End without writing what is left of the output, which would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
