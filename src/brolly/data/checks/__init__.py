"""What may be wrong with a data set, looked for before it is trained on."""

from ._check import check_data as check_data
from ._check import check_path as check_path
from ._finding import DataCheck as DataCheck
from ._finding import Example as Example
from ._finding import Finding as Finding
from ._finding import Place as Place
from ._finding import SplitSummary as SplitSummary
