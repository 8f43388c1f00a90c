"""Errors in what a user asks of the benchmarks."""


class InputError(ValueError):
    """A user's mistake. The message names it and a remedy; commands print it and exit with 2."""
