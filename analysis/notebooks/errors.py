"""A mistake in a notebook is one line: the message, in the words of keyword arguments."""

import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from analysis.fitting.fit import FitError
from analysis.tables.errors import RunTableError

P = ParamSpec("P")
R = TypeVar("R")


class StudyError(ValueError):
    """A study that cannot be loaded, or a question that its runs do not answer, and the remedy."""

    def _render_traceback_(self) -> list[str]:
        """Show the message alone, where Jupyter would show every frame of the analysis."""
        return [f"StudyError: {self}"]


def one_line_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn what the analysis refuses into a StudyError; an option is named as its keyword is."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (RunTableError, FitError) as error:
            text = " ".join(str(error).split())
            keywords = re.sub(r"--[a-z][a-z-]*", lambda m: m[0][2:].replace("-", "_"), text)
            raise StudyError(keywords) from None

    return called
