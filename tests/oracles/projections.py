"""Slow projections in float64, straight from the definitions."""

from __future__ import annotations

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
