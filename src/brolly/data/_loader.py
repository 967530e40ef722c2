"""Batches that others make: `torch.utils.data.DataLoader` and anything like it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Iterator, Sized
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from ._batches import Batch
from ._dataset import Dataset
from ._split import Split

_SHUFFLE = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def gather(
    loader: Iterable[Any],
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    classes: tuple[str, ...] | None = None,
    name: str = "test",
) -> Split:
    """Goes through batches once and puts them together, in memory.

    Where they come with an index, examples are sorted by it; else they keep the order in which they
    come, and a loader that shuffles is warned of: another pass would give other rows.

    Args:
        loader: Gives batches `(x, y)` or `(x, y, index)`: x `(batch, ...)` of uint8 or floating
            point, y and index `(batch,)` of whole numbers.
        bounds: Lowest and highest value that floating point inputs may hold.
        classes: Class names; None: those of `loader.dataset`, else "0", "1", ... up to the highest
            label.
        name: `train`, `validation` or `test`.

    Raises:
        ValueError: An element is no such batch, a value is outside the bounds, the batches do not
            fit each other, or there are none.

    Example:
        >>> import torch
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> from brolly.data import gather
        >>> mine = TensorDataset(torch.rand(100, 1, 8, 8), torch.arange(100) % 10)
        >>> split = gather(DataLoader(mine, batch_size=32))
        >>> len(split), split.shape, len(split.classes)
        (100, (1, 8, 8), 10)
    """
    if not isinstance(loader, Iterable):
        raise ValueError(
            f"expected batches (x, y), got {_words(loader)}; of a set of single examples make them "
            "with torch.utils.data.DataLoader(mine, batch_size=256)"
        )
    parts = [_unpack(element, bounds) for element in loader]
    kinds = {(tuple(x.shape[1:]), x.dtype, index is None) for x, _, index in parts}
    if len(kinds) != 1:
        found = "; ".join(f"{shape} {dtype}" for shape, dtype, _ in sorted(kinds, key=str))
        raise ValueError(
            f"the batches hold different inputs ({found}), or only some have an index; expected "
            "one shape and type"
            if kinds
            else f"{_words(loader)} gives no batches; expected one or more"
        )
    x, y = torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])
    indices = [part.index for part in parts if part.index is not None]
    if indices:
        index, order = torch.cat(indices).sort()
        if (index.diff() == 0).any():
            raise ValueError("the batches give an example twice; expected each index once")
        x, y = x[order], y[order]
    elif isinstance(getattr(loader, "sampler", None), _SHUFFLE):
        warnings.warn(
            "the loader shuffles, so another pass names other rows: results cannot be repeated or "
            "verified by row. Write DataLoader(..., shuffle=False), or give (x, y, index)",
            stacklevel=3,
        )
    source = getattr(loader, "dataset", loader)
    if classes is None:
        names = getattr(source, "classes", None) or range(int(y.max()) + 1 if len(y) else 0)
        classes = tuple(str(label) for label in names)
    scale = 255.0 if x.dtype == torch.uint8 else 1.0
    return Split(x, y, scale, name, type(source).__name__, classes)


def as_split(data: Split | Iterable[Any], bounds: tuple[float, float] = (0.0, 1.0)) -> Split:
    """A split as it is; batches put together (`gather`).

    Raises:
        ValueError: It is neither.
    """
    if isinstance(data, Dataset):
        raise ValueError("expected a split, got the whole data set; pass data.test")
    return data if isinstance(data, Split) else gather(data, bounds=bounds)


@dataclasses.dataclass(frozen=True, eq=False)
class LoaderBatches:
    """Batches of a loader, on the device, as our own are.

    Args:
        loader: Gives batches as in `gather`, anew each time it is iterated; its length is known.
        device: Where batches are put.
        bounds: Lowest and highest value that floating point inputs may hold.
        classes: How many classes there are.
        rows: The index must name rows of a split of so many examples. None: where there is no
            index, examples are numbered as they come.

    Raises:
        ValueError: The loader has no length, or gives batches only once.
    """

    loader: Iterable[Any]
    device: torch.device | str
    bounds: tuple[float, float]
    classes: int
    rows: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.loader, Iterator):
            raise ValueError(
                f"batches is {_words(self.loader)}, which gives them only once; expected an object "
                "that gives them anew each epoch, such as a DataLoader or a list"
            )
        if len(self) == 0:
            raise ValueError(f"batches is {_words(self.loader)} without any batch")

    def __len__(self) -> int:
        try:
            assert isinstance(self.loader, Sized)
            return len(self.loader)
        except (AssertionError, TypeError):
            raise ValueError(
                f"batches is {_words(self.loader)}, whose length is unknown, but the learning rate "
                "follows it; expected an object with len(), such as a DataLoader of a set with one"
            ) from None

    def __iter__(self) -> Iterator[Batch]:
        done = count = 0
        for element in self.loader:
            x, y, index = _unpack(element, self.bounds)
            self._check(y, index)
            if index is None:
                index = torch.arange(done, done + len(y))
            done, count = done + len(y), count + 1
            scaled = x.to(self.device).float()
            if x.dtype == torch.uint8:
                scaled = scaled / 255
            yield Batch(scaled, y.to(self.device), index.to(self.device))
        if count != len(self):
            raise ValueError(f"batches gave {count} batches; its len() promises {len(self)}")

    def _check(self, y: Tensor, index: Tensor | None) -> None:
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < self.classes:
            raise ValueError(
                f"labels of a batch span {int(y.min())} to {int(y.max())}; expected 0 to "
                f"{self.classes - 1} for {self.classes} classes"
            )
        if self.rows is None:
            return
        if index is None:
            raise ValueError(
                "this objective tells the training examples apart, but batches gives (x, y) alone; "
                "let it give (x, y, index), with the row of each in data.train, or leave it out"
            )
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < self.rows:
            raise ValueError(
                f"an index of a batch spans {int(index.min())} to {int(index.max())}; expected "
                f"rows of data.train, 0 to {self.rows - 1}"
            )


class _Unpacked(NamedTuple):
    x: Tensor  # uint8, or float32 inside the bounds
    y: Tensor  # int64
    index: Tensor | None  # pyright: ignore[reportIncompatibleMethodOverride]  # hides tuple.index


def _unpack(element: object, bounds: tuple[float, float]) -> _Unpacked:
    """What a loader gives, on the CPU, and checked: the one place that knows the forms it takes."""
    if (
        not isinstance(element, tuple | list)
        or len(element) not in (2, 3)
        or not all(isinstance(part, Tensor) and part.ndim for part in element)
    ):
        raise ValueError(
            f"a batch is {_words(element)}; expected (x, y) or (x, y, index), all tensors. For a "
            "set of single examples write DataLoader(mine, batch_size=256), for whole tensors "
            "[(x, y)], and let a collate_fn bring anything else into this form"
        )
    x, y, *rest = (part.detach().cpu() for part in element)
    for what, whole in (("labels", y), *(("the index", part) for part in rest)):
        if whole.shape != x.shape[:1] or whole.is_floating_point() or whole.is_complex():
            raise ValueError(
                f"{what} of a batch of {len(x)} are {whole.dtype} {tuple(whole.shape)}; expected "
                f"whole numbers ({len(x)},)"
            )
    if not x.is_floating_point() and x.dtype != torch.uint8:
        raise ValueError(
            f"inputs are {x.dtype}; expected uint8 images or floating point in {list(bounds)}"
        )
    if x.is_floating_point():
        x = x.float()
        low, high = (float(value) for value in x.aminmax()) if x.numel() else bounds
        if not bounds[0] <= low <= high <= bounds[1]:
            raise ValueError(
                f"inputs span [{low:.4g}, {high:.4g}]; expected values in {list(bounds)}. Leave "
                "normalisation to the first layer of the model, brolly.models.Normalize: eps is in "
                "input units"
            )
    return _Unpacked(x, y.long(), rest[0].long() if rest else None)


def _words(value: object) -> str:
    kind = f"a {type(value).__name__}"
    if isinstance(value, tuple | list):
        return f"{kind} of ({', '.join(type(part).__name__ for part in value[:4])})"
    if isinstance(value, dict):
        return f"{kind} with the keys {', '.join(map(str, list(value)[:4]))}"
    return kind
