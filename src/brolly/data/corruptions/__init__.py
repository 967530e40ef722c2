"""Common corruptions of images (Hendrycks & Dietterich 2019): fifteen types, five severities."""

from ._corrupt import CORRUPTIONS as CORRUPTIONS
from ._corrupt import SEVERITIES as SEVERITIES
from ._corrupt import Corruption as Corruption
from ._corrupt import corrupt as corrupt
