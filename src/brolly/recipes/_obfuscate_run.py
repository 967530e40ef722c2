"""A run with other weights and the same function."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from .._environment import __version__
from ..data import Batches
from ..training import RunFolder
from ..weights import Obfuscated, obfuscate
from ._run import load_run

#: Examples that are traced and compared.
_EXAMPLES = 256


def obfuscate_run(
    path: str | Path,
    output_dir: str | Path,
    *,
    seed: int = 0,
    data_dir: str | Path | None = None,
) -> Obfuscated:
    """Rewrites the weights of a finished run (`brolly.obfuscate`) into a run folder of their own.

    The folder appears whole or not at all. It has the recipe, with `-obfuscated` behind its name
    so that pages and evaluations tell the two apart, and the weights; `environment.json` says
    where they come from. It has no metrics, as no training gave these weights.

    Args:
        path: Folder of the run; it is left as it is.
        output_dir: The new folder.
        seed: Of the permutations, factors and rotations.
        data_dir: First folder to search for the data: outputs are compared on the first 256
            validation examples, or training examples where there is no validation split.

    Raises:
        ValueError: The run is not finished, nothing in its network can be rewritten, or there is
            something in `output_dir`.
    """
    target = Path(output_dir)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ValueError(f"{target} is there already and not empty; choose another folder")
    recipe, model, data = load_run(path, data_dir)
    split = data.validation if len(data.validation) else data.train
    x = next(iter(Batches(split, _EXAMPLES, "cpu"))).x
    generator = torch.Generator().manual_seed(seed)
    found = obfuscate(model, generator, inputs=x, fold=False)

    recipe = recipe.model_copy(update={"name": f"{recipe.name}-obfuscated"})
    origin = f"those of {path}, rewritten by brolly obfuscate with seed {seed}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as place:
        run = RunFolder(Path(place) / "run")
        run.create(recipe.to_yaml(), {**_environment(RunFolder(path)), "weights": origin})
        metadata = {"recipe": json.dumps(recipe.model_dump(mode="json")), "weights": origin}
        run.finish(found.model, {"brolly": __version__, **metadata})
        run.path.replace(target)
    return found


def origin_of_weights(run: RunFolder) -> str | None:
    """What the folder says of its weights, if they are not as training left them."""
    return _environment(run).get("weights")


def _environment(run: RunFolder) -> dict[str, Any]:
    if not run.environment.is_file():
        return {}
    found = json.loads(run.environment.read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if name != "schema"}
