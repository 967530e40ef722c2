"""Affine moves of images."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from ._base import Move, clip


def affine(
    count: int,
    *,
    degrees: Tensor | float = 0.0,
    scale: tuple[Tensor | float, Tensor | float] = (1.0, 1.0),
    shear: tuple[Tensor | float, Tensor | float] = (0.0, 0.0),
    shift: tuple[Tensor | float, Tensor | float] = (0.0, 0.0),
) -> Tensor:
    r"""Where affine maps send a point, measured in pixels from the middle of the image.

    .. math:: p \mapsto R(\mathrm{degrees}) \, \begin{pmatrix} 1 & s_x \\ s_y & 1 \end{pmatrix} \,
        \mathrm{diag}(\mathrm{scale}) \, p + \mathrm{shift}

    Args:
        count: Images in the batch; each argument is one number, or one for each of them.
        degrees: Counter-clockwise, as one sees it.
        scale, shear, shift: Along x (to the right), along y (down).

    Returns:
        Matrices `(batch, 2, 3)`, float64.
    """

    def each(number: Tensor | float) -> Tensor:
        return torch.as_tensor(number, dtype=torch.float64).expand(count)

    def matrix(*rows: tuple[Tensor, Tensor]) -> Tensor:
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    angle, one, zero = torch.deg2rad(each(degrees)), each(1.0), each(0.0)
    cosine, sine = angle.cos(), angle.sin()
    rotated = matrix((cosine, sine), (-sine, cosine))  # y points down
    sheared = matrix((one, each(shear[0])), (each(shear[1]), one))
    scaled = matrix((each(scale[0]), zero), (zero, each(scale[1])))
    shifted = torch.stack([each(shift[0]), each(shift[1])], -1)[..., None]
    return torch.cat([rotated @ sheared @ scaled, shifted], -1)


@dataclasses.dataclass(frozen=True, eq=False)
class Warped(Move):
    """Affine moves: bilinear between pixels of images, nearest for masks.

    Images that stay where they are keep their bits.

    Args:
        matrices: As from `affine`.
        fill: What comes in from outside; None repeats the pixels at the border.
    """

    matrices: Tensor
    fill: float | None

    def images(self, x: Tensor) -> Tensor:
        fill = 0.0 if self.fill is None else self.fill
        moved = self._sample(x, fill, "bilinear")
        # Weights that are rounded add up to a little more than 1, which must not show.
        edges = x.new_tensor([fill]) if self.fill is not None else x.flatten()[:1]
        return moved.clamp(torch.minimum(x.amin(), edges), torch.maximum(x.amax(), edges))

    def masks(self, masks: Tensor, ignore: int) -> Tensor:
        return self._sample(masks[:, None].float(), ignore, "nearest")[:, 0].long()

    def boxes(self, boxes: Tensor, height: int, width: int) -> Tensor:
        matrices = self.matrices.to(boxes)[:, None, None]  # (batch, 1, 1, 2, 3)
        middle = boxes.new_tensor([width / 2, height / 2])
        corners = torch.stack([boxes[..., edges] for edges in ([0, 1], [2, 1], [0, 3], [2, 3])], 2)
        turned = (matrices[..., :2] @ (corners - middle)[..., None])[..., 0] + matrices[..., 2]
        turned = turned + middle  # (batch, n, 4 corners, 2)
        return clip(torch.cat([turned.amin(2), turned.amax(2)], -1), height, width)

    def _sample(self, x: Tensor, fill: float, mode: str) -> Tensor:
        stays = torch.eye(2, 3, dtype=self.matrices.dtype)
        rows = (self.matrices != stays).flatten(1).any(1).nonzero()[:, 0]
        if not len(rows):
            return x
        at = rows.to(x.device)
        grid = F.affine_grid(
            self._backwards(rows, *x.shape[2:]).to(x), [len(rows), *x.shape[1:]], False
        )
        padding = "border" if self.fill is None else "zeros"
        moved = F.grid_sample(x[at] - fill, grid, mode, padding, align_corners=False) + fill
        return x.index_copy(0, at, moved)

    def _backwards(self, rows: Tensor, height: int, width: int) -> Tensor:
        """Where pixels come from, in halves of the sides, as `affine_grid` wants it."""
        inverse = torch.linalg.inv(self.matrices[rows, :, :2])
        origin = -inverse @ self.matrices[rows, :, 2:]
        sides = torch.tensor([width / 2, height / 2], dtype=inverse.dtype)
        return torch.cat([inverse * sides / sides[:, None], origin / sides[:, None]], -1)
