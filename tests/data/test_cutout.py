"""Cutout: a square of the right size, everywhere alike, the rest untouched."""

import pytest
import torch

import brolly
from brolly import Cutout


@pytest.mark.parametrize(("size", "fill"), [(3, 0.0), (4, 0.5), (20, 0.25)])
def test_a_square_is_covered_and_nothing_else(size, fill) -> None:
    x = 1 + torch.rand(200, 2, 9, 7, generator=torch.Generator().manual_seed(1))
    out = Cutout(size, fill=fill)(x, torch.Generator().manual_seed(0))
    whole = 0
    for before, after in zip(x, out, strict=True):
        covered = after[0] == fill
        assert torch.equal(covered, after[1] == fill)
        assert torch.equal(before[:, ~covered], after[:, ~covered])
        at = covered.nonzero()
        height, width = (at.amax(0) - at.amin(0) + 1).tolist()
        assert len(at) == height * width
        assert height <= size
        assert width <= size
        whole += height == width == size
    assert (whole > 50) == (size < 7)


def test_the_centre_is_uniform() -> None:
    x = torch.ones(60_000, 1, 3, 4)
    share = (Cutout(1)(x, torch.Generator().manual_seed(0)) == 0).float().mean(0)
    torch.testing.assert_close(share, torch.full((1, 3, 4), 1 / 12), rtol=0, atol=0.005)


def test_recipes_name_it() -> None:
    recipe = brolly.Recipe.load("digits-plain", ["data.augment=[{name: cutout, size: 3}]"])
    assert [entry.build() for entry in recipe.data.augment] == [Cutout(3)]


def test_a_square_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="size is 0"):
        Cutout(0)
