"""The dropout family: what is dropped, how often, and who sees it."""

import copy

import pytest
import torch
from torch import nn

from brolly import PGD, Dataset, Linf, evaluate
from brolly.models import (
    DropBlock,
    DropPath,
    GaussianDropout,
    MonteCarloDropout,
    dropout_on,
)

LAYERS = [DropBlock(0.2, 3), DropPath(0.3), GaussianDropout(0.3)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
class TestAll:
    def test_the_identity_in_eval_mode_and_at_rate_0(self, layer) -> None:
        x = torch.randn(2, 3, 6, 6)
        assert layer(x) is not x
        assert copy.deepcopy(layer).eval()(x) is x
        none = copy.deepcopy(layer)
        none.p = 0.0
        assert none(x) is x

    def test_the_mean_is_kept_and_so_is_the_dtype(self, layer) -> None:
        x = torch.ones(4000, 2, 6, 6, dtype=torch.bfloat16)
        out = layer(x)
        assert out.dtype == torch.bfloat16
        assert abs(float(out.double().mean()) - 1) < 0.03


def test_drop_block_drops_blocks_that_fit() -> None:
    out = DropBlock(p=0.02, size=3)(torch.ones(64, 4, 8, 7))
    dropped = out == 0
    assert 0.005 < float(dropped.double().mean()) < 0.04
    assert torch.allclose(out[~dropped], (~dropped).double().mean().reciprocal().float())
    corners = nn.functional.unfold((dropped * 1.0).reshape(-1, 1, 8, 7), 3).mean(1) == 1
    whole = nn.functional.fold(
        corners[:, None].expand(-1, 9, -1) * 1.0, output_size=(8, 7), kernel_size=3
    )
    assert torch.equal(whole.reshape(64, 4, 8, 7) > 0, dropped)  # of whole blocks, nothing else


def test_drop_block_in_each_channel_by_itself() -> None:
    dropped = DropBlock(p=0.3, size=3)(torch.ones(8, 2, 9, 9)) == 0
    assert not torch.equal(dropped[:, 0], dropped[:, 1])


@pytest.mark.parametrize("size", [1, 3, 50])
def test_drop_block_drops_its_part(size: int) -> None:
    out = DropBlock(p=0.1, size=size)(torch.ones(2000, 3, 9, 9))
    # Blocks overlap, so it is a little less than p (Ghiasi et al. 2018, section 3).
    assert 0.08 < float((out == 0).double().mean()) < 0.105


def test_drop_block_may_drop_everything() -> None:
    out = DropBlock(p=0.99, size=9)(torch.ones(1, 1, 4, 4))
    assert torch.isfinite(out).all()


def test_drop_path_drops_whole_examples() -> None:
    out = DropPath(0.25)(torch.ones(2000, 3, 4)).flatten(1)
    assert (out == out[:, :1]).all()
    assert set(out[:, 0].tolist()) == {0.0, float(torch.tensor(1.0) / 0.75)}
    assert abs(float((out[:, 0] == 0).double().mean()) - 0.25) < 0.04


def test_gaussian_dropout_has_the_variance_of_dropout() -> None:
    x = torch.full((200_000,), 2.0)
    variances = [float(layer(x).var()) for layer in (GaussianDropout(0.2), nn.Dropout(0.2))]
    assert variances == pytest.approx([1.0, 1.0], rel=0.02)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: DropBlock(p=1.0), "p is 1.0"),
        (lambda: DropBlock(size=0), "size is 0"),
        (lambda: DropPath(-0.1), "p is -0.1"),
        (lambda: GaussianDropout(1.0), "p is 1.0"),
        (lambda: DropBlock()(torch.ones(2, 3)), r"given shape \(2, 3\)"),
        (lambda: MonteCarloDropout(nn.Linear(2, 2)), "no dropout layer"),
    ],
)
def test_what_cannot_be_is_refused(make, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


def network() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), GaussianDropout(0.5),
        nn.Linear(8, 3),
    )  # fmt: skip


def test_monte_carlo_dropout_switches_nothing_else_on() -> None:
    model = network().eval()
    before, x = copy.deepcopy(model.state_dict()), torch.rand(5, 16)
    wrapped = MonteCarloDropout(model)
    assert not wrapped.training
    assert not torch.equal(wrapped(x), wrapped(x))
    assert torch.equal(model(x), model(x))
    assert not any(module.training for module in wrapped.modules())
    assert all(map(torch.equal, model.state_dict().values(), before.values()))
    with pytest.raises(RuntimeError):
        wrapped(torch.rand(5, 17))
    assert not any(module.training for module in wrapped.modules())


def test_dropout_that_was_on_stays_on() -> None:
    model = network()
    with dropout_on(model):
        model.eval()
    assert model[4].training
    assert not model[2].training


def test_evaluate_sees_it_on_only_where_it_is_wrapped() -> None:
    x, y = torch.rand(12, 1, 4, 4), torch.arange(12) % 3
    data = Dataset.from_tensors("noise", (x, y), (x, y), validation=0.25)

    def samples(model: nn.Module) -> int:
        threat = Linf(0.1)
        result = evaluate(
            model, data.test, threat, attacks=[PGD(threat, steps=2)], curve_examples=0, checks="",
            device="cpu",
        )  # fmt: skip
        return result.samples

    model = network()
    assert samples(model) == 1
    assert samples(MonteCarloDropout(model)) == 20
