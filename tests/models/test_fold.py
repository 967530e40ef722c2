"""BatchNorm folded away: the same function from fewer layers."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from brolly.models import ResNet, SmallCNN, fold_batchnorm


def lived(model: nn.Module) -> nn.Module:
    """With running statistics that matter."""
    torch.manual_seed(0)
    for module in model.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.normal_()
            module.bias.data.normal_()
    return model.double().eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in model.modules())


@pytest.mark.parametrize(
    ("build", "shape", "left"),
    [
        (lambda: SmallCNN(1, 10, width=4), (1, 28, 28), 0),
        (lambda: ResNet(3, 10, depth=8, width=4), (3, 16, 16), None),
        (lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU()), (6,), 0),
        (lambda: nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5)), (6,), 1),
        (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5)), (6,), 1),
    ],
)
def test_the_copy_computes_the_same(build, shape, left: int | None) -> None:
    model = lived(build()).train()
    before = copy.deepcopy(model.state_dict())
    folded = fold_batchnorm(model)
    x = torch.rand(5, *shape, dtype=torch.float64)
    torch.testing.assert_close(folded(x), copy.deepcopy(model).eval()(x), rtol=1e-9, atol=1e-9)
    assert left is None or norms(folded) == left
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in folded.modules())


def test_a_shared_layer_is_folded_for_one_user_only() -> None:
    shared = nn.Linear(4, 4)
    model = lived(
        nn.Sequential(nn.Sequential(shared, nn.BatchNorm1d(4)), nn.Sequential(shared, nn.ReLU()))
    )
    x = torch.rand(3, 4, dtype=torch.float64)
    torch.testing.assert_close(fold_batchnorm(model)(x), model(x))


def test_watched_layers_stay_as_they_are() -> None:
    hooked = lived(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    hooked[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    normed = lived(nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.BatchNorm1d(4)))
    blind = lived(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False)))
    x = torch.rand(3, 4, dtype=torch.float64)
    for model in (hooked, normed, blind):
        folded = fold_batchnorm(model)
        assert norms(folded) == 1
        torch.testing.assert_close(folded(x), model(x))
