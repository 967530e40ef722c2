"""Recurrent networks over sequences; an image is a sequence of its rows."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from .._ranges import check_range
from ._dropout import DropoutKind, dropout_of
from ._normalize import ChannelStatistics, first_layer


class Rows(nn.Module):
    """`(batch, channels, height, width)` to `(batch, height, channels * width)`.

    Sequences `(batch, length, features)` pass as they are.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x if x.ndim == 3 else x.transpose(1, 2).flatten(2)


class Recurrence(nn.Module, abc.ABC):
    """One layer that reads a sequence in one direction: all its hidden states.

    Made of `nn.Linear`, so that whatever acts on linear layers (noise, penalties, other weights)
    acts on it as well, so that it has a gradient in eval mode on every device and second
    derivatives, which cuDNN's recurrent layers lack.

    The map of the input starts as Glorot & Bengio (2010) draw it, that of the state orthogonal
    (Saxe et al. 2014), biases at 0.

    Args:
        features: Values of one step.
        hidden: Width of the state.
        gates: Vectors of that width that a step computes.
    """

    def __init__(self, features: int, hidden: int, gates: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.input = nn.Linear(features, gates * hidden)
        self.state = nn.Linear(hidden, gates * hidden, bias=False)
        nn.init.xavier_uniform_(self.input.weight)
        nn.init.zeros_(self.input.bias)
        for gate in self.state.weight.chunk(gates):
            nn.init.orthogonal_(gate)

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """`(batch, length, features)` to the states `(batch, length, hidden)`."""


class ElmanLayer(Recurrence):
    """`h_t = tanh(W x_t + U h_(t-1) + b)` (Elman 1990)."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__(features, hidden, gates=1)

    def forward(self, x: Tensor) -> Tensor:
        state, states = None, []
        for entered in self.input(x).unbind(1):
            state = torch.tanh(entered if state is None else entered + self.state(state))
            states.append(state)
        return torch.stack(states, 1)


class LSTMLayer(Recurrence):
    r"""The long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    .. math:: i, f, g, o = W x_t + U h_{t-1} + b, \quad
              c_t = \sigma(f) c_{t-1} + \sigma(i) \tanh(g), \quad h_t = \sigma(o) \tanh(c_t)

    The gates are in the order of `nn.LSTM`. The bias of the forget gate begins at 1, so that
    memory lasts from the beginning (Jozefowicz et al. 2015).
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__(features, hidden, gates=4)
        nn.init.ones_(self.input.bias[hidden : 2 * hidden])

    def forward(self, x: Tensor) -> Tensor:
        state, memory, states = None, None, []
        for entered in self.input(x).unbind(1):
            gates = entered if state is None else entered + self.state(state)
            enter, keep, new, leave = gates.chunk(4, -1)
            added = torch.sigmoid(enter) * torch.tanh(new)
            memory = added if memory is None else torch.sigmoid(keep) * memory + added
            state = torch.sigmoid(leave) * torch.tanh(memory)
            states.append(state)
        return torch.stack(states, 1)


class _Readings(nn.Module):
    """A layer for each direction: states of both, side by side, each at its step."""

    def __init__(self, forwards: Recurrence, backwards: Recurrence | None) -> None:
        super().__init__()
        self.forwards, self.backwards = forwards, backwards

    def forward(self, x: Tensor) -> Tensor:
        states = self.forwards(x)
        if self.backwards is None:
            return states
        return torch.cat([states, self.backwards(x.flip(1)).flip(1)], -1)


class _Ends(nn.Module):
    """The state of each direction after its last step, side by side."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, -1, : self.hidden], x[:, 0, self.hidden :]], -1)


class _Recurrent(nn.Sequential, abc.ABC):
    """Layers of recurrences, and a linear one from their last states to the logits."""

    _layer: ClassVar[type[ElmanLayer] | type[LSTMLayer]]

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        *,
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        dropout_kind: DropoutKind = "bernoulli",
        normalize: ChannelStatistics | None = None,
    ) -> None:
        check_range("[1, inf)", classes=classes, hidden=hidden, layers=layers)
        features = _features(shape)
        stack: list[nn.Module] = []
        for layer in range(layers):
            stack += [dropout_of(dropout, dropout_kind)] if dropout and layer > 0 else []
            forwards = self._layer(features, hidden)
            backwards = self._layer(features, hidden) if bidirectional else None
            stack.append(_Readings(forwards, backwards))
            features = hidden * (1 + bidirectional)
        super().__init__(
            first_layer(normalize), Rows(), *stack, _Ends(hidden), nn.Linear(features, classes)
        )


class RNN(_Recurrent):
    """The simple recurrent network (Elman 1990) as a classifier of sequences.

    `h_t = tanh(W x_t + U h_(t-1) + b)`, and logits from the last state. Images are read row by
    row. Gradient clipping (`fit(clip=1)`) suits it.

    Args:
        shape: Of one input: `(length, features)`, or `(channels, height, width)` of an image.
            Sequences of any other length may follow.
        classes: Number of logits.
        hidden: Width of the state.
        layers: Recurrent layers, each reading the states of the one below.
        bidirectional: Whether a second network reads from the end (Schuster & Paliwal 1997); the
            logits see the last state of both.
        dropout: Probability of dropping a value between layers.
        dropout_kind: `bernoulli`, where a dropped value is 0, or `gaussian`: `GaussianDropout`.
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.

    Raises:
        ValueError: A size is below 1, or the shape is no sequence and no image.

    Example:
        >>> import torch
        >>> from brolly.models import RNN
        >>> RNN((28, 3), classes=5, bidirectional=True)(torch.rand(2, 28, 3)).shape
        torch.Size([2, 5])
    """

    _layer = ElmanLayer


class LSTM(_Recurrent):
    """The long short-term memory (Hochreiter & Schmidhuber 1997) as a classifier of sequences.

    Logits from the last state, with `bidirectional` from the last states of both directions
    (Graves & Schmidhuber 2005). Images are read row by row.

    Args:
        shape: Of one input: `(length, features)`, or `(channels, height, width)` of an image.
            Sequences of any other length may follow.
        classes: Number of logits.
        hidden: Width of the state.
        layers: Recurrent layers, each reading the states of the one below.
        bidirectional: Whether a second network reads from the end; the logits see the last state
            of both.
        dropout: Probability of dropping a value between layers.
        dropout_kind: `bernoulli`, where a dropped value is 0, or `gaussian`: `GaussianDropout`.
        normalize: Channel statistics of the first layer; None: inputs are taken as they are.

    Raises:
        ValueError: A size is below 1, or the shape is no sequence and no image.

    Example:
        >>> import torch
        >>> from brolly.models import LSTM
        >>> LSTM((1, 28, 28), classes=10)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    _layer = LSTMLayer


def _features(shape: Sequence[int]) -> int:
    """Values of one step."""
    if len(shape) not in (2, 3):
        raise ValueError(
            f"shape is {tuple(shape)}; expected (length, features) of a sequence, or (channels, "
            "height, width) of an image, which is read row by row"
        )
    for size in shape:
        check_range("[1, inf)", shape=size)
    return shape[1] if len(shape) == 2 else shape[0] * shape[2]
