"""The report: one HTML page that shows how robust a network is, from saved results only."""

from ._results import RunResults as RunResults
from ._results import read_run as read_run
from ._write import write_report as write_report
