"""Whether the units of parameters, tokens and FLOPs fit together.

Training costs about 6 FLOPs for each parameter and token, and a run has a few tokens a parameter to
some thousands. Other ways of counting differ by a small factor; a column in billions, in gigaflops
or in sequences differs by a thousand or more, and moves every allocation by as much.
"""

from collections.abc import Mapping

import numpy as np

from analysis.laws.law import Array

FLOPS = (0.1, 300.0)  # C / (N D) that some way of counting gives; 6 is usual
TOKENS = (0.03, 300_000.0)  # D / N of runs that anyone makes; 1 to 10,000 is usual


def unit_cautions(values: Mapping[str, Array]) -> list[str]:
    """Say that units do not fit together: one sentence, or none.

    Args:
        values: of params, tokens and flops those that are known, [n] each; what is not a finite
            positive number says nothing.
    """
    if not {"params", "tokens"} <= set(values):
        return []
    N, D = values["params"], values["tokens"]
    ratios = {}
    with np.errstate(all="ignore"):
        if "flops" in values:
            ratios["C = {} N D"] = (values["flops"] / N / D, FLOPS, "C = 6 N D")
        ratios["D = {} N"] = (D / N, TOKENS, "D = 1 to 10,000 N")
    found, usual, wrong = [], [], np.zeros(N.size, bool)
    for name, (ratio, (least, most), expected) in ratios.items():
        known = np.isfinite(ratio) & (ratio > 0)
        out = known & ((ratio < least) | (ratio > most))
        if known.any():
            middle = float(np.median(ratio[out] if out.any() else ratio[known]))
            found.append(name.format(f"{middle:.3g}"))
            usual.append(expected)
        wrong |= out
    if not wrong.any():
        return []
    return [
        f"{' and '.join(found)} in {wrong.sum()} of {N.size} runs, nowhere near "
        f"{' and '.join(usual)}: the units of parameters, tokens and FLOPs do not fit together"
    ]
