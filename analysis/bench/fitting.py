"""Speed of the fits against the two usual ways: `python -m analysis.bench.fitting --help`.

Baselines, written here and run beside: 4,500 starts (the grid of Besiroglu et al. 2024, arXiv
2404.10102) of L-BFGS-B with finite differences, the usual notebook; and loops that refit each
resample by itself from the estimate, by BFGS with analytic gradients and by L-BFGS-B without. By
default they are timed on a part and scaled, which is said in the output; --full runs them whole,
in ten minutes or so.
Seconds are of the process's own CPU time, so that a busy machine tilts no ratio.
"""

import json
import os
import platform
import statistics
import subprocess
import time
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.optimize import minimize as scipy_minimize
from scipy.special import huber, logsumexp

from analysis.fitting.fit import LawFit, fit_law
from analysis.laws.law import Array
from analysis.laws.registry import LAWS
from analysis.tables.writing import write_text
from analysis.uncertainty.bootstrap import Draws, Resampling, bootstrap

DELTA = 1e-3
RESAMPLES = 4000
STARTS_SHOWN, RESAMPLES_SHOWN = 45, 100  # of the baselines, without --full
PAIRS = 5  # of all resamples at once and a loop over some, in turn
REPEATS = 25
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def usual_starts() -> Array:
    """List the 4,500 starts of the published fit: (log A, log B, log E, alpha, beta)."""
    grid = product(
        np.arange(0, 30, 5),
        np.arange(0, 30, 5),
        np.arange(-1, 1.5, 0.5),
        np.arange(0, 2.5, 0.5),
        np.arange(0, 2.5, 0.5),
    )
    return np.array(list(grid), dtype=float)


def usual_objective(start: Array, N: Array, D: Array, L: Array, weights: Array | float) -> float:
    """Sum the Huber loss of log residuals as notebooks write it."""
    a, b, e, alpha, beta = start
    terms = np.stack([a - alpha * np.log(N), b - beta * np.log(D), np.full(N.shape, e)])
    return float((weights * huber(DELTA, logsumexp(terms, axis=0) - np.log(L))).sum())


def multi_start(starts: Array, N: Array, D: Array, L: Array) -> tuple[float, float]:
    """Time L-BFGS-B with finite differences from each start: seconds, and the best objective."""
    begun = time.process_time()
    best = min(
        scipy_minimize(usual_objective, start, args=(N, D, L, 1.0), method="L-BFGS-B").fun
        for start in starts
    )
    return time.process_time() - begun, float(best)


def resample_loop(fit: LawFit, N: Array, D: Array, L: Array, count: int) -> float:
    """Time the refitting of each of `count` resamples by itself, in seconds."""
    rng = np.random.default_rng(0)
    log_N, log_D, log_L = np.log(N), np.log(D), np.log(L)
    p = fit.params
    start = np.array([np.log(p["A"]), np.log(p["B"]), np.log(p["E"]), p["alpha"], p["beta"]])

    def value_and_gradient(x: Array, rows: NDArray[np.intp]) -> tuple[float, Array]:
        n, d, y = log_N[rows], log_D[rows], log_L[rows]
        terms = np.stack([x[0] - x[3] * n, x[1] - x[4] * d, np.full(n.shape, x[2])])
        total = logsumexp(terms, axis=0)
        share = np.exp(terms - total)
        r = total - y
        psi = np.clip(r, -DELTA, DELTA)
        value = float((psi * (r - psi / 2)).sum()) / DELTA
        gradient = np.array(
            [
                psi @ share[0],
                psi @ share[1],
                psi @ share[2],
                -psi @ (share[0] * n),
                -psi @ (share[1] * d),
            ]
        )
        return value, gradient / DELTA

    begun = time.process_time()
    for _ in range(count):
        rows = rng.integers(0, L.size, L.size)
        scipy_minimize(value_and_gradient, start, args=(rows,), jac=True, method="BFGS")
    return time.process_time() - begun


def bootstrap_pairs(
    fit: LawFit, N: Array, D: Array, L: Array, count: int, pairs: int
) -> tuple[Draws, list[tuple[float, float]]]:
    """Time `RESAMPLES` resamples at once, and the loop over `count` scaled to as many, in seconds.

    In turn, so that what else the machine does meets both of a pair.
    """
    draws = bootstrap(fit, Resampling(100, method="pairs"))  # warms caches
    found = []
    for _ in range(pairs):
        begun = time.process_time()
        draws = bootstrap(fit, Resampling(RESAMPLES, method="pairs"))
        quick = time.process_time() - begun
        found.append((quick, resample_loop(fit, N, D, L, count) * RESAMPLES / count))
    return draws, found


def usual_loop(fit: LawFit, N: Array, D: Array, L: Array, count: int) -> float:
    """Time the same loop with finite differences and L-BFGS-B, as notebooks run it, in seconds."""
    rng = np.random.default_rng(0)
    p = fit.params
    start = np.array([np.log(p["A"]), np.log(p["B"]), np.log(p["E"]), p["alpha"], p["beta"]])
    begun = time.process_time()
    for _ in range(count):
        rows = rng.integers(0, L.size, L.size)
        scipy_minimize(
            usual_objective, start, args=(N[rows], D[rows], L[rows], 1.0), method="L-BFGS-B"
        )
    return time.process_time() - begun


