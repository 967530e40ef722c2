"""BatchNorm folded into the layers before it."""

from __future__ import annotations

import copy
import itertools

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

_CONVOLUTIONS = {nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d}


def fold_batchnorm(model: nn.Module) -> nn.Module:
    """A copy in eval mode that computes the same, faster: BatchNorm becomes part of the weights.

    A BatchNorm that follows a convolution or a linear layer in an `nn.Sequential` is folded into
    it; where there is none, the copy is just a copy. Outputs agree to rounding.

    Args:
        model: Any module that `copy.deepcopy` can copy.

    Example:
        >>> import torch
        >>> from brolly.models import SmallCNN, fold_batchnorm
        >>> folded = fold_batchnorm(SmallCNN(1, 10, width=4))
        >>> any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
        False
    """
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        if isinstance(module, nn.Sequential):
            _fold(module)
    return folded.eval().requires_grad_(False)


def _fold(layers: nn.Sequential) -> None:
    names = list(layers._modules)
    for first, second in itertools.pairwise(names):
        layer, norm = layers._modules[first], layers._modules[second]
        if type(norm) is nn.BatchNorm1d and type(layer) is nn.Linear:
            fuse = fuse_linear_bn_eval
        elif type(norm) is _CONVOLUTIONS.get(type(layer)):  # pyright: ignore[reportArgumentType]
            fuse = fuse_conv_bn_eval
        else:
            continue
        if norm.running_mean is None or _watched(layer) or _watched(norm):
            continue
        layers._modules[first] = fuse(layer, norm)  # pyright: ignore
        layers._modules[second] = nn.Identity()


def _watched(module: nn.Module) -> bool:
    """Whether hooks or parametrizations take part in what the module does."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or hasattr(module, "parametrizations")
    )
