"""Random numbers: a function of the seed and the index of the example, and of nothing else."""

import math

import pytest
import torch

from brolly._draws import Draws

FLOATS = [torch.float32, torch.float64]


def like(count: int, *shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.empty(count, *shape, dtype=dtype)


@pytest.mark.parametrize("kind", ["uniform", "normal"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_batching_does_not_matter(kind: str, dtype: torch.dtype) -> None:
    index = torch.tensor([7, 0, 10**12, 3, 12, 5])
    whole = getattr(Draws(42, index), kind)(like(6, 2, 3, dtype=dtype))
    order = torch.tensor([4, 2, 0])
    part = getattr(Draws(42, index[order]), kind)(like(3, 2, 3, dtype=dtype))
    assert whole.dtype == dtype
    assert torch.equal(part, whole[order])
    for row in range(6):
        alone = getattr(Draws(42, index[row : row + 1]), kind)(like(1, 2, 3, dtype=dtype))
        assert torch.equal(alone[0], whole[row])


def test_rows_start_their_streams_anew() -> None:
    draws = Draws(3, torch.arange(5))
    first, second = draws.uniform(like(5, 4)), draws.uniform(like(5, 4))
    assert not torch.equal(first, second)
    rows = torch.tensor([3, 1])
    part = draws.of(rows)
    assert torch.equal(part.uniform(like(2, 4)), first[rows])
    assert torch.equal(part.uniform(like(2, 4)), second[rows])
    assert torch.equal(
        draws.fold(1).of(rows).normal(like(2, 4)), draws.fold(1).normal(like(5, 4))[rows]
    )


def test_folding_leaves_the_parent_alone() -> None:
    draws, untouched = Draws(3, torch.arange(5)), Draws(3, torch.arange(5))
    draws.fold(4).uniform(like(5, 2))
    assert torch.equal(draws.uniform(like(5, 2)), untouched.uniform(like(5, 2)))


def test_no_two_streams_are_alike() -> None:
    rows = []
    for seed in (0, 1, 2, 2**62 - 1):
        draws = Draws(seed, torch.arange(50))
        for source in (
            draws,
            draws.fold(0),
            draws.fold(1),
            draws.fold(0).fold(0),
            draws.fold(1).fold(0),
        ):
            rows += [source.uniform(like(50, 6)), source.uniform(like(50, 6))]
    numbers = torch.cat(rows)
    assert len(numbers.unique(dim=0)) == len(numbers) == 4 * 5 * 2 * 50
    assert len(numbers.unique()) == numbers.numel()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(lambda d: d, lambda d: Draws(d.seed, torch.arange(1, 401)), id="index"),
        pytest.param(lambda d: d, lambda d: Draws(d.seed + 1, torch.arange(400)), id="seed"),
        pytest.param(lambda d: d, lambda d: d.fold(0), id="parent-fold"),
        pytest.param(lambda d: d.fold(0), lambda d: d.fold(1), id="fold"),
        pytest.param(lambda d: d.fold(1).fold(0), lambda d: d.fold(0).fold(1), id="fold-order"),
    ],
)
def test_streams_are_uncorrelated(first, second) -> None:
    a = first(Draws(5, torch.arange(400))).uniform(like(400, 100)).flatten()
    b = second(Draws(5, torch.arange(400))).uniform(like(400, 100)).flatten()
    correlation = torch.corrcoef(torch.stack([a, b]))[0, 1].abs()
    assert correlation < 4.5 / math.sqrt(len(a))


def test_neighbouring_positions_and_draws_are_uncorrelated() -> None:
    draws = Draws(5, torch.arange(400))
    a, b = draws.uniform(like(400, 101)), draws.uniform(like(400, 101))
    for x, y in [(a[:, :-1], a[:, 1:]), (a, b), (a[:-1], a[1:])]:
        pair = torch.stack([x.flatten(), y.flatten()])
        assert torch.corrcoef(pair)[0, 1].abs() < 4.5 / math.sqrt(pair.shape[1])


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform_fills_the_interval(dtype: torch.dtype) -> None:
    numbers = Draws(0, torch.arange(500)).uniform(like(500, 400, dtype=dtype))
    assert numbers.dtype == dtype
    assert 0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    numbers = numbers.double()
    n = numbers.numel()
    assert abs(numbers.mean() - 1 / 2) < 4.5 / math.sqrt(12 * n)
    assert abs(numbers.var() - 1 / 12) < 4.5 / math.sqrt(180 * n)
    counts = torch.histc(numbers, 20, 0, 1)
    chi_squared = ((counts - n / 20) ** 2 / (n / 20)).sum()
    assert chi_squared < 50  # 19 degrees of freedom: exceeded with probability 1e-4


@pytest.mark.parametrize("dtype", FLOATS)
def test_normal_has_the_moments_and_tails(dtype: torch.dtype) -> None:
    numbers = Draws(0, torch.arange(500)).normal(like(500, 400, dtype=dtype))
    assert numbers.dtype == dtype
    assert numbers.isfinite().all()
    numbers = numbers.double()
    n = numbers.numel()
    assert abs(numbers.mean()) < 4.5 / math.sqrt(n)
    assert abs(numbers.pow(2).mean() - 1) < 4.5 * math.sqrt(2 / n)
    assert abs(numbers.pow(3).mean()) < 4.5 * math.sqrt(15 / n)
    assert abs(numbers.pow(4).mean() - 3) < 4.5 * math.sqrt(96 / n)
    beyond = (numbers.abs() > 2).double().mean()
    expected = 1 - math.erf(2 / math.sqrt(2))
    assert abs(beyond - expected) < 4.5 * math.sqrt(expected / n)


def test_a_generator_is_advanced_by_one_number() -> None:
    generator, twin = torch.Generator().manual_seed(8), torch.Generator().manual_seed(8)
    first = Draws.from_generator(generator, torch.arange(3))
    second = Draws.from_generator(generator, torch.arange(3))
    assert first.seed == int(torch.randint(2**62, (), generator=twin))
    assert second.seed == int(torch.randint(2**62, (), generator=twin))
    assert first.seed != second.seed
    none = Draws.from_generator(None, torch.arange(3))
    assert torch.equal(none.uniform(like(3, 2)), Draws(0, torch.arange(3)).uniform(like(3, 2)))


def test_integer_types_of_the_index_do_not_matter() -> None:
    short = Draws(1, torch.arange(4, dtype=torch.int32)).uniform(like(4, 3))
    assert torch.equal(short, Draws(1, torch.arange(4)).uniform(like(4, 3)))


def test_shapes_with_nothing_in_them() -> None:
    assert Draws(0, torch.arange(0)).normal(like(0, 3)).shape == (0, 3)
    assert Draws(0, torch.arange(2)).uniform(like(2, 0)).shape == (2, 0)


def test_the_numbers_stay_what_they_are() -> None:
    """SplitMix64 by hand: results of earlier versions stay reproducible."""
    mask = 2**64 - 1
    golden = 0x9E3779B97F4A7C15

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    draws = Draws(11, torch.tensor([6]))
    got = [draws.uniform(like(1, 3)), draws.uniform(like(1, 3))]
    key = mix(mix(7 * golden & mask) ^ 11)
    for draw, numbers in enumerate(got):
        for position, number in enumerate(numbers[0].tolist()):
            bits = mix((key + (position + (draw << 32)) * golden) & mask)
            assert number == (bits >> 11) * 2.0**-53
