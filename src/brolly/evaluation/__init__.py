"""Evaluation: attacks judged by someone who does not believe them, and the outcome as data."""

from ._check import Check as Check
from ._check import Status as Status
from ._check import Trust as Trust
from ._check import judge_trust as judge_trust
from ._evaluate import default_attacks as default_attacks
from ._evaluate import evaluate as evaluate
from ._evaluation import HELD as HELD
from ._evaluation import WRONG as WRONG
from ._evaluation import AttackRecord as AttackRecord
from ._evaluation import Count as Count
from ._evaluation import CurvePoint as CurvePoint
from ._evaluation import DataFacts as DataFacts
from ._evaluation import Evaluation as Evaluation
from ._evaluation import ModelFacts as ModelFacts
from ._evaluation import Picture as Picture
from ._judge import NO_PREDICTION as NO_PREDICTION
from ._judge import Judge as Judge
from ._preflight import Finding as Finding
from ._preflight import preflight as preflight
