"""AdvProp: two sides of the statistics, each for its own batch."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from brolly import PGD, AdvProp, Batch, Linf, fit, load_data
from brolly._draws import Draws
from brolly.models import DualBatchNorm, SmallCNN


def network():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 6), DualBatchNorm(nn.BatchNorm1d(6)), nn.Tanh(), nn.Linear(6, 4)
    ).double()


def side(model, name):
    """The network with one side alone, sharing its parameters."""
    layers = [getattr(m, name) if isinstance(m, DualBatchNorm) else m for m in model]
    return nn.Sequential(*layers)


def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(16, 1, 3, 4, generator=generator, dtype=torch.float64)
    return Batch(x, torch.arange(16) % 4, torch.arange(16))


def slow_pgd(model, examples, start, eps, step, steps):
    x = start
    for _ in range(steps):
        x = x.detach().requires_grad_()
        loss = F.cross_entropy(model(x), examples.y, reduction="sum")
        moved = x + step * torch.autograd.grad(loss, x)[0].sign()
        x = moved.clamp(examples.x - eps, examples.x + eps).clamp(0, 1).detach()
    return x


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_equation(mode):
    model, examples, threat = network(), batch(), Linf(0.1)
    clean, adversarial = side(model, "clean"), side(model, "adversarial")
    for one in (clean, adversarial):
        one(3 * torch.rand(16, 1, 3, 4, dtype=torch.float64))  # statistics that matter
    twin = copy.deepcopy(adversarial).train(mode == "train")
    start = threat.sample(
        examples.x, Draws.from_generator(torch.Generator().manual_seed(5), examples.index)
    )
    x_adv = slow_pgd(twin, examples, start, 0.1, 0.04, 3)
    reference = copy.deepcopy(model)
    objective = AdvProp(PGD(threat, steps=3, step_size=0.04), mode=mode)
    loss = objective(model, examples, torch.Generator().manual_seed(5))
    parts = [
        F.cross_entropy(side(reference, "clean")(examples.x), examples.y),
        F.cross_entropy(side(reference, "adversarial")(x_adv), examples.y),
    ]
    torch.testing.assert_close(loss.value, parts[0] + parts[1])
    torch.testing.assert_close(loss.logs["natural"], parts[0].detach())
    torch.testing.assert_close(loss.logs["adversarial"], parts[1].detach())
    loss.value.backward()
    (parts[0] + parts[1]).backward()
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    # Each side saw one batch, once: its own; crafting left no trace.
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, dict(reference.named_buffers())[name])
    assert [m.chosen for m in model if isinstance(m, DualBatchNorm)] == ["clean"]


def test_a_model_with_one_side():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4)).double()
    with pytest.raises(ValueError, match="the model has no DualBatchNorm"):
        AdvProp(PGD(Linf(0.1), steps=1))(model, batch(), torch.Generator())


def test_fit_refuses_it_with_all_other_reasons():
    data = load_data("digits")
    objective = AdvProp(PGD(Linf(0.1), steps=1))
    with pytest.raises(ValueError, match=r"(?s)clip is -1.*AdvProp keeps.*dual_batchnorm\(model\)"):
        fit(SmallCNN(1, 10, width=2), data, objective=objective, clip=-1.0, select_by="clean")
