"""Data sets, batches and augmentation."""

from ._augment import Cutout as Cutout
from ._augment import Flip as Flip
from ._augment import Shift as Shift
from ._batches import Augmentation as Augmentation
from ._batches import Batch as Batch
from ._batches import Batches as Batches
from ._dataset import Dataset as Dataset
from ._dataset import Part as Part
from ._dataset import Source as Source
from ._dataset import Statistics as Statistics
from ._join import join as join
from ._load import DATASETS as DATASETS
from ._load import find_data as find_data
from ._load import find_path as find_path
from ._load import is_here as is_here
from ._load import load_data as load_data
from ._load import read_source as read_source
from ._reading import Colour as Colour
from ._reading import Reading as Reading
from ._split import Split as Split
from ._stored import Stored as Stored
from ._text import sentences as sentences
from .corruptions import CORRUPTIONS as CORRUPTIONS
from .corruptions import SEVERITIES as SEVERITIES
from .corruptions import Corruption as Corruption
from .corruptions import corrupt as corrupt
