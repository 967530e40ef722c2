"""How many changed copies `brolly data check` finds, and how many pairs it names without any.

    python benchmarks/near_duplicates.py fashion-mnist --images 3000 --copies 500

Copies of the first training images are changed in one way and put behind all images; a copy is
found if it and its original are named as near-duplicates.
"""

from __future__ import annotations

import argparse
import io
import resource

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import brolly
from brolly.data._stored import Joined
from brolly.data.checks._similar import NEAR, similar_pairs
from brolly.data.checks._spectrum import spectrum


def jpeg(images: Tensor, quality: int) -> Tensor:
    found = []
    for image in images.permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(image.squeeze()).save(buffer, "JPEG", quality=quality)
        found.append(np.array(Image.open(buffer)).reshape(image.shape))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def stored(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)


def smaller(images: Tensor) -> Tensor:
    options = {"mode": "bilinear", "antialias": True, "align_corners": False}
    reduced = F.interpolate(images.float(), scale_factor=0.75, **options)
    return stored(F.interpolate(reduced, images.shape[2:], **options))


CHANGES = {
    "JPEG, quality 75": lambda x: jpeg(x, 75),
    "moved by (1, 1)": lambda x: F.pad(x.float(), (1, 0, 1, 0), mode="replicate")[
        :, :, :-1, :-1
    ].to(torch.uint8),
    "brighter by 30": lambda x: stored(x.float() + 30),
    "darker, × 0.7": lambda x: stored(x.float() * 0.7),
    "noise of 5": lambda x: stored(x + 5 * torch.randn(x.shape)),
    "contrast, × 1.3": lambda x: stored(x.float() * 1.3),
    "JPEG, quality 30": lambda x: jpeg(x, 30),
    "3/4 and back": smaller,
}


def near(images: Tensor) -> set[tuple[int, ...]]:
    spectra = torch.cat([spectrum(part) for part in images.split(1024)])
    found = similar_pairs(Joined((images,)), spectra, torch.Generator().manual_seed(0))
    return {tuple(rows) for rows in found.rows[found.distance <= NEAR].tolist()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--copies", type=int, default=500)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    images = brolly.load_data(chosen.data).train.first(chosen.images).read()
    print(f"{chosen.data}: {len(near(images))} pairs among {len(images)} images as they are")
    for name, change in CHANGES.items():
        copies = change(images[: chosen.copies])
        pairs = near(torch.cat([images, copies]))
        hits = sum((at, len(images) + at) in pairs for at in range(len(copies)))
        print(f"{name:<18} {hits} of {len(copies)} copies found")
    print(f"cpu {resource.getrusage(resource.RUSAGE_SELF).ru_utime:.0f} s")


if __name__ == "__main__":
    main()
