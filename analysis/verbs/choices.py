"""What one chooses of a fit, by name: the law, the loss function, the target; and whom errors name.

Commands and notebooks take the same words. Errors name an option as the command line writes it.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from analysis.fitting.fit import FitError, Loss
from analysis.laws.law import Law
from analysis.laws.registry import LAWS
from analysis.tables.errors import nearest
from analysis.tables.table import Table
from analysis.uncertainty.bootstrap import Resampling

FEWEST_RESAMPLES = 100  # of an interval that a result rests on


def law_named(name: str) -> Law:
    """Find a law by name; raise a FitError that names the nearest one."""
    for known, law in LAWS.items():
        if known == name:
            return law
    raise FitError(f"--law {name}: no such law{nearest(name, LAWS)}; one of {', '.join(LAWS)}")


def loss_named(name: str) -> Loss:
    """Check the name of a loss; raise a FitError that names them all."""
    if name not in ("huber", "l1", "l2"):
        raise FitError(f"--loss {name}: no such loss; one of huber, l1, l2")
    return name


def resampling_of(bootstrap: int, seed: int, level: float, by: str) -> Resampling:
    """Make the settings of intervals; raise a FitError if they are too few for what needs them."""
    if bootstrap < FEWEST_RESAMPLES:
        raise FitError(f"--bootstrap {bootstrap}: {by} needs intervals; give 100 or more")
    return Resampling(bootstrap, level, seed)


def read_target(text: str) -> dict[str, float]:
    """Read `params=7e9,tokens=1e12` as numbers by name; raise a FitError where it is not that."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        name = name.strip()
        try:
            number = float(value)
        except ValueError:
            raise FitError(f"--at {text!r}: {part!r} is not NAME=NUMBER") from None
        if name in found:
            raise FitError(f"--at {text!r}: {name} is given twice; keep one")
        found[name] = number
    return found


def check_target(target: Mapping[str, float], law: Law) -> dict[str, float]:
    """Check that a target has every variable of the law; raise a FitError where it has not."""
    text = ",".join(f"{name}={value:g}" for name, value in target.items())
    for name, number in target.items():
        if name not in law.variables:
            known = ", ".join(law.variables)
            raise FitError(f"--at {text!r}: law {law.name} has no {name!r}; it takes {known}")
        if not (number > 0 and math.isfinite(number)):
            raise FitError(f"--at {text!r}: {name} must be a positive number")
    if missing := set(law.variables) - set(target):
        raise FitError(f"--at {text!r}: {', '.join(sorted(missing))} is missing")
    return dict(target)


@contextmanager
def naming(place: object, table: Table) -> Iterator[None]:
    """Say of a refused fit which file or arm it is about, and what is doubtful about its table."""
    try:
        yield
    except FitError as error:
        raise FitError(f"{place}: {'; '.join([str(error), *table.cautions])}") from error
