"""The minimizer that serves every estimator: Huber's loss, least squares, absolute deviations."""

from analysis.fitting.derivatives import Problems
from analysis.fitting.least_absolute import refine_absolute
from analysis.fitting.newton import GRADIENT_TOL, MAX_STEPS, Refined, refine
from analysis.laws.law import Array


def minimize(
    problems: Problems, theta: Array, *, max_steps: int = MAX_STEPS, tol: float = GRADIENT_TOL
) -> Refined:
    """Minimize each problem from its row of theta [r, p], whatever delta is.

    `max_steps` and `tol` are of `refine`; absolute deviations (delta 0) end at an exact vertex.
    """
    if problems.delta == 0:
        return refine_absolute(problems, theta)
    return refine(problems, theta, max_steps=max_steps, tol=tol)
