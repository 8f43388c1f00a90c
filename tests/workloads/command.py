"""`python -m workloads ...` in the tests' own process, which saves the seconds of a start."""

import io
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from workloads.__main__ import main


def in_process(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run the command; its exit code and what it printed."""
    words, out, err = ["workloads", *map(str, arguments)], io.StringIO(), io.StringIO()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with mock.patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            signal.signal(signal.SIGTERM, on_sigterm)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
