"""Checks: an evaluation that tests itself, and says what makes its number doubtful."""

from ._names import NAMES as NAMES
from ._run import run_checks as run_checks
from ._subject import Subject as Subject
