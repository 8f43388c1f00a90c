"""How the rooms' command lines begin and end: a mistake, or what a disk refuses, is one line."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from kernels import switches

FREE = "free some space, or choose another folder"
ALLOW = "choose another folder, or give this user the right to it"
IN_THE_WAY = "move away what is in the way, or choose another folder"
CURES = {
    errno.ENOSPC: FREE,
    errno.EDQUOT: FREE,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or choose another disk",
    errno.EROFS: ALLOW,
    errno.EACCES: ALLOW,
    errno.EPERM: ALLOW,
    errno.ENOTDIR: IN_THE_WAY,
    errno.EEXIST: IN_THE_WAY,
    errno.EISDIR: IN_THE_WAY,
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "choose a folder that is no loop of links",
}


def run_command(
    load: Callable[[], Callable[..., object]], room: str, *mistakes: type[Exception]
) -> NoReturn:
    """Run `python -m ROOM ...` and exit; `mistakes` are the errors of what a person wrote.

    These, and whatever a disk refuses, are one line on stderr and exit code 2. `load` imports and
    returns the application. Ctrl-C ends the command, at once while that loads or the second time.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack characters of a path
            stream.reconfigure(errors="backslashreplace")
    if answered := signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    try:
        switches.check()
        app = load()
        if answered:
            signal.signal(signal.SIGINT, _interrupt)
        app(prog_name=f"python -m {room}")
        code: str | int | None = 0
    except SystemExit as ended:
        code = ended.code
    except KeyboardInterrupt:  # just before or behind typer, which answers the others
        code = 128 + signal.SIGINT
    except (switches.UnknownSwitch, *mistakes) as error:
        code = _refuse(str(error))
    except OSError as error:
        code = _refuse(explain(error))
    sys.exit(_flushed(code))


def explain(error: OSError) -> str:
    """Return what the system refused, where, and the cure, in one line."""
    reason = error.strerror or str(error) or type(error).__name__
    places = [str(place) for place in (error.filename, error.filename2) if place is not None]
    cure = CURES.get(error.errno or 0)
    line = ": ".join([*places, reason]) + (f"; {cure}" if cure else "")
    return " ".join(line.split())


def _flushed(code: str | int | None) -> str | int | None:
    """Write what is left of the output; return the exit code, which says if that failed."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # The interpreter would try again as it ends, and print an error of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == 2 or isinstance(error, BrokenPipeError):  # said already, or of `| head`
            return code or 1
        return _refuse(f"standard output: {explain(error)}")
    return code


def _refuse(line: str) -> int:
    print(line, file=sys.stderr)
    return 2


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End at once: modules that load make other errors of an exception, or print it."""
    os._exit(128 + number)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt
