"""Slow projections in float64, straight from the definitions."""

from __future__ import annotations

import itertools

import numpy as np


def linf(point: np.ndarray, centre: np.ndarray, eps: float, low: float, high: float) -> np.ndarray:
    return np.clip(np.clip(point, centre - eps, centre + eps), low, high)


def l2(point: np.ndarray, centre: np.ndarray, eps: float, low: float, high: float) -> np.ndarray:
    """Nearest point of {||z - centre|| <= eps, low <= z <= high}.

    The Lagrangian separates over the coordinates: z = clip(centre + (point - centre) / (1 + m))
    with m = 0 where that is inside the ball, otherwise the m that puts it on the sphere.
    """

    def candidate(t: float) -> np.ndarray:
        return np.clip(centre + t * (point - centre), low, high)

    def length(t: float) -> float:
        return float(np.linalg.norm(candidate(t) - centre))

    if length(1.0) <= eps:
        return candidate(1.0)
    inside, outside = 0.0, 1.0
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if length(middle) <= eps else (inside, middle)
    return candidate(inside)


def l1(point: np.ndarray, centre: np.ndarray, eps: float, low: float, high: float) -> np.ndarray:
    """Nearest point of {sum |z - centre| <= eps, low <= z <= high}.

    The Lagrangian separates: every change is shrunk by the same m and cut to the box.
    """
    delta = point - centre

    def candidate(m: float) -> np.ndarray:
        return np.clip(centre + np.sign(delta) * np.maximum(np.abs(delta) - m, 0), low, high)

    def length(m: float) -> float:
        return float(np.abs(candidate(m) - centre).sum())

    if length(0.0) <= eps:
        return candidate(0.0)
    outside, inside = 0.0, float(np.abs(delta).max())
    for _ in range(100):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if length(middle) <= eps else (inside, middle)
    return candidate(inside)


def l0_distance(
    point: np.ndarray, centre: np.ndarray, eps: float, low: float, high: float
) -> float:
    """Distance of `point` to {at most eps values differ from centre, low <= z <= high}.

    By trying every set of values that may change; the nearest point itself need not be unique.
    """
    count = min(int(eps), len(point))
    inside = np.clip(point, low, high)
    best = np.inf
    for chosen in itertools.combinations(range(len(point)), count):
        z = centre.copy()
        z[list(chosen)] = inside[list(chosen)]
        best = min(best, float(np.linalg.norm(z - point)))
    return best
