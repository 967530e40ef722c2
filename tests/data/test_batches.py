"""Batches: every example once, in an order that the generator decides."""

import dataclasses
import io
import itertools
import multiprocessing
import pickle
import threading
import time
import warnings

import pytest
import torch

from brolly.data import Batches, Flip, Shift, Split, Stored
from brolly.data._threads import prefetch


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


class OnDisk(Stored):
    """Inputs that are read slowly, each batch a little longer or shorter than the last."""

    def __init__(self, inputs, broken=None):
        self.inputs, self.shape, self.dtype = inputs, tuple(inputs.shape), inputs.dtype
        self.broken, self.readers = broken, set()

    def read(self, rows):
        self.readers.add(threading.current_thread().name)
        time.sleep(0.0005 * float(torch.rand(())))
        if self.broken is not None and (rows == self.broken).any():
            raise OSError(f"row {self.broken} cannot be read")
        return self.inputs[rows]


def stored(count=23, broken=None):
    whole = split(count)
    return dataclasses.replace(whole, inputs=OnDisk(whole.inputs, broken))


def reading_threads():
    return [t for t in threading.enumerate() if t.name.startswith("brolly-read")]


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_stored_inputs_give_the_batches_of_inputs_in_memory(threads):
    def batches(whole):
        options = {"generator": generator(5), "augment": [Shift(1), Flip()], "threads": threads}
        return Batches(whole, 4, **options)

    expected, disk = batches(split()), stored()
    found = batches(disk)
    for _ in range(2):
        for ours, theirs in zip(found, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    here = threading.current_thread().name
    assert (here in disk.inputs.readers) == (threads == 0)
    assert reading_threads() == []


def test_a_few_batches_are_read_ahead_and_no_more():
    asked = []
    reader = prefetch(lambda part: asked.append(part) or part, range(100), 2)
    for taken in range(1, 21):
        assert next(reader) == taken - 1
        assert len(asked) <= taken + 4
    reader.close()
    assert 20 <= len(asked) <= 24
    assert list(prefetch(str, range(7), 3)) == list("0123456")


@pytest.mark.parametrize("threads", [0, 2])
def test_what_a_reader_raises_reaches_the_caller_in_its_place(threads):
    seen = []
    with pytest.raises(OSError, match="row 13 cannot be read"):
        seen.extend(b.index.tolist() for b in Batches(stored(broken=13), 4, threads=threads))
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert reading_threads() == []


def test_the_threads_end_when_nobody_reads_on():
    batches = Batches(stored(), 2, threads=2)
    for _ in batches:
        assert len(reading_threads()) == 2
        break
    assert reading_threads() == []
    iterator = iter(batches)
    next(iterator)
    del iterator
    assert reading_threads() == []


def _sums(batches):
    return [float(batch.x.sum()) for batch in batches]


def test_batches_work_in_other_processes(tmp_path):
    whole = split(40)
    torch.save(whole.inputs, tmp_path / "inputs.pt")
    inputs = torch.load(tmp_path / "inputs.pt", mmap=True)
    whole = dataclasses.replace(whole, inputs=MappedFile(tmp_path / "inputs.pt", inputs.shape))
    expected = _sums(Batches(whole, 8, generator=generator(2), augment=[Flip()], threads=0))
    copied = pickle.loads(
        pickle.dumps(Batches(whole, 8, generator=generator(2), augment=[Flip()], threads=2))
    )
    assert _sums(copied) == expected
    here = Batches(whole, 8, generator=generator(2), augment=[Flip()], threads=2)
    next(iter(dataclasses.replace(here, generator=generator(0))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of forks while threads are alive
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply_async(_sums, (here,)).get(30) == expected
    assert _sums(here) == expected


class MappedFile(Stored):
    def __init__(self, path, shape):
        self.path, self.shape, self.dtype = path, tuple(shape), torch.uint8

    def read(self, rows):
        return torch.load(self.path, mmap=True)[rows]


@pytest.mark.parametrize("kind", ["memory", "threads", "reads"])
@pytest.mark.parametrize("options", [{}, {"balanced": True}, {"shard": (1, 3)}])
@pytest.mark.parametrize("done", [0, 2, 3, 9])
def test_a_pass_goes_on_where_it_stopped(kind, options, done):
    def batches(seed):
        whole = split(36) if kind == "memory" else stored(36)
        threads = 0 if kind == "reads" else 2
        steps = [Shift(1), Flip()]
        return Batches(whole, 4, generator=generator(seed), augment=steps, threads=threads,
                       drop_last=True, **options)  # fmt: skip

    mine, others = batches(1), batches(2)
    for _ in mine:  # the first pass; the second is left in the middle
        pass
    done = min(done, len(mine))
    iterator = iter(mine)
    for _ in range(done):
        next(iterator)
    buffer = io.BytesIO()
    torch.save(mine.state(), buffer)
    buffer.seek(0)
    list(itertools.islice(others, 2))  # it was elsewhere before
    others.load_state(torch.load(buffer, weights_only=True))
    again = others.state()
    assert again["done"] == done
    rest = [*iterator, *mine]  # and the pass after
    resumed = [*others, *others]
    assert len(resumed) == len(rest) == 2 * len(mine) - done
    for ours, theirs in zip(resumed, rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_pass_in_stored_order_goes_on_too():
    mine, others = Batches(split(), 4), Batches(split(), 4)
    iterator = iter(mine)
    next(iterator)
    others.load_state(mine.state())
    assert [batch.index.tolist() for batch in others] == [b.index.tolist() for b in iterator]


def test_a_state_of_other_batches_is_refused():
    state = Batches(split(), 4, generator=generator()).state()
    for other in (
        Batches(split(22), 4, generator=generator()),
        Batches(split(), 4),
        Batches(split(), 4, generator=generator(), shard=(1, 2)),
        Batches(split(), 4, generator=generator(), drop_last=True),
    ):
        with pytest.raises(ValueError, match=r"the state is of other batches: \{'examples': 23"):
            other.load_state(state)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5, 30])
@pytest.mark.parametrize("shuffled", [False, True])
def test_ranks_have_every_example_once_among_them(ranks, shuffled):
    def rank(number):
        random = generator(4) if shuffled else None
        return Batches(split(), 4, generator=random, shard=(number, ranks),
                       augment=[Flip()] if shuffled else [])  # fmt: skip

    everyone = [rank(number) for number in range(ranks)]
    orders = []
    for _ in range(2):  # ranks with batches of other sizes agree in the second pass, too
        passes = [list(batches) for batches in everyone]
        assert [len(found) for found in passes] == [len(batches) for batches in everyone]
        index = torch.cat([batch.index for found in passes for batch in found])
        assert index.sort().values.tolist() == list(range(23))
        orders.append(index.tolist())
    assert (orders[0] != orders[1]) == shuffled


@pytest.mark.parametrize(("count", "ranks"), [(23, 2), (24, 2), (23, 5), (7, 4)])
def test_with_drop_last_all_ranks_have_as_many_batches(count, ranks):
    everyone = [
        list(Batches(split(count), 3, generator=generator(), drop_last=True, shard=(rank, ranks)))
        for rank in range(ranks)
    ]
    assert {len(found) for found in everyone} == {count // ranks // 3}
    assert all(len(batch.x) == 3 for found in everyone for batch in found)
    index = [int(row) for found in everyone for batch in found for row in batch.index]
    assert len(set(index)) == len(index)


def test_ranks_augment_differently():
    x = torch.full((64, 1, 1, 2), 255, dtype=torch.uint8)
    x[..., 0] = 0
    whole = Split(x, torch.zeros(64, dtype=torch.int64), 255.0, "train", "mine", ("a",))
    one, two = (
        next(iter(Batches(whole, 32, generator=generator(), shard=(rank, 2), augment=[Flip()])))
        for rank in range(2)
    )
    assert not torch.equal(one.x, two.x)


def test_balanced_sampling_draws_each_class_and_each_of_its_examples_equally_often():
    counts = torch.tensor([1, 10, 100, 889])
    labels = torch.arange(4).repeat_interleave(counts)[torch.randperm(1000, generator=generator())]
    whole = Split(torch.zeros(1000, 1), labels, 1.0, "train", "mine", tuple("abcd"))
    batches = Batches(whole, 1000, generator=generator(1), balanced=True)
    index = torch.cat([batch.index for _ in range(20) for batch in batches])
    assert len(index) == 20_000
    drawn = labels[index].bincount(minlength=4)
    # Chi-square at p = 0.001, 3 degrees of freedom; then 99, of the third class.
    assert float(((drawn - 5000.0) ** 2 / 5000).sum()) < 16.3
    third = index.bincount(minlength=1000)[labels == 2]
    assert float(((third - third.float().mean()) ** 2 / third.float().mean()).sum()) < 148.2
    assert index[:1000].tolist() != index[1000:2000].tolist()


def test_balanced_sampling_needs_examples_of_each_class_and_a_generator():
    whole = dataclasses.replace(split(), classes=("0", "1", "2", "3", "4", "plum", "pear"))
    with pytest.raises(ValueError, match=r"no examples of 2 of its 7 classes \('plum', 'pear'\)"):
        Batches(whole, 4, generator=generator(), balanced=True)
    with pytest.raises(ValueError, match="balanced sampling is random; pass"):
        Batches(split(), 4, balanced=True)


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_a_shard_that_is_none(shard):
    with pytest.raises(ValueError, match=r"expected \(rank, ranks\)"):
        Batches(split(), 4, shard=shard)


def test_threads_below_none():
    with pytest.raises(ValueError, match="threads is -1"):
        Batches(split(), 4, threads=-1)


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
