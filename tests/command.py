"""The command lines run in the tests' own process, which saves the seconds of starting another."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock


def run_main(
    main: Callable[[], None], room: str, *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """Call the `main` of `python -m ROOM ...`; return its exit code and what it printed."""
    words, out, err = [room, *map(str, arguments)], io.StringIO(), io.StringIO()
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
