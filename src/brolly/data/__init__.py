"""Data sets, batches and augmentation."""

from ._augment import Cutout as Cutout
from ._augment import Flip as Flip
from ._augment import Shift as Shift
from ._batches import Augmentation as Augmentation
from ._batches import Batch as Batch
from ._batches import Batches as Batches
from ._dataset import Dataset as Dataset
from ._dataset import Split as Split
from ._dataset import Statistics as Statistics
from ._join import join as join
from ._load import DATASETS as DATASETS
from ._load import find_data as find_data
from ._load import is_here as is_here
from ._load import load_data as load_data
from .corruptions import CORRUPTIONS as CORRUPTIONS
from .corruptions import SEVERITIES as SEVERITIES
from .corruptions import Corruption as Corruption
from .corruptions import corrupt as corrupt
