"""`python -m cluster COMMAND`: whether a cluster is ready for a study."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line. While modules load, which Ctrl-C would break, it ends at once."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cluster.commands import app

    signal.signal(signal.SIGINT, before)
    app(prog_name="python -m cluster")


if __name__ == "__main__":
    main()
