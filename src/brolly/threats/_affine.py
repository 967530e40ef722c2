"""Rotations, shifts and zooms of images."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Affine:
    """Images may be turned, shifted and zoomed a little (Engstrom et al. 2019).

    A transformation is four parameters: degrees counter-clockwise, shift to the right as a part of
    the width, shift downwards as a part of the height, and zoom, by which the image is `1 + zoom`
    times as large. The image is turned and zoomed about its centre, then shifted; what comes in
    from outside is 0. It is no ball around the pixels, so attacks on pixels do not search it;
    `SpatialAttack` does.

    Args:
        rotation: Largest angle in degrees, either way; 30 in the paper.
        translation: Largest shift as a part of the size, along each axis; about 0.1 in the paper.
        scale: Largest zoom, either way; 0, as in the paper: none.

    Raises:
        ValueError: A limit is negative or too large, or all are 0.

    Example:
        >>> import torch, brolly
        >>> x = torch.rand(2, 1, 8, 8)
        >>> quarter = torch.tensor([[90.0, 0.0, 0.0, 0.0]]).expand(2, 4)
        >>> turned = brolly.Affine(rotation=90).warp(x, quarter)
        >>> torch.allclose(turned, x.rot90(1, (-2, -1)), atol=1e-5)
        True
    """

    rotation: float = 30.0
    translation: float = 0.1
    scale: float = 0.0

    def __post_init__(self) -> None:
        limits = (self.rotation, self.translation, self.scale)
        if not (0 <= self.rotation <= 180 and 0 <= self.translation <= 1 and 0 <= self.scale < 1):
            raise ValueError(
                f"rotation, translation and scale are {limits}; expected degrees up to 180, a part "
                "of the size up to 1 (write 3/28 for 3 of 28 pixels), and a part below 1"
            )
        if not any(limits):
            raise ValueError("all limits are 0; expected at least one above 0")

    @property
    def limits(self) -> tuple[float, float, float, float]:
        """Largest absolute value of each parameter."""
        return self.rotation, self.translation, self.translation, self.scale

    def __str__(self) -> str:
        return f"affine:{self.rotation:.6g},{self.translation:.6g},{self.scale:.6g}"

    def contains(self, parameters: Float[Tensor, "batch 4"]) -> Bool[Tensor, " batch"]:
        """Which transformations are within the limits, up to rounding."""
        limits = torch.tensor(self.limits, dtype=torch.float64, device=parameters.device)
        return (parameters.double().abs() <= limits * (1 + 1e-6)).all(1)

    def warp(
        self, x: Float[Tensor, "batch channels h w"], parameters: Float[Tensor, "batch 4"]
    ) -> Float[Tensor, "batch channels h w"]:
        """The transformed images, differentiable in both (bilinear, zeros outside)."""
        turn = torch.deg2rad(parameters[:, 0])
        cos, sin = turn.cos(), turn.sin()
        right, down = 2 * parameters[:, 1], 2 * parameters[:, 2]
        aspect = x.shape[3] / x.shape[2]
        # Where each output pixel comes from, in coordinates from -1 to 1 along both axes.
        across = torch.stack([cos, -sin / aspect, -cos * right + sin / aspect * down], 1)
        along = torch.stack([sin * aspect, cos, -sin * aspect * right - cos * down], 1)
        inverse = torch.stack([across, along], 1) / (1 + parameters[:, 3])[:, None, None]
        grid = F.affine_grid(inverse, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="zeros", align_corners=False)
