"""Makes pyautoattack_verdicts.safetensors: a small network and what pyautoattack says of it.

    make peers
    .peers/bin/python tests/oracles/pyautoattack_verdicts.py

The network (64-32-10) is trained on scikit-learn's digits. For each norm, the file holds which of
the first 100 test images each attack of pyautoattack 0.2.0 leaves standing when it runs alone, and
which the standard ensemble does.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from pyautoattack import AutoAttack
from safetensors.torch import save_file
from torch import nn

import brolly
from brolly import NFGSM, Linf

PLACE = Path(__file__).with_suffix(".safetensors")
RADII = {"Linf": 0.12, "L2": 0.5, "L1": 1.5}
ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")


def main() -> None:
    logging.disable(logging.CRITICAL)
    data = brolly.load_data("digits")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    brolly.fit(model, data, objective=NFGSM(Linf(0.1)), epochs=20)
    model.eval()
    test = data.test.first(100)
    x, y = test.scaled(test.inputs), test.labels
    held = {}
    for norm, eps in RADII.items():
        for name in (*ATTACKS, "standard"):
            attack = AutoAttack(model, norm=norm, eps=eps, version="standard", seed=0)
            if name != "standard":
                attack.attacks_to_run = [name]
            found = attack.run_standard_evaluation(x, y, batch_size=100)
            found = found if isinstance(found, torch.Tensor) else found[0]
            with torch.no_grad():
                held[f"{norm.lower()} {name}"] = model(found).argmax(1) == y
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    save_file({**state, "x": x, "y": y, **held}, PLACE)


if __name__ == "__main__":
    main()
