"""The Kullback-Leibler divergence decoupled, and improved."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..attacks import PGD
from ..data import Batch, Split
from ..losses import cross_entropy, kl
from ._inner import PGDObjective, beside, check_ranges, farthest
from ._objective import Crafting, Loss, LossOf, crafting, forward


@dataclasses.dataclass(frozen=True)
class DKL(PGDObjective):
    r"""TRADES with the divergence in its two parts, each with a weight (Cui et al. 2024).

    .. math:: \mathrm{mean}_i \; CE(f(x_i), y_i) + \frac{a}{4} \sum_{jk} [p_j p_k]
              \left(\Delta_{jk} - [\Delta'_{jk}]\right)^2 - b \sum_j [p_j] \log p'_j

    where z are the logits and p the probabilities at x, z' and p' those at x', Delta_jk is
    `z_j - z_k`, and nothing is descended through brackets. With a = b the gradient is a times that
    of KL(p || p'), so it trains as TRADES does with beta = a: the first part alone moves the clean
    logits, the second alone the adversarial ones. PGD climbs the divergence from next to the clean
    input. The first part is computed as half the variance of `z - z'` under p, which is the same
    sum, without the pairs.

    Cost of a step, with k steps of PGD: k + 3 forward passes, k backward passes to the input and
    two to the weights.

    Args:
        attack: The inner maximisation; one restart.
        mse: Weight a of the squared differences; 6, as beta of TRADES.
        soft: Weight b of the cross-entropy to the clean probabilities; 6, likewise.
        spread: Standard deviation of the noise around the clean input to start from; 0.001.
        mode: State of BatchNorm and dropout while crafting; `eval` in the authors' code too.

    Raises:
        ValueError: A number is out of range.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.DKL(brolly.PGD(brolly.Linf(0.1), steps=3), mse=6, soft=6)
        >>> history = brolly.fit(model, data, objective=objective, epochs=1)
        >>> sorted(history.epochs[0].logs)
        ['mse', 'natural', 'soft']
    """

    _: dataclasses.KW_ONLY
    mse: float = 6.0
    soft: float = 6.0
    spread: float = 0.001
    mode: Crafting = "eval"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(mse=self.mse, soft=self.soft, spread=self.spread)

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        x = batch.x
        with crafting(model, batch, generator, self.mode) as draws:
            start = beside(self.threat, x, draws, self.spread)
            x_adv, _ = farthest(self.attack, model, x, start, kl)

        def loss(model: nn.Module) -> Loss:
            clean, adversarial = forward(model, x), forward(model, x_adv)
            pairs = paired_differences(clean - adversarial.detach(), clean.softmax(1).detach())
            return _total(self, batch, clean, pairs, soft_cross_entropy(adversarial, clean))

        return loss


@dataclasses.dataclass(frozen=True)
class IKL(PGDObjective):
    r"""TRADES with the improved Kullback-Leibler divergence (Cui et al. 2024).

    .. math:: \mathrm{mean}_i \; CE(f(x_i), y_i) + \frac{a}{4} \sum_{jk} w_j w_k
              \left(\Delta_{jk} - \Delta'_{jk}\right)^2 - b \sum_j [p_j] \log p'_j

    with the names of `DKL`, from which it differs in two things: the squared differences are
    descended through both logits, and w are the mean probabilities of all training examples of
    the class y_i in the epoch before, softened by a temperature, in the place of the example's own.
    PGD climbs the two parts, with weight 1 each, from next to the clean input, as in the authors'
    code for CIFAR-100; for CIFAR-10 it climbs the second alone.

    The means are taken over the clean logits of crafting; the authors take those of the training
    step itself. In the first epoch, and where no memory was begun (`fit` begins one), w is uniform.
    The authors take 5 steps of half of eps, which are those of `PGD(threat, steps=5)`, and train
    with `AWP` of gamma 0.005 from the tenth epoch on.

    Cost of a step, with k steps of PGD: k + 3 forward passes, k backward passes to the input and
    two to the weights; it keeps two matrices of classes x classes.

    Args:
        attack: The inner maximisation; one restart.
        mse: Weight a of the squared differences; 20 in the authors' code (their `beta`).
        soft: Weight b of the cross-entropy to the clean probabilities; 4 in the authors' code
            (their `alpha`).
        temperature: Of the probabilities whose means are w; 4 in the authors' code.
        grows: Whether eps and the steps grow in `fit`, in equal parts from epoch to epoch, to those
            of the attack in the last one; they do in the authors' code (`as_published`).
        spread: Standard deviation of the noise around the clean input to start from; 0.001.
        mode: State of BatchNorm and dropout while crafting; `eval` in the authors' code too.

    Raises:
        ValueError: A number is out of range.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> model = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> objective = brolly.IKL(brolly.PGD(brolly.Linf(0.1), steps=3))
        >>> history = brolly.fit(model, data, objective=objective, epochs=2)
        >>> sorted(history.epochs[0].logs)
        ['mse', 'natural', 'soft']
    """

    _: dataclasses.KW_ONLY
    mse: float = 20.0
    soft: float = 4.0
    temperature: float = 4.0
    grows: bool = False
    spread: float = 0.001
    mode: Crafting = "eval"
    _memory: _ClassMeans | None = dataclasses.field(
        default=None, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(mse=self.mse, soft=self.soft, spread=self.spread)
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; expected more than 0")

    @classmethod
    def as_published(cls, attack: PGD) -> IKL:
        """The choices of the code of Cui et al. (2024) for CIFAR."""
        return cls(attack, grows=True)

    @property
    def needs_index(self) -> bool:
        return True

    def begin(self, split: Split, device: torch.device | str) -> IKL:
        begun = copy.copy(self)
        object.__setattr__(begun, "_memory", _ClassMeans(len(split), device))
        return begun

    def at(self, epoch: int, epochs: int) -> IKL:
        if not self.grows:
            return self
        part, step = epoch / epochs, self.attack.step_size
        attack = dataclasses.replace(
            self.attack,
            threat=self.threat.with_eps(part * self.threat.eps),
            step_size=None if step is None else part * step,
        )
        grown = copy.copy(self)  # with the same memory
        object.__setattr__(grown, "attack", attack)
        return grown

    def state(self) -> dict[str, Tensor]:
        return {} if self._memory is None else self._memory.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if self._memory is not None and state:
            self._memory.load_state(state)

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        x = batch.x
        with crafting(model, batch, generator, self.mode) as draws:
            with torch.no_grad():
                reference = forward(model, x)
            weights = torch.full_like(reference, 1 / reference.shape[1])
            if self._memory is not None:
                means = (reference / self.temperature).softmax(1)
                weights = self._memory.weights(batch, means)

            def divergence(x_adv: Tensor) -> Tensor:
                logits = forward(model, x_adv)
                pairs = paired_differences(reference - logits, weights)
                return pairs + soft_cross_entropy(logits, reference)

            start = beside(self.threat, x, draws, self.spread)
            x_adv = self.attack.climb(divergence, x, start)

        def loss(model: nn.Module) -> Loss:
            clean, adversarial = forward(model, x), forward(model, x_adv)
            pairs = paired_differences(clean - adversarial, weights)
            return _total(self, batch, clean, pairs, soft_cross_entropy(adversarial, clean))

        return loss


class _ClassMeans:
    """Mean probabilities of the examples of each class, over the last whole epoch.

    An epoch ends where an example comes again. Classes without examples in it keep their means.
    """

    def __init__(self, examples: int, device: torch.device | str) -> None:
        self._met = torch.zeros(examples, dtype=torch.bool, device=device)
        self._means = self._sums = torch.empty(0)

    def weights(self, batch: Batch, probabilities: Tensor) -> Tensor:
        """Means of the classes of a batch, `(batch, classes)`; counts its probabilities in."""
        classes = probabilities.shape[1]
        if len(self._means) == 0:
            self._means = probabilities.new_full((classes, classes), 1 / classes)
            self._sums = torch.zeros_like(self._means)
        if self._met[batch.index].any():
            count = self._sums.sum(1, keepdim=True)  # probabilities add up to 1
            self._means = torch.where(count > 0, self._sums / count.clamp_min(1e-12), self._means)
            self._met, self._sums = torch.zeros_like(self._met), torch.zeros_like(self._sums)
        self._met[batch.index] = True
        member = nn.functional.one_hot(batch.y, classes).to(probabilities.dtype)
        with torch.autocast(probabilities.device.type, enabled=False):
            self._sums = self._sums + member.T @ probabilities
        return self._means[batch.y]

    def state(self) -> dict[str, Tensor]:
        return {"met": self._met, "means": self._means, "sums": self._sums}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        device = self._met.device
        self._met, self._means, self._sums = (
            state[name].to(device) for name in ("met", "means", "sums")
        )


def paired_differences(difference: Tensor, weights: Tensor) -> Tensor:
    """`sum_jk w_j w_k (d_j - d_k)^2 / 4` of rows whose weights add up to 1, `(batch,)`.

    That is half the variance of d under w.
    """
    mean = (weights * difference).sum(1, keepdim=True)
    return (weights * (difference - mean).square()).sum(1) / 2


def soft_cross_entropy(logits: Tensor, reference: Tensor) -> Tensor:
    """Cross-entropy to the probabilities of `reference`, which is not descended, `(batch,)`."""
    return -(reference.softmax(1).detach() * logits.log_softmax(1)).sum(1)


def _total(objective: DKL | IKL, batch: Batch, clean: Tensor, pairs: Tensor, soft: Tensor) -> Loss:
    natural, mse, soft = cross_entropy(clean, batch.y).mean(), pairs.mean(), soft.mean()
    return Loss(
        natural + objective.mse * mse + objective.soft * soft,
        {"natural": natural.detach(), "mse": mse.detach(), "soft": soft.detach()},
    )