def read_points(path: Path) -> tuple[Array, Array, Array]:
    """Read N, D = C/(6N) and loss of the published points, the five highest losses dropped."""
    import pandas as pd

    frame = pd.read_csv(path, comment="#")
    N, C, L = (frame[name].to_numpy(dtype=float) for name in ("params", "train_flops", "loss"))
    keep = np.sort(np.argsort(L, kind="stable")[:-5])
    return N[keep], (C / (6 * N))[keep], L[keep]


def synthetic_points() -> tuple[Array, Array, Array]:
    """Make 240 runs of a known law with 0.7% noise."""
    rng = np.random.default_rng(0)
    N = np.exp(rng.uniform(np.log(5e7), np.log(1.6e10), 240))
    D = np.exp(rng.uniform(np.log(1e9), np.log(3e11), 240))
    L = 1.82 + 480 * N**-0.35 + 2100 * D**-0.37
    return N, D, L * np.exp(rng.laplace(0, 0.005, 240))


@app.command()
def main(
    points: Annotated[
        Path | None,
        typer.Option(help="CSV with params, train_flops, loss. [default: synthetic points]"),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Run the baselines whole.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the numbers here as JSON.")] = None,
) -> None:
    """Time one fit and 4,000 resamples on one core, and both baselines, in one run.

    \b
    Example:
      OMP_NUM_THREADS=1 python -m analysis.bench.fitting --points points.csv --out fitting.json
    """
    N, D, L = read_points(points) if points else synthetic_points()
    columns = {"params": N, "tokens": D}
    law = LAWS["chinchilla"]
    fit = fit_law(law, columns, L, delta=DELTA)  # warms caches
    times = []
    for _ in range(REPEATS):
        begun = time.process_time()
        fit = fit_law(law, columns, L, delta=DELTA)
        times.append(time.process_time() - begun)
    single = statistics.median(times)
    starts = usual_starts()
    shown = starts if full else starts[:: len(starts) // STARTS_SHOWN][:STARTS_SHOWN]
    seconds, best = multi_start(shown, N, D, L)
    usual = seconds * len(starts) / len(shown)
    count = RESAMPLES if full else RESAMPLES_SHOWN
    draws, pairs = bootstrap_pairs(fit, N, D, L, count, 1 if full else PAIRS)
    resampled, loop = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(slow / quick for quick, slow in pairs)
    usual_count = RESAMPLES if full else RESAMPLES_SHOWN // 2
    notebook = usual_loop(fit, N, D, L, usual_count) * RESAMPLES / usual_count
    result = {
        "runs": int(L.size),
        "clock": "CPU seconds of the process",
        "fit_seconds": single,
        "fit_seconds_fastest": min(times),
        "objective": fit.objective,
        "bootstrap_seconds": resampled,
        "bootstrap_failed": float(draws.failed.mean()),
        "multi_start_seconds": usual,
        "multi_start_best_objective": best,
        "multi_start_timed_on": f"{len(shown)} of {len(starts)} starts",
        "loop_seconds": loop,
        "loop_timed_on": f"{count} of {RESAMPLES} resamples",
        "fit_times_faster": usual / single,
        "bootstrap_times_faster": statistics.median(ratios),
        "bootstrap_times_faster_pairs": ratios,
        "usual_loop_seconds": notebook,
        "usual_loop_timed_on": f"{usual_count} of {RESAMPLES} resamples",
        "bootstrap_times_faster_than_usual_loop": notebook / resampled,
        "machine": platform.processor() or platform.machine(),
        "cores_used": os.environ.get("OMP_NUM_THREADS", "unset"),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "scipy")},
        "commit": _commit(),
    }
    scaled = "" if full else f" (scaled from {len(shown)} starts)"
    scaled_usual = "" if full else f" (scaled from {usual_count} resamples)"
    scaled_loop = "" if full else f" (scaled from {count} resamples)"
    typer.echo(
        f"one fit of {L.size} runs   {single * 1e3:8.2f} ms   objective {fit.objective:.14f}\n"
        f"  {len(starts)}-start L-BFGS-B {usual:8.1f} s{scaled}: {usual / single:,.0f} x slower\n"
        f"{RESAMPLES} resamples      {resampled:8.2f} s    {draws.failed.mean():.2%} failed\n"
        f"  per-resample BFGS with analytic gradients, {loop:.1f} s{scaled_loop}: "
        f"{statistics.median(ratios):,.0f} x slower ({ratios[0]:,.0f} to {ratios[-1]:,.0f} in "
        f"{len(ratios)} pairs)\n"
        f"  per-resample L-BFGS-B, finite differences, {notebook:.1f} s{scaled_usual}: "
        f"{notebook / resampled:,.0f} x slower"
    )
    if out is not None:
        write_text(out, json.dumps(result, indent=1) + "\n")


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    app()
