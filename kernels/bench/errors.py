"""What a person asked of the benchmarks is wrong."""


class InputError(ValueError):
    """The message names what is wrong and the remedy; printed as one line, exit code 2."""
