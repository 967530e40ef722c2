"""Batches of a split, on the device, in a reproducible order."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ._sampling import balanced_rows, check_every_class, shuffled_rows
from ._split import Split
from ._threads import prefetch, usable_cpus


class Batch(NamedTuple):
    """Inputs in input units, their labels, and their positions in the split."""

    x: Tensor
    y: Tensor
    index: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  # hides tuple.index


@runtime_checkable
class Augmentation(Protocol):
    """Changes a batch of images at random; randomness comes from `generator` alone."""

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor: ...


@dataclasses.dataclass(eq=False)
class Batches:
    """Cuts a split into batches, on the device, ready for training.

    Inputs in memory are moved to the device as they are stored (8-bit images as uint8) if they
    take at most half of what is free there. `Stored` inputs, and those that the device has no room
    for, are read by threads, a few batches ahead. Conversion to floating point and augmentation
    take place on the device, a whole batch at a time.

    A pass that was left in the middle can be taken up by other batches of the same arguments: see
    `state`.

    Args:
        split: What to cut.
        size: Examples in a batch (of one rank).
        device: Where batches are made.
        generator: Shuffles, anew on each pass, and feeds the augmentation; None: stored order.
        augment: Applied to each batch in turn; needs a generator.
        drop_last: Whether a last, smaller batch is left out. All ranks then have the same number
            of batches.
        balanced: Whether as many examples as there are are drawn with replacement, each class
            equally likely, instead of each example once; needs a generator.
        shard: `(rank, ranks)`: every `ranks`-th example of the pass, from number `rank`. Ranks
            whose generators begin in the same state have every example once among them.
        threads: Of the reading; 0: nothing is read ahead. None: as many as there are processors,
            at most 8.

    Raises:
        ValueError: An argument is out of range, a generator is missing, or a class to balance has
            no examples.

    Example:
        >>> import torch, brolly
        >>> data = brolly.load_data("digits")
        >>> generator = torch.Generator().manual_seed(0)
        >>> batches = brolly.Batches(data.train, 128, generator=generator, drop_last=True)
        >>> len(batches), [tuple(x.shape) for x, y, index in batches][0]
        (9, (128, 1, 8, 8))
    """

    split: Split
    size: int
    device: torch.device | str = "cpu"
    generator: torch.Generator | None = None
    augment: Sequence[Augmentation] = ()
    drop_last: bool = False
    balanced: bool = False
    shard: tuple[int, int] = (0, 1)
    threads: int | None = None
    _pass: _Pass | None = dataclasses.field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        rank, ranks = self.shard
        if self.size < 1:
            raise ValueError(f"batch size is {self.size}; expected 1 or more")
        if self.augment and self.generator is None:
            raise ValueError("augmentation is random; pass a torch.Generator along with it")
        if self.balanced and self.generator is None:
            raise ValueError("balanced sampling is random; pass a torch.Generator along with it")
        if not 0 <= rank < ranks:
            raise ValueError(
                f"shard is {self.shard}; expected (rank, ranks) with a rank of 0 to ranks - 1"
            )
        if self.threads is not None and self.threads < 0:
            raise ValueError(f"threads is {self.threads}; expected 0 or more, or None")
        if self.balanced:
            check_every_class(self.split)
        self.split = _placed(self.split, torch.device(self.device))

    def __len__(self) -> int:
        rank, ranks = self.shard
        count = len(self.split)
        if self.drop_last:
            return count // ranks // self.size
        return -(-len(range(rank, count, ranks)) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        now = self._pass
        if now is None or not now.waits:
            now = self._pass = self._begin()
        now.waits = False
        split, inputs = self.split, self.split.inputs
        in_place = isinstance(inputs, Tensor) and inputs.device == split.labels.device
        order = now.order.to(self.device) if in_place else now.order
        parts = order.split(self.size)[now.done :] if len(order) else ()
        threads = 0 if in_place else self._threads
        converts = threads > 0 and split.labels.device.type == "cpu"
        read = prefetch(self._read_converted if converts else self._read, parts, threads)
        with contextlib.closing(read):
            for part, stored in zip(parts, read, strict=True):
                x = stored if converts else split.scaled(stored.to(self.device, non_blocking=True))
                for augment in self.augment:
                    assert now.noise is not None
                    x = augment(x, now.noise)
                index = part.to(self.device)
                now.done += 1
                yield Batch(x, split.labels[index], index)
        if self._pass is now:
            self._pass = None

    def state(self) -> dict[str, Any]:
        """Where the pass stands, as tensors and plain values.

        The pass begun last counts, up to the batch given last. Between passes it is the beginning
        of the next one.

        Example:
            >>> import torch, brolly
            >>> digits = brolly.load_data("digits").train
            >>> def batches(seed):
            ...     generator = torch.Generator().manual_seed(seed)
            ...     return brolly.Batches(digits, 500, generator=generator)
            >>> mine, others = batches(seed=0), batches(seed=1)
            >>> rest = iter(mine)
            >>> first = next(rest)
            >>> others.load_state(mine.state())
            >>> all(torch.equal(a.x, b.x) for a, b in zip(rest, others, strict=True))
            True
        """
        now = self._pass
        start = noise = None if self.generator is None else self.generator.get_state()
        if now is not None:
            start, noise = now.start, None if now.noise is None else now.noise.get_state()
        return {
            "start": start,
            "noise": noise,
            "done": 0 if now is None else now.done,
            "of": self._of(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Makes the next pass the rest of the one that `state` tells of, bit for bit.

        Raises:
            ValueError: The state is of other batches.
        """
        if state["of"] != self._of():
            raise ValueError(
                f"the state is of other batches: {state['of']}; these are {self._of()}"
            )
        if self.generator is not None:
            self.generator.set_state(state["start"])
        self._pass = None
        if state["done"]:
            now = self._pass = self._begin()
            now.done, now.waits = state["done"], True
            if now.noise is not None:
                now.noise.set_state(state["noise"])

    def _of(self) -> dict[str, Any]:
        """What the order of a pass depends on."""
        return {
            "examples": len(self.split),
            "size": self.size,
            "shuffled": self.generator is not None,
            "drop_last": self.drop_last,
            "balanced": self.balanced,
            "shard": list(self.shard),
        }

    def _begin(self) -> _Pass:
        """Draws the order of a pass."""
        generator, (rank, ranks) = self.generator, self.shard
        if generator is None:
            order, start = torch.arange(len(self.split)), None
        else:
            start = generator.get_state()
            order = (
                balanced_rows(self.split.labels.cpu(), generator)
                if self.balanced
                else shuffled_rows(len(self.split), generator)
            )
        order = order[rank::ranks]
        if self.drop_last:
            order = order[: len(self) * self.size]
        noise = generator
        if generator is not None and ranks > 1:
            # Ranks have batches of different sizes, but must draw the same orders later.
            seed = int(torch.randint(2**62, (), generator=generator)) + rank
            noise = torch.Generator().manual_seed(seed)
        return _Pass(start, order, noise)

    def _read(self, rows: Tensor) -> Tensor:
        stored = self.split.read(rows)
        onto_gpu = stored.device.type == "cpu" and torch.device(self.device).type == "cuda"
        return stored.pin_memory() if onto_gpu else stored

    def _read_converted(self, rows: Tensor) -> Tensor:
        """`Split.scaled` for a thread that reads: torch would start threads of its own in it."""
        stored, scale = self.split.read(rows).numpy(), np.float32(self.split.scale)
        return torch.from_numpy(np.divide(stored, scale, dtype=np.float32))

    @property
    def _threads(self) -> int:
        return min(usable_cpus(), 8) if self.threads is None else self.threads


@dataclasses.dataclass(eq=False)
class _Pass:
    """One pass over the examples of a rank."""

    start: Tensor | None  # state of the generator before the order was drawn
    order: Tensor
    noise: torch.Generator | None  # feeds the augmentation
    done: int = 0  # batches given
    waits: bool = False  # to be taken up by the next iterator


def _placed(split: Split, device: torch.device) -> Split:
    """The split with its labels on the device, and its inputs too, if there is room for them."""
    inputs = split.inputs
    if isinstance(inputs, Tensor) and _has_room(inputs, device):
        inputs = inputs.to(device)
    return dataclasses.replace(split, inputs=inputs, labels=split.labels.to(device))


def _has_room(inputs: Tensor, device: torch.device) -> bool:
    if device.type != "cuda" or inputs.device.type == "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return inputs.nbytes <= free / 2
