"""What recipe entries may name: the constructors behind `model`, `objective` and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from .. import models, objectives, penalties, training, weights
from ..attacks import PGD
from ..data import (
    Affine,
    AugMix,
    ColourJitter,
    Crop,
    Cutout,
    Erasing,
    Flip,
    RandAugment,
    Rotation,
    Shift,
)
from ._component import Component, components
from ._trained import Trained

if TYPE_CHECKING:  # the kinds are made at run time; a type checker sees what they share
    Model = Objective = Penalty = Weights = Component
    Optimizer = Schedule = Average = Augmentation = Component
else:
    networks = {
        "softmax-regression": models.SoftmaxRegression,
        "mlp": models.MLP,
        "lenet": models.LeNet,
        "small-cnn": models.SmallCNN,
        "resnet": models.ResNet,
        "preact-resnet": models.PreActResNet,
        "wide-resnet": models.WideResNet,
        "nin": models.NiN,
        "affine-mlp": models.AffineMLP,
        "rnn": models.RNN,
        "lstm": models.LSTM,
        "vit": models.ViT,
    }
    given = ("features", "in_channels", "shape", "classes", "normalize")
    Model = components(
        {**networks, "monte-carlo-dropout": models.MonteCarloDropout},
        given,
        nested={nn.Module: components(networks, given)},
    )
    Objective = components(
        {
            "plain": objectives.Plain,
            "mixup": objectives.MixUp,
            "cutmix": objectives.CutMix,
            "fgsm-rs": objectives.FGSMRS,
            "fgsm-rs-published": objectives.FGSMRS.as_published,
            "n-fgsm": objectives.NFGSM,
            "n-fgsm-published": objectives.NFGSM.as_published,
            "atta": objectives.ATTA,
            "free": objectives.FreeTraining,
            "gradalign": objectives.GradAlign,
            "gradalign-published": objectives.GradAlign.as_published,
            "pgd": objectives.PGDTraining,
            "pgd-published": objectives.PGDTraining.as_published,
            "advprop": objectives.AdvProp,
            "trades": objectives.TRADES,
            "trades-published": objectives.TRADES.as_published,
            "vat": objectives.VAT,
            "vat-published": objectives.VAT.as_published,
            "rst": objectives.RST,
            "input-gradient": objectives.InputGradientPenalty,
            "jacobian": objectives.JacobianPenalty,
            "mart": objectives.MART,
            "mart-published": objectives.MART.as_published,
            "hat": objectives.HAT,
            "score": objectives.SCORE,
            "score-published": objectives.SCORE.as_published,
            "dkl": objectives.DKL,
            "ikl": objectives.IKL,
            "ikl-published": objectives.IKL.as_published,
            "alp": objectives.ALP,
            "fat": objectives.FAT,
            "fat-published": objectives.FAT.as_published,
        },
        given=("adversary",),
        nested={
            PGD: components({"pgd": PGD}, given=("threat", "restarts")),
            nn.Module: Trained,
        },
    )
    Penalty = components(
        {
            "l1": penalties.L1,
            "l2": penalties.L2,
            "elastic-net": penalties.ElasticNet,
            "group-lasso": penalties.GroupLasso,
            "max-norm": penalties.MaxNorm,
            "spectral-norm": penalties.SpectralNorm,
            "orthogonality": penalties.Orthogonality,
            "variational-kl": weights.VariationalKL,
        }
    )
    Weights = components(
        {
            "awp": weights.AWP,
            "sam": weights.SAM,
            "asam": weights.ASAM,
            "gaussian-noise": weights.GaussianNoise,
            "learned-noise": weights.LearnedNoise,
            "learned-noise-published": weights.LearnedNoise.as_published,
            "dropconnect": weights.DropConnect,
            "dropconnect-published": weights.DropConnect.as_published,
            "variational-dropout": weights.VariationalDropout,
            "random-matrix": weights.RandomMatrix,
            "weight-norm": weights.WeightNorm,
        }
    )
    Optimizer = components(
        {
            "sgd": training.SGD,
            "adam": training.Adam,
            "adamw": training.AdamW,
            "rmsprop": training.RMSprop,
            "adagrad": training.Adagrad,
        }
    )
    schedules = {
        "constant": training.Constant,
        "step": training.Step,
        "multistep": training.MultiStep,
        "exponential": training.Exponential,
        "linear": training.Linear,
        "polynomial": training.Polynomial,
        "cosine": training.Cosine,
        "warm-restarts": training.WarmRestarts,
        "one-cycle": training.OneCycle,
        "plateau": training.Plateau,
    }
    Schedule = components(
        {**schedules, "warmup": training.Warmup},
        nested={training.Schedule: components(schedules)},
    )
    Average = components({"ema": training.EMA, "swa": training.SWA})
    Augmentation = components(
        {
            "shift": Shift,
            "flip": Flip,
            "crop": Crop,
            "rotation": Rotation,
            "affine": Affine,
            "colour-jitter": ColourJitter,
            "cutout": Cutout,
            "erasing": Erasing,
            "rand-augment": RandAugment,
            "augmix": AugMix,
        }
    )

#: All of them.
KINDS = (Model, Objective, Penalty, Weights, Optimizer, Schedule, Average, Augmentation)
