"""Random changes of images that keep their class."""

from ._affine import Affine as Affine
from ._augmix import AugMix as AugMix
from ._base import Augmented as Augmented
from ._base import Geometric as Geometric
from ._base import ImageAugmentation as ImageAugmentation
from ._base import Move as Move
from ._base import Photometric as Photometric
from ._base import augment as augment
from ._colour import ColourJitter as ColourJitter
from ._crop import Crop as Crop
from ._cutout import Cutout as Cutout
from ._erasing import Erasing as Erasing
from ._flip import Flip as Flip
from ._randaugment import RandAugment as RandAugment
from ._rotation import Rotation as Rotation
from ._shift import Shift as Shift
