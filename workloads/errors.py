"""Errors that end a run or a command on purpose: a user's mistake, or a run that stops early."""


class InputError(ValueError):
    """An error in what a person wrote; the message names the place, the value and the remedy.

    Printed as one line, exit code 2, never a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class Misfit(ValueError):
    """Parts of a configuration that do not fit together.

    `fields` are those to change, dotted as a study file has them, the likeliest first; the place of
    an item in its list is a number.
    """

    def __init__(self, message: str, *fields: str) -> None:
        super().__init__(message)
        self.fields: list[tuple[str | int, ...]] = [
            tuple(int(part) if part.isdigit() else part for part in field.split("."))
            for field in fields
        ]


class Refused(Exception):
    """The refusal of a run before its first step; the message says why.

    It is raised, for example, where the run's FLOPs would exceed the study's cap. The run can be
    started again later.
    """


class Preempted(Exception):
    """The stop of a run that was told to stop and has saved its step.

    The run goes on from that step when it is started again.
    """
