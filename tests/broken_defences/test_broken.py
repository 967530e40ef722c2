"""The defences of the zoo are broken in the way they are named for, and the sound models are not.

The careless number is what PGD on the cross-entropy leaves; the truth is what an attack leaves
that looks behind the defence.
"""

import functools
from collections.abc import Callable

import pytest
import torch
from broken_defences import mistakes, output_scale, random_models, sound
from broken_defences.training import THREAT, digits, plain, seeded
from broken_defences.zoo import trained
from torch import Tensor, nn

from brolly import APGD, EOT, FGSM, PGD, Attack, Square, Transfer

EXAMPLES = 40
SPLIT = digits().test.first(EXAMPLES)
X, Y = SPLIT.scaled(SPLIT.inputs), SPLIT.labels
ATTACK = PGD(THREAT, steps=20)


built = functools.partial(trained, seed=0)


def held(model: nn.Module, attack: Attack) -> int:
    return EXAMPLES - int(attack(model, X, Y).success.sum())


def right(model: nn.Module, x: Tensor) -> int:
    with torch.no_grad():
        return int((model(x).argmax(1) == Y).sum())


class MeanLogit(nn.Module):
    """The ensemble before its softmax."""

    def __init__(self, ensemble: nn.Module) -> None:
        super().__init__()
        assert isinstance(ensemble, output_scale.MeanProbability)
        self.members = ensemble.members

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([member(x) for member in self.members]).mean(0)


def through(surrogate: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], Attack]:
    """A loss of margins on a surrogate, tried on the defence."""
    attack = APGD(THREAT, steps=30, loss="dlr")
    return lambda model: Transfer(attack, surrogate(model))


def square(_: nn.Module) -> Attack:
    return Square(THREAT, queries=500)


@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("input quantisation", through(lambda _: plain(0))),
        ("JPEG", through(lambda _: plain(0))),
        ("softmax as output", through(lambda _: output_scale.confident(0))),
        ("doubled softmax", through(lambda _: output_scale.confident(0))),
        ("temperature x1e3", through(lambda _: plain(0))),
        ("defensive distillation", through(lambda model: model)),
        ("ensemble of probabilities", through(MeanLogit)),
        ("k-winners-take-all", square),
        ("saturated activations", square),
    ],
)
def test_a_gradient_attack_is_held_off_and_another_is_not(name: str, behind) -> None:
    model = built(name)
    careless, truth = held(model, ATTACK), held(model, behind(model))
    assert careless - truth >= 0.15 * EXAMPLES


@pytest.mark.parametrize("name", ["random resize", "noisy weights"])
def test_a_random_model_shrugs_off_what_was_made_for_another_pass(name: str) -> None:
    model = built(name)
    for_one_pass = ATTACK(model, X, Y).x
    for_the_mean = EOT(APGD(THREAT, steps=30), samples=20)(model, X, Y).x
    with seeded(0):
        careless, truth = (
            sum(right(model, x) for _ in range(10)) / 10 for x in (for_one_pass, for_the_mean)
        )
    assert careless - truth >= 0.15 * EXAMPLES


def test_the_single_step_model_holds_against_a_single_step_alone() -> None:
    model, threat = built("single-step overfitted"), mistakes.LARGE_THREAT
    assert held(model, FGSM(threat)) > EXAMPLES / 2
    assert held(model, PGD(threat, steps=20)) < EXAMPLES / 10


def test_mistakes() -> None:
    logits = built("NaN for some inputs")(X)
    assert 0 < int(logits.isnan().any(1).sum()) < EXAMPLES / 2
    batch = built("train-mode BatchNorm")
    alone = torch.cat([batch(pair) for pair in X.split(2)])
    assert right(batch, X) - int((alone.argmax(1) == Y).sum()) >= 0.15 * EXAMPLES
    with torch.no_grad():
        assert not torch.allclose(built("doubled normalisation")(X), plain(0)(X), atol=1)


def test_the_detector_rejects_what_it_was_made_for_and_no_more() -> None:
    model = built("abstaining detector")
    transferred = model(ATTACK(plain(0), X, Y).x).argmax(1)
    assert int((transferred == 10).sum()) > 0.9 * EXAMPLES
    fooled = torch.zeros(EXAMPLES, dtype=torch.bool)
    for target in range(10):
        attacked = ATTACK(model, X, Y, target=torch.full_like(Y, target)).x
        prediction = model(attacked).argmax(1)
        fooled |= (prediction != Y) & (prediction != 10)
    assert int(fooled.sum()) >= 0.15 * EXAMPLES


def test_sound_models_differ_in_how_much_they_hold() -> None:
    strong = APGD(THREAT, steps=30, loss="dlr")
    undefended = held(built("plain"), strong)
    assert held(built("adversarially trained"), strong) - undefended >= 0.15 * EXAMPLES
    worst = sound.worst_logits(built("certified"), X, Y, THREAT.eps)
    proved = int((worst.argmax(1) == Y).sum())
    assert EXAMPLES / 2 < proved <= held(built("certified"), strong)


def test_models_leave_the_global_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    mistakes.nan_for_some(3)
    random_models.noisy_weights(3)
    assert torch.equal(torch.get_rng_state(), before)
