"""The contract of every certificate."""

from __future__ import annotations

import abc
import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..attacks._engine import check_batch, check_integers, untouched
from ..threats import Affine, Threat


class Unsupported(ValueError):
    """The certificate cannot say anything about this model or this threat."""


@dataclasses.dataclass(frozen=True)
class Certificate(abc.ABC):
    """A way to prove predictions: what attacks can only fail to refute.

    Subclasses are frozen dataclasses that say how to prove, in `decide`; `proves` does the rest.

    Example:
        >>> import torch, brolly
        >>> class Stubborn(brolly.Certificate):
        ...     @property
        ...     def name(self):
        ...         return "stubborn"
        ...     def decide(self, model, x, y, threat):
        ...         return torch.zeros(len(x), dtype=torch.bool)
        >>> model = torch.nn.Linear(4, 2)
        >>> Stubborn().proves(model, torch.rand(1, 4), torch.tensor([0]), brolly.Linf(0.1))
        tensor([False])
    """

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What tables call it."""

    @torch.inference_mode(False)
    def proves(
        self,
        model: nn.Module,
        x: Float[Tensor, "batch *shape"],
        y: Tensor,
        threat: Threat | Affine,
    ) -> Bool[Tensor, " batch"]:
        """Of which examples it is proved that the threat cannot change the prediction.

        The model is in eval mode meanwhile; modes and buffers are left as they were, and there
        are no gradients.

        Args:
            model: Maps inputs to logits `(batch, classes)`.
            x: Clean inputs inside the bounds of the threat, float32 or float64, `(batch, ...)`.
            y: Labels, `(batch,)`.
            threat: What the adversary may do.

        Returns:
            True where no input inside the threat and the bounds, the clean one included, is given
            another class than `y`, `(batch,)`. False says nothing.

        Raises:
            Unsupported: The model or the threat is beyond this certificate.
            ValueError: Inputs or labels do not fit the threat or each other.
        """
        x = x.detach().clone() if x.is_inference() else x.detach()
        if isinstance(threat, Affine):
            raise Unsupported(
                f"{self.name} does not understand {threat}; expected a ball around the values of "
                "the input, for example brolly.Linf(8 / 255)"
            )
        check_batch(model, threat, x)
        check_integers(y, x, "labels")
        if len(x) == 0:
            return torch.zeros(0, dtype=torch.bool, device=x.device)
        with untouched(model), torch.no_grad():
            return self.decide(model, x, y.long(), threat)

    @abc.abstractmethod
    def decide(
        self,
        model: nn.Module,
        x: Float[Tensor, "batch *shape"],
        y: Int[Tensor, " batch"],
        threat: Threat,
    ) -> Bool[Tensor, " batch"]:
        """As `proves`, with everything checked, the model in eval mode and gradients off."""
