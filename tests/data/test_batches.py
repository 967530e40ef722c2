"""Batches: every example once, in an order that the generator decides."""

import pytest
import torch

from brolly.data import Batches, Flip, Shift, Split


def split(count=23, dtype=torch.uint8):
    inputs = torch.arange(count * 6).reshape(count, 1, 2, 3) % 256
    return Split(inputs.to(dtype), torch.arange(count) % 5, 255.0, "train", "mine", tuple("01234"))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [1, 4, 23, 50])
@pytest.mark.parametrize("shuffled", [False, True])
def test_every_example_comes_once_with_its_label_and_position(size, shuffled):
    whole = split()
    batches = Batches(whole, size, generator=generator() if shuffled else None)
    seen = list(batches)
    assert len(seen) == len(batches) == -(-23 // size)
    assert all(len(batch.x) == size for batch in seen[:-1])
    index = torch.cat([batch.index for batch in seen])
    assert index.sort().values.tolist() == list(range(23))
    assert (index.tolist() == list(range(23))) == (not shuffled)
    assert torch.equal(torch.cat([batch.y for batch in seen]), whole.labels[index])
    assert torch.equal(torch.cat([batch.x for batch in seen]), whole.inputs[index].float() / 255)


def test_drop_last_leaves_out_the_short_batch():
    batches = Batches(split(), 5, generator=generator(), drop_last=True)
    sizes = [len(batch.x) for batch in batches]
    assert sizes == [5, 5, 5, 5]
    assert len(batches) == 4
    assert len(list(Batches(split(20), 5, drop_last=True))) == 4


def test_the_order_is_new_on_each_pass_and_follows_from_the_generator_state():
    def passes(random):
        batches = Batches(split(), 4, generator=random)
        return [torch.cat([batch.index for batch in batches]).tolist() for _ in range(3)]

    first, second, third = passes(generator(7))
    assert first != second != third
    assert passes(generator(7)) == [first, second, third]
    assert passes(generator(8))[0] != first
    resumed = generator(7)
    list(Batches(split(), 4, generator=resumed))
    other = generator(0)
    other.set_state(resumed.get_state())
    assert passes(other)[:2] == [second, third]


def test_global_randomness_has_no_part_in_it():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    batches = Batches(split(), 4, generator=generator(), augment=[Shift(1), Flip()])
    first = [batch.x for batch in batches]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    again = Batches(split(), 4, generator=generator(), augment=[Shift(1), Flip()])
    assert all(torch.equal(a, batch.x) for a, batch in zip(first, again, strict=True))


@pytest.mark.parametrize(("dtype", "scale"), [(torch.uint8, 255.0), (torch.uint8, 16.0)])
def test_every_byte_is_scaled_exactly(dtype, scale):
    values = torch.arange(int(scale) + 1).to(dtype)
    whole = Split(values[:, None], values.long() * 0, scale, "train", "mine", ("a",))
    (batch,) = Batches(whole, len(values))
    assert batch.x.dtype == torch.float32
    # The nearest float32 to the quotient, as computed in float64.
    assert torch.equal(batch.x[:, 0], (values.double() / scale).float())


def test_augmentations_are_applied_in_turn_before_training_alone():
    def double(x, random):
        return 2 * x

    def shifted(x, random):
        return x + torch.rand((), generator=random)

    (batch,) = Batches(split(), 23, generator=generator(3), augment=[double, shifted])
    random = generator(3)
    order = torch.randperm(23, generator=random)
    expected = 2 * split().inputs[order].float() / 255 + torch.rand((), generator=random)
    assert torch.equal(batch.x, expected)


def test_the_split_itself_is_left_alone():
    whole = split()
    before = whole.inputs.clone()
    for batch in Batches(whole, 4):
        batch.x.zero_()
    assert torch.equal(whole.inputs, before)


def test_an_empty_split_has_no_batches():
    assert list(Batches(split().first(0), 4)) == []


def test_what_batches_refuse():
    with pytest.raises(ValueError, match="batch size is 0; expected 1 or more"):
        Batches(split(), 0)
    with pytest.raises(ValueError, match=r"pass a torch\.Generator"):
        Batches(split(), 4, augment=[Flip()])


def shifted_slowly(x, pixels, fill, random):
    """Each image moved on its own, pixel by pixel."""
    moves = torch.randint(2 * pixels + 1, (2, len(x), 1), generator=random)[..., 0] - pixels
    out = torch.full_like(x, fill)
    for n in range(len(x)):
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                source = (row + int(moves[0, n]), column + int(moves[1, n]))
                if 0 <= source[0] < x.shape[2] and 0 <= source[1] < x.shape[3]:
                    out[n, :, row, column] = x[n, :, source[0], source[1]]
    return out


@pytest.mark.parametrize("shape", [(30, 1, 4, 5), (12, 3, 6, 3)])
@pytest.mark.parametrize(("pixels", "fill"), [(2, 0.0), (1, 0.5), (3, 1.0)])
def test_shift_is_pixel_for_pixel_the_slow_one(shape, pixels, fill):
    x = torch.rand(shape, generator=generator(1))
    moved = Shift(pixels, fill)(x, generator(5))
    assert torch.equal(moved, shifted_slowly(x, pixels, fill, generator(5)))
    assert torch.equal(moved, Shift(pixels, fill)(x, generator(5)))
    assert not torch.equal(moved, Shift(pixels, fill)(x, generator(6)))


def test_shift_reaches_every_move_equally_often():
    # The one lit pixel in the middle tells each image's move.
    x = torch.zeros(9000, 1, 5, 5)
    x[:, :, 2, 2] = 1
    places = Shift(1)(x, generator(0)).flatten(1).argmax(1).bincount(minlength=25).reshape(5, 5)
    inner = places[1:4, 1:4]
    assert int(inner.sum()) == 9000
    assert float(((inner - 1000.0) ** 2 / 1000).sum()) < 26.1  # chi-square, 8 degrees, p = 0.001


def test_shift_by_nothing_is_the_identity():
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(Shift(0)(x, generator()), x)


def test_flip_mirrors_the_images_that_the_generator_picks():
    x = torch.rand(50, 2, 3, 4, generator=generator(1))
    flipped = Flip(0.3)(x, generator(2))
    picked = torch.rand(50, generator=generator(2)) < 0.3
    assert 0 < int(picked.sum()) < 50
    for n in range(50):
        expected = x[n][:, :, [3, 2, 1, 0]] if picked[n] else x[n]
        assert torch.equal(flipped[n], expected)
    assert torch.equal(Flip(0.0)(x, generator()), x)
    assert torch.equal(Flip(1.0)(x, generator()), x.flip(3))


def test_what_augmentations_refuse():
    with pytest.raises(ValueError, match="pixels is -1"):
        Shift(-1)
    with pytest.raises(ValueError, match=r"probability is 1\.5"):
        Flip(1.5)
