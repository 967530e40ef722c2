"""What went wrong in a training, by what evidence and against which threshold."""

from ._diagnose import diagnose as diagnose
from ._finding import Finding as Finding
from ._finding import Observation as Observation
from ._finding import load_findings as load_findings
from ._finding import save_findings as save_findings
from ._rate_range import LearningRateRange as LearningRateRange
from ._rate_range import learning_rate_range as learning_rate_range
