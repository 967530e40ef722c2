"""The report: how robust a network is, on one page, from saved results only."""

from ._data import write_data_check as write_data_check
from ._learning_curve import write_curve as write_curve
from ._results import BrokenExamples as BrokenExamples
from ._results import RunResults as RunResults
from ._results import read_run as read_run
from ._summary import count_json as count_json
from ._sweep import write_sweep as write_sweep
from ._write import FILES as FILES
from ._write import Format as Format
from ._write import write_report as write_report
