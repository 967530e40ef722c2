"""The vision transformer against its equations."""

import pytest
import torch
from torch import nn

from brolly.models import ViT
from brolly.models._vit import Attention, EncoderBlock, Tokens


def test_attention_head_by_head_and_token_by_token():
    torch.manual_seed(0)
    layer = Attention(6, heads=2, dropout=0.0).double()
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    query, key, value = layer.query(x), layer.key(x), layer.value(x)
    for k in range(2):
        for token in range(4):
            mixed = []
            for head in (slice(0, 3), slice(3, 6)):
                scores = [query[k, token, head] @ key[k, t, head] / 3**0.5 for t in range(4)]
                weights = torch.stack(scores).softmax(0)
                mixed.append(sum(weights[t] * value[k, t, head] for t in range(4)))
            torch.testing.assert_close(layer(x)[k, token], layer.out(torch.cat(mixed)))


def test_attention_is_torchs():
    torch.manual_seed(0)
    layer = Attention(8, heads=4, dropout=0.0).double()
    other = nn.MultiheadAttention(8, 4, batch_first=True, dtype=torch.float64)
    parts = (layer.query, layer.key, layer.value)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        other.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        other.out_proj.load_state_dict(layer.out.state_dict())
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x), other(x, x, x)[0])


def test_a_block_normalises_first_and_leaves_a_way_around():
    torch.manual_seed(0)
    block = EncoderBlock(4, 2, 7, dropout=0.3).double().eval()
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    norm, attention, _ = block.attend
    between = x + attention(norm(x))
    norm, enter, activation, _, leave, _ = block.think
    torch.testing.assert_close(block(x), between + leave(activation(enter(norm(between)))))


def test_tokens_are_patches_with_places():
    torch.manual_seed(0)
    tokens = Tokens((2, 4, 6), patch=2, width=5).double()
    x = torch.randn(3, 2, 4, 6, dtype=torch.float64)
    out = tokens(x)
    assert out.shape == (3, 7, 5)
    torch.testing.assert_close(
        out[:, 0], (tokens.token + tokens.position[:, :1])[:, 0].expand(3, 5)
    )
    patch = x[:, :, 2:4, 2:4].flatten(1)  # second row, second column: number 3 + 1
    mapped = patch @ tokens.embed.weight.flatten(1).T + tokens.embed.bias
    torch.testing.assert_close(out[:, 5], mapped + tokens.position[0, 5])


def test_places_matter_only_by_what_is_learned_of_them():
    torch.manual_seed(0)
    model = ViT((1, 8, 8), 3, width=8, depth=2, heads=2).double().eval()
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    moved = x.roll(4, -1)  # whole patches
    assert not torch.allclose(model(x), model(moved))
    nn.init.zeros_(model[1].position)
    torch.testing.assert_close(model(x), model(moved))


def test_a_network_just_made_has_gradients_to_attack():
    model = ViT((1, 8, 8), 3, width=8, depth=1, heads=2)
    x = torch.rand(2, 1, 8, 8, requires_grad=True)
    model(x)[:, 0].sum().backward()
    assert (x.grad.flatten(1).abs().amax(1) > 0).all()


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_dropout_acts_in_training_mode_alone(dropout):
    model = ViT((1, 8, 8), 3, width=8, depth=1, heads=2, dropout=dropout)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(model(x), model(x)) == (dropout == 0)
    model.eval()
    assert torch.equal(model(x), model(x))
