"""Training: `fit`, what it is made of and the folder it leaves behind."""

from ._average import EMA as EMA
from ._combination import check_combination as check_combination
from ._fit import Precision as Precision
from ._fit import TrainingDiverged as TrainingDiverged
from ._fit import fit as fit
from ._history import EpochRecord as EpochRecord
from ._history import History as History
from ._optimizers import SGD as SGD
from ._optimizers import AdamW as AdamW
from ._optimizers import Optimizer as Optimizer
from ._run import RunFolder as RunFolder
from ._schedules import Constant as Constant
from ._schedules import Cosine as Cosine
from ._schedules import MultiStep as MultiStep
from ._schedules import OneCycle as OneCycle
from ._schedules import Plateau as Plateau
from ._schedules import Progress as Progress
from ._schedules import Schedule as Schedule
from ._schedules import Step as Step
from ._validation import SelectBy as SelectBy
from ._validation import Validation as Validation
