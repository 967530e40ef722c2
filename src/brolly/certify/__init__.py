"""Certificates: proofs that no input inside a threat changes a prediction."""

from ._certificate import Certificate as Certificate
from ._certificate import Unsupported as Unsupported
from ._interval import IntervalBounds as IntervalBounds
from ._interval import bounds as bounds
