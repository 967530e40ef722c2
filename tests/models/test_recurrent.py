"""Recurrent layers against torch's own, with the same weights."""

import pytest
import torch
from torch import nn

from brolly import AWP, fit, load_data
from brolly.models import LSTM, RNN
from brolly.models._recurrent import ElmanLayer, LSTMLayer, Rows


def torchs(model, layers, bidirectional):
    """torch's network with the weights of ours; one of its two biases is 0."""
    readings = [m for m in model.children() if hasattr(m, "forwards")]
    first = readings[0].forwards
    kind = nn.LSTM if isinstance(first, LSTMLayer) else nn.RNN
    other = kind(
        first.input.in_features, first.hidden, layers, batch_first=True,
        bidirectional=bidirectional, dtype=torch.float64,
    )  # fmt: skip
    with torch.no_grad():
        for k, reading in enumerate(readings):
            for suffix, layer in (("", reading.forwards), ("_reverse", reading.backwards)):
                if layer is None:
                    continue
                getattr(other, f"weight_ih_l{k}{suffix}").copy_(layer.input.weight)
                getattr(other, f"weight_hh_l{k}{suffix}").copy_(layer.state.weight)
                getattr(other, f"bias_ih_l{k}{suffix}").copy_(layer.input.bias)
                getattr(other, f"bias_hh_l{k}{suffix}").zero_()
    return other


@pytest.mark.parametrize("build", [RNN, LSTM])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_same_as_torchs(build, layers, bidirectional):
    torch.manual_seed(0)
    shape = (7, 3)
    model = build(shape, 4, hidden=5, layers=layers, bidirectional=bidirectional).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)
    x = torch.randn(6, 7, 3, dtype=torch.float64)
    network = torchs(model, layers, bidirectional)
    _, last = network(x)
    last = last[0] if isinstance(last, tuple) else last  # (layers * directions, batch, hidden)
    ends = torch.cat([last[-2], last[-1]], -1) if bidirectional else last[-1]
    torch.testing.assert_close(model(x), model[-1](ends), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layer", [ElmanLayer(3, 4), LSTMLayer(3, 4)])
def test_a_state_knows_the_past_alone(layer):
    x = torch.randn(2, 6, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[:, 3].sum(), x)
    assert (gradient[:, :4].abs().amax(-1) > 0).all()
    assert not gradient[:, 4:].any()


def test_the_weights_to_begin_with():
    layer = LSTMLayer(3, 4)
    assert layer.input.bias.tolist() == [0] * 4 + [1] * 4 + [0] * 8  # the forget gate's are 1
    for gate in layer.state.weight.chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(4))


def test_images_are_read_row_by_row():
    x = torch.rand(2, 3, 4, 5)
    rows = Rows()(x)
    assert rows.shape == (2, 4, 15)
    assert torch.equal(rows[1, 2], torch.cat([x[1, channel, 2] for channel in range(3)]))
    assert torch.equal(Rows()(rows), rows)


def test_sequences_may_have_any_length():
    model = LSTM((7, 3), 4, hidden=5, bidirectional=True).eval()
    x = torch.rand(2, 11, 3)
    assert model(x).shape == (2, 4)
    assert not torch.equal(model(x), model(x[:, :7]))


def test_fit_learns_digits_at_worse_weights_too():
    data = load_data("digits")
    torch.manual_seed(0)
    model = LSTM((1, 8, 8), 10, hidden=32, normalize=data.statistics)
    history = fit(model, data, weights=AWP(), epochs=2, clip=1.0, batch_size=64)
    assert history.epochs[-1].validation_clean > 0.3
