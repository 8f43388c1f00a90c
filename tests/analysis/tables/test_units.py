"""Units that do not fit together are said, and what people really do is not."""

import numpy as np
import pytest

from analysis.tables.units import unit_cautions

N = np.array([1e7, 3e7, 1e8])
D = 20 * N


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tokens": D, "flops": 6e-9 * N * D}, "C = 6e-09 N D and D = 20 N in 3 of 3 runs"),
        ({"tokens": D / 1e9, "flops": 6 * N * D}, "C = 6e+09 N D and D = 2e-08 N in 3 of 3"),
        ({"tokens": D / 1e9}, "D = 2e-08 N in 3 of 3 runs, nowhere near D = 1 to 10,000 N"),
        ({"tokens": D / 2048, "flops": 6 * N * D}, "C = 1.23e+04 N D"),
        ({"params": N / 1e6, "tokens": D}, "D = 2e+07 N"),
        ({"tokens": D * [1, 1e-6, 1]}, "in 1 of 3 runs"),
        ({"tokens": D, "flops": 6 * N * D / 8.64e19}, "C = 6.94e-20 N D"),
    ],
)
def test_units_that_do_not_fit(values: dict[str, np.ndarray], words: str) -> None:
    (caution,) = unit_cautions({"params": N, **values})
    assert words in caution and "do not fit together" in caution


@pytest.mark.parametrize(
    "values",
    [
        {"tokens": D, "flops": 6 * N * D},
        {"tokens": D, "flops": 2 * N * D},
        {"tokens": D, "flops": 40 * N * D},  # tiny models: attention and embeddings
        {"tokens": N * [0.1, 1000, 50_000]},
        {"tokens": D * [np.nan, np.inf, -1]},
        {"flops": 1e3 * N},
    ],
)
def test_what_people_do_is_not_remarked(values: dict[str, np.ndarray]) -> None:
    assert unit_cautions({"params": N, **values}) == []
