"""The one error for a user's mistake: printed as one line, exit code 2, never a traceback."""


class InputError(ValueError):
    """What a person wrote is wrong; the message names the place, the value and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))
