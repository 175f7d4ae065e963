"""Whether a series rises or falls, or only looks as if: least squares, with a standard error that minds neighbours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

TOLD_APART = 3.0  # |slope| / its standard error from which on a slope is told from noise


@dataclass(frozen=True)
class Trend:
    """A straight line through a series at equal distances."""

    mean: float
    slope: float  # for one step of the series
    error: float  # the standard error of the slope

    @property
    def t(self) -> float:
        """How many standard errors the slope is away from none."""
        if self.error == 0:
            return 0.0 if self.slope == 0 else math.copysign(math.inf, self.slope)
        return self.slope / self.error

    @property
    def is_told(self) -> bool:
        """Whether it can be told from noise."""
        return abs(self.t) > TOLD_APART


def trend(values: Sequence[float]) -> Trend:
    """Fit a line by least squares.

    What deviates in one minute often does in the next, so that n values say less than n independent ones: with r the
    correlation of each residual with the one before it, where that is positive, the standard error of independent values is
    multiplied by sqrt((1 + r) / (1 - r)).
    """
    n = len(values)
    if n < 4:
        raise ValueError("A trend needs four values.")
    middle, mean = (n - 1) / 2, math.fsum(values) / n
    spread = math.fsum((i - middle) ** 2 for i in range(n))
    slope = math.fsum((i - middle) * (value - mean) for i, value in enumerate(values)) / spread
    residuals = [value - mean - slope * (i - middle) for i, value in enumerate(values)]
    squares = math.fsum(residual**2 for residual in residuals)
    if squares <= 1e-18 * max(1.0, mean**2) * n:  # a line without noise, but for the last digits
        return Trend(mean, slope if abs(slope) * n > 1e-9 * max(1.0, abs(mean)) else 0.0, 0.0)
    after = math.fsum(one * other for one, other in itertools.pairwise(residuals)) / squares
    r = min(max(after, 0.0), 0.95)
    error = math.sqrt(squares / (n - 2) / spread) * math.sqrt((1 + r) / (1 - r))
    return Trend(mean, slope, error)
