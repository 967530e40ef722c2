"""Robust self-training: a teacher's labels for examples that have none."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor, nn

from .._untouched import untouched
from ..data import Batch, Batches, Split
from ..losses import cross_entropy, kl
from ._few_labels import check_labelled, is_labelled
from ._inner import PGDObjective, beside, check_ranges, farthest
from ._objective import Crafting, Loss, LossOf, crafting, forward


def pseudo_label(
    model: nn.Module,
    split: Split,
    *,
    batch_size: int = 500,
    device: torch.device | str = "cpu",
) -> Split:
    """The split with the model's predictions in the place of its labels.

    Args:
        model: The teacher, on `device`; used in eval mode and left as found.
        split: Examples; their labels are not read.
        batch_size: Examples looked at together.
        device: Where.

    Raises:
        ValueError: The model predicts a class that the split does not have.

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> teacher = brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> _ = brolly.fit(teacher, data, epochs=2)
        >>> split = brolly.objectives.pseudo_label(teacher, data.train)
        >>> bool((split.labels == data.train.labels).float().mean() > 0.8)
        True
    """
    with untouched(model), torch.no_grad():
        labels = [model(batch.x).argmax(1) for batch in Batches(split, batch_size, device)]
    return dataclasses.replace(split, labels=torch.cat(labels).to(split.labels.device))


@dataclasses.dataclass(frozen=True)
class RST(PGDObjective):
    r"""Robust self-training (Carmon et al. 2019): TRADES with pseudo-labelled examples.

    .. math:: \frac{1}{B} \sum_i w_i \big( CE(f(x_i), y_i)
              + \beta \max_{x' \in T(x_i)} KL(f(x_i) \,\|\, f(x')) \big), \quad
              w_i = 1 \text{ if labelled, else } w

    over a batch of B examples. A teacher, a network from plain training on the labelled examples
    alone, labels the others once, before training begins. Robustness needs more examples than
    accuracy does, but not more labels.

    The training split has the labelled examples first (`brolly.data.join`). The authors' code draws
    half of every batch from either kind, with equal weights: in a shuffled split that is w =
    labelled / pseudo-labelled, or the labelled part joined several times.

    Cost of a step: TRADES'. Before the first step the teacher sees the training split once.

    Args:
        attack: The inner maximisation; one restart.
        teacher: Labels what has no label, in eval mode; None: the split has its labels already
            (`pseudo_label`). In a recipe, the folder of its run.
        labelled: How many examples are labelled, the first of the training split.
        weight: w, the weight of a pseudo-labelled example.
        beta: Weight of the divergence; 6 in the paper.
        spread: Standard deviation of the noise around the clean input to start from; 0.001.
        mode: State of BatchNorm and dropout while crafting; `eval` in the authors' code too.

    Raises:
        ValueError: A number is out of range, or the objective has a teacher and is used before it
            has labelled anything (`begin`, which `fit` calls).

    Example:
        >>> import brolly
        >>> data = brolly.load_data("digits")
        >>> net = lambda: brolly.models.MLP(64, classes=10, hidden=[32], normalize=data.statistics)
        >>> teacher, model = net(), net()
        >>> few = brolly.Dataset("few", data.train.first(300), data.validation, data.test)
        >>> _ = brolly.fit(teacher, few, epochs=2)
        >>> attack = brolly.PGD(brolly.Linf(0.1), steps=3)
        >>> objective = brolly.RST(attack, teacher, labelled=300, weight=0.5)
        >>> len(brolly.fit(model, data, objective=objective, epochs=1).epochs)
        1
    """

    teacher: nn.Module | None = dataclasses.field(default=None, repr=False)
    _: dataclasses.KW_ONLY
    labelled: int
    weight: float = 1.0
    beta: float = 6.0
    spread: float = 0.001
    mode: Crafting = "eval"
    _labels: Tensor | None = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges(weight=self.weight, beta=self.beta, spread=self.spread)

    @property
    def needs_index(self) -> bool:
        return True

    def begin(self, split: Split, device: torch.device | str) -> RST:
        check_labelled(self.labelled, split)
        if self.teacher is None:
            return self
        teacher = copy.deepcopy(self.teacher).to(device)
        theirs = pseudo_label(teacher, split, device=device).labels
        begun = copy.copy(self)
        labels = torch.cat([split.labels[: self.labelled], theirs[self.labelled :]])
        object.__setattr__(begun, "_labels", labels.to(device))
        return begun

    def craft(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> LossOf:
        x, y = batch.x, self._labels_of(batch)
        with crafting(model, batch, generator, self.mode) as draws:
            start = beside(self.threat, x, draws, self.spread)
            x_adv, _ = farthest(self.attack, model, x, start, kl)
        weights = x.new_ones(len(x)).masked_fill(~is_labelled(batch, self.labelled), self.weight)

        def loss(model: nn.Module) -> Loss:
            logits = forward(model, x)
            natural = (weights * cross_entropy(logits, y)).mean()
            robust = (weights * kl(forward(model, x_adv), logits)).mean()
            return Loss(
                natural + self.beta * robust,
                {"natural": natural.detach(), "divergence": robust.detach()},
            )

        return loss

    def _labels_of(self, batch: Batch) -> Tensor:
        if self.teacher is None:
            return batch.y
        if self._labels is None:
            raise ValueError(
                "the teacher has labelled nothing yet; train with fit, or call "
                "objective = objective.begin(split, device) before the first step"
            )
        return self._labels[batch.index]
