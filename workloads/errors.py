"""What ends a run or a command on purpose: a user's mistake, or a run that stops before its end."""


class InputError(ValueError):
    """What a person wrote is wrong; the message names the place, the value and the remedy.

    Printed as one line, exit code 2, never a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class Refused(Exception):
    """A run was not let begin; the message says why. It can be started again later."""


class Preempted(Exception):
    """A run was told to stop and has saved the step it was at; started again, it goes on there."""
