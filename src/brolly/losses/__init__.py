"""Losses: per-example functions of logits, larger is worse for the model; their worst case."""

from ._adversarial import adversarial_loss as adversarial_loss
from ._losses import cross_entropy as cross_entropy
from ._losses import dlr as dlr
from ._losses import kl as kl
from ._losses import margin as margin
from ._losses import targeted_dlr as targeted_dlr
