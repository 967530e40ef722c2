"""Checks: an evaluation that tests itself, and says what makes its number doubtful."""

from ._names import NAMES as NAMES
