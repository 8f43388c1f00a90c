"""P-values of several tests at once."""

import numpy as np


def holm(p_values: list[float]) -> list[float]:
    """Adjust p-values for their number by Holm's method (1979); the order is kept."""
    order = np.argsort(p_values)
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[int(i)] = running
    return adjusted
