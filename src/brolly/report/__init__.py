"""The report: how robust a network is, on one page, from saved results only."""

from ._results import BrokenExamples as BrokenExamples
from ._results import RunResults as RunResults
from ._results import read_run as read_run
from ._write import FILES as FILES
from ._write import Format as Format
from ._write import write_report as write_report
