"""Translation invariance."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from .._draws import Draws
from ._momentum import Gradient, MomentumAttack, Refinement, check_images


@dataclasses.dataclass(frozen=True)
class Smooth(Refinement):
    """Smooths the gradient with a Gaussian kernel, as if over shifted images (Dong et al. 2019).

    Args:
        width: Of the kernel, in pixels; its radius is three standard deviations. 15 in the paper.

    Raises:
        ValueError: The width is even or below 3; when called, inputs are no images.
    """

    width: int = 15

    def __post_init__(self) -> None:
        if self.width < 3 or self.width % 2 == 0:
            raise ValueError(f"width is {self.width}; expected an odd number, 3 or more")

    def refine(self, gradient: Gradient, draws: Draws) -> Gradient:
        def smooth(x: Tensor) -> Tensor:
            check_images(x, "Smooth")
            radius, channels = self.width // 2, x.shape[1]
            at = torch.linspace(-3, 3, self.width, dtype=x.dtype, device=x.device)
            bell = torch.exp(-(at**2) / 2)
            bell = (bell / bell.sum()).expand(channels, 1, -1)
            rows = F.conv2d(gradient(x), bell[..., None], padding=(radius, 0), groups=channels)
            return F.conv2d(rows, bell[..., None, :], padding=(0, radius), groups=channels)

        return smooth


@dataclasses.dataclass(frozen=True)
class TIM(MomentumAttack):
    """MIM on smoothed gradients (TI, Dong et al. 2019), for images.

    The arguments are those of `MomentumAttack`; `refine=(Smooth(7),)` takes a narrower kernel.

    Example:
        >>> import torch, brolly
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
        >>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 2])
        >>> brolly.attacks.TIM(brolly.Linf(0.1))(model, x, y).success.shape
        torch.Size([2])
    """

    _: dataclasses.KW_ONLY
    refine: tuple[Refinement, ...] = (Smooth(),)
