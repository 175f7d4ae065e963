"""Slopes, and whether they can be told from noise."""

from __future__ import annotations

import itertools
import random

import pytest

from bench.trend import trend


def noise(seed: int, count: int = 120, kept: float = 0.0) -> list[float]:
    """Values around 10; `kept`, how much of a deviation is still there in the next."""
    rng, deviation, values = random.Random(seed), 0.0, []
    for _ in range(count):
        deviation = kept * deviation + rng.gauss(0, 1)
        values.append(10 + deviation)
    return values


def test_a_line_is_found_exactly() -> None:
    line = trend([3 + 0.5 * i for i in range(10)])
    assert line.slope == pytest.approx(0.5)
    assert line.mean == pytest.approx(5.25)
    assert line.is_told


def test_a_constant_series_has_no_slope() -> None:
    line = trend([7.0] * 20)
    assert (line.slope, line.t, line.is_told) == (0.0, 0.0, False)


def test_a_slope_under_noise_is_told_and_noise_alone_is_not() -> None:
    rising = [value + 0.05 * i for i, value in enumerate(noise(1))]
    line = trend(rising)
    assert line.is_told
    assert line.slope == pytest.approx(0.05, abs=3 * line.error)
    assert sum(trend(noise(seed)).is_told for seed in range(200)) <= 4  # of 200, where 0.3% are expected


def test_neighbours_that_deviate_together_are_no_evidence_of_a_slope() -> None:
    minded = sum(trend(noise(seed, kept=0.6)).is_told for seed in range(200))
    assert minded <= 10
    naive = sum(abs(ignoring_neighbours(noise(seed, kept=0.6))) > 3 for seed in range(200))
    assert naive > 2 * minded  # the series are such that it matters


def ignoring_neighbours(values: list[float]) -> float:
    """The t of an ordinary fit."""
    n, line = len(values), trend(values)
    middle = (n - 1) / 2
    residuals = [value - line.mean - line.slope * (i - middle) for i, value in enumerate(values)]
    squares = sum(residual**2 for residual in residuals)
    r = sum(one * other for one, other in itertools.pairwise(residuals)) / squares
    return line.t * ((1 + r) / (1 - r)) ** 0.5 if r > 0 else line.t


def test_three_values_are_no_trend() -> None:
    with pytest.raises(ValueError, match="four"):
        trend([1, 2, 3])
