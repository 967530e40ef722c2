"""Corruptions of images (Hendrycks & Dietterich 2019, Mu & Gilmer 2019), in suites."""

from ._common import CORRUPTIONS as CORRUPTIONS
from ._corrupt import SUITES as SUITES
from ._corrupt import corrupt as corrupt
from ._corrupt import find_suite as find_suite
from ._mnist_c import MNIST_C as MNIST_C
from ._suite import SEVERITIES as SEVERITIES
from ._suite import Corruption as Corruption
from ._suite import Suite as Suite
