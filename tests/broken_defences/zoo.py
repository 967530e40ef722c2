"""The zoo: sixteen defences that are known to be broken, and five models that are sound."""

from __future__ import annotations

import functools

from broken_defences import hidden_gradients, mistakes, output_scale, random_models, sound
from broken_defences.defence import Defence
from broken_defences.training import digits, plain
from torch import nn

import brolly
from brolly import Evaluation
from brolly.evaluation._evaluation import Checked

_BROKEN = (
    Defence(
        "input quantisation",
        hidden_gradients.quantized,
        "Guo et al. 2018; Athalye et al. 2018",
        "input-gradients",
    ),
    Defence(
        "JPEG",
        hidden_gradients.jpeg,
        "Das et al. 2017; Shin & Song 2017",
        "input-gradients",
    ),
    Defence(
        "softmax as output",
        output_scale.softmax_output,
        "Carlini et al. 2019",
        "logits-not-probabilities",
    ),
    Defence(
        "doubled softmax",
        output_scale.doubled_softmax,
        "Carlini et al. 2019",
        "logits-not-probabilities",
    ),
    Defence(
        "temperature x1e3",
        output_scale.scaled_logits,
        "Carlini & Wagner 2016",
        "loss-scale",
    ),
    Defence(
        "k-winners-take-all",
        hidden_gradients.k_winners,
        "Xiao et al. 2020; Tramer et al. 2020",
        "black-box-beats-white-box",
    ),
    Defence(
        "random resize",
        random_models.random_resize,
        "Xie et al. 2018; Athalye et al. 2018",
        "random-model",
    ),
    Defence(
        "saturated activations",
        hidden_gradients.saturated,
        "Nayebi & Ganguli 2017; Brendel & Bethge 2017",
        "input-gradients",
    ),
    Defence(
        "defensive distillation",
        output_scale.distilled,
        "Papernot et al. 2016; Carlini & Wagner 2016",
        "loss-scale",
    ),
    Defence(
        "single-step overfitted",
        mistakes.single_step,
        "Goodfellow et al. 2015; Wong et al. 2020",
        "iterative-beats-single-step",
        mistakes.LARGE_THREAT,
    ),
    Defence("NaN for some inputs", mistakes.nan_for_some, "a bug", "nan-logits"),
    Defence("train-mode BatchNorm", mistakes.batch_statistics, "a bug", "returned-examples"),
    Defence(
        "noisy weights",
        random_models.noisy_weights,
        "He et al. 2019; Athalye et al. 2018",
        "deterministic-forward",
    ),
    Defence(
        "abstaining detector",
        mistakes.abstaining,
        "Grosse et al. 2017; Carlini & Wagner 2017",
        "logits-not-probabilities",
    ),
    Defence("doubled normalisation", mistakes.doubled_normalization, "a bug", "data-hygiene"),
    Defence(
        "ensemble of probabilities",
        output_scale.ensemble,
        "Zimmermann 2019; Tramer et al. 2020",
        "loss-scale",
    ),
)

_SOUND = (
    Defence("plain", plain, "none"),
    Defence("adversarially trained", sound.adversarial, "Madry et al. 2018"),
    Defence("certified", sound.certified, "Gowal et al. 2018"),
    Defence("softmax regression", sound.small, "none"),
    Defence("GELU", sound.smooth, "none"),
)

BROKEN = {defence.name: defence for defence in _BROKEN}
SOUND = {defence.name: defence for defence in _SOUND}

#: Test examples that every model of the zoo is evaluated on.
EXAMPLES = 60


@functools.cache
def trained(name: str, seed: int) -> nn.Module:
    """A model of the zoo, trained once for all who ask."""
    return (BROKEN | SOUND)[name].build(seed)


@functools.cache
def examined(name: str, seed: int, checks: Checked = "full") -> Evaluation:
    """A model of the zoo, evaluated and checked; with `full` its curve is drawn, too."""
    defence = (BROKEN | SOUND)[name]
    return brolly.evaluate(
        trained(name, seed),
        digits().test,
        defence.threat,
        attacks=brolly.quick(defence.threat),
        examples=EXAMPLES,
        checks=checks,
        curve_examples=EXAMPLES if checks == "full" else 0,
        train=digits().train,
        seed=seed,
    )
