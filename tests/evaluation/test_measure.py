"""All measures together, on models where the answer is known."""

import dataclasses
import json
from itertools import product

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brolly import APGD, L0, L2, Dataset, Linf, Measures, load_data, measure
from brolly.data import CORRUPTIONS, MNIST_C, Split
from brolly.evaluation import SCORES, Count, class_measures, fit_temperature
from brolly.evaluation._records import save_record
from brolly.evaluation._worst_case import confident_errors, undetected_errors


@pytest.fixture(scope="module")
def two(problems):
    """Two classes and a linear model: the worst corner of the ball is known."""
    return problems(2, examples=80, eps=0.05)


def dataset(split: Split) -> Dataset:
    validation = dataclasses.replace(split.first(40), name="validation")
    return Dataset("random", split, validation, split)


@pytest.fixture
def quick(monkeypatch) -> None:
    """Few steps and few resamples, for tests of what is around them."""
    monkeypatch.setattr("brolly.evaluation._worst_case._STEPS", 6)
    monkeypatch.setattr("brolly.evaluation._estimate._RESAMPLES", 5)


@pytest.fixture(scope="module")
def found(two) -> Measures:
    return measure(two.model, dataset(two.split), two.threat)


def same(one: Measures, other: Measures) -> bool:
    fresh = {"created": "", "seconds": 0.0}
    return dataclasses.replace(one, **fresh) == dataclasses.replace(other, **fresh)


def test_accuracies_are_exact(two, found: Measures) -> None:
    right, holds = two.right, two.holds(0.05)
    assert found.clean == Count(int(right.sum()), 80)
    assert found.robust == Count(int(holds.sum()), 80)
    assert found.calibration.clean.accuracy == found.clean
    assert found.calibration.adversarial.accuracy == found.robust
    assert sum(accuracy.robust.hits for accuracy in found.classes.accuracies) == found.robust.hits
    assert found.data.size == 80
    assert (found.threat, found.bounds, found.seed) == ("linf:0.05", (0.0, 1.0), 0)


def worst_corner(problem, eps: float) -> Tensor:
    """Of two classes: where the label's logit is lowest against the other."""
    x, y = problem.split.inputs, problem.split.labels
    weight = problem.model[1].weight.detach()
    direction = (weight[1 - y] - weight[y]).reshape(x.shape)
    return (x + eps * direction.sign()).clamp(0, 1)


@torch.no_grad()
def test_confident_errors_are_the_worst_there_are(two) -> None:
    x, y = two.split.inputs, two.split.labels
    attack = confident_errors(two.threat)
    result = attack(two.model, x, y)
    wanted = nn.functional.cross_entropy(two.model(worst_corner(two, 0.05)), y, reduction="none")
    loss = nn.functional.cross_entropy(two.model(result.x), y, reduction="none")
    torch.testing.assert_close(loss, wanted, rtol=1e-3, atol=1e-4)
    assert torch.equal(~result.success, two.holds(0.05))
    stops = APGD(two.threat)(two.model, x, y)
    early = nn.functional.cross_entropy(two.model(stops.x), y, reduction="none")
    assert float((loss - early).min()) > -1e-4
    assert float(loss.mean()) > float(early.mean()) + 0.05


@pytest.mark.parametrize("score", ["entropy", "max-probability"])
def test_errors_against_a_detector_are_the_least_suspect_there_are(two, score: str) -> None:
    """Of two classes, the least entropy and the most confident error lie in the same corner."""
    x, y = two.split.inputs, two.split.labels
    threshold = 0.3
    result = undetected_errors(two.threat, SCORES[score], threshold)(two.model, x, y)
    broken = ~two.holds(0.05)
    assert torch.equal(result.success, broken)
    wanted = SCORES[score](two.model(worst_corner(two, 0.05)))
    reached = SCORES[score](two.model(result.x))
    torch.testing.assert_close(reached[broken], wanted[broken], rtol=1e-2, atol=1e-3)


@torch.no_grad()
def test_errors_against_the_energy_get_near_the_best_corner(two) -> None:
    x, y = two.split.inputs, two.split.labels
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=12))).reshape(-1, 3, 2, 2)
    gained = []
    aware = undetected_errors(two.threat, SCORES["energy"], 0.0)(two.model, x, y)
    unaware = confident_errors(two.threat)(two.model, x, y)
    reached = SCORES["energy"](two.model(aware.x))
    before = SCORES["energy"](two.model(unaware.x))
    for row in aware.success.nonzero()[:, 0].tolist():
        logits = two.model((x[row] + 0.05 * signs).clamp(0, 1))
        wrong = logits.argmax(1) != y[row]
        best = float(SCORES["energy"](logits)[wrong].min())
        gained.append((float(before[row]) - float(reached[row]), float(before[row]) - best))
    reached_gain, best_gain = (sum(values) for values in zip(*gained, strict=True))
    assert len(gained) > 10
    assert best_gain > 0.1
    # Not all of it: errors with the lowest energy lie where two classes meet, and steps along
    # signs cannot follow that plane.
    assert reached_gain > 0.9 * best_gain


def test_a_detector_is_no_help_where_the_attack_knows_it(found: Measures) -> None:
    assert [each.score for each in found.adversarial_detection] == list(SCORES)
    for each in found.adversarial_detection:
        assert each.unaware is not None
        assert each.aware is not None
        assert each.unaware.positives == each.aware.positives == 72 - found.robust.hits
        assert each.aware.auroc.value <= each.unaware.auroc.value
        assert each.caught_aware.hits <= each.caught_unaware.hits
        assert each.robust.hits <= each.clean.hits <= found.clean.hits
        assert each.flagged.rate < 0.15


def test_out_of_distribution(two, quick) -> None:
    data = dataset(two.split)
    far = dataclasses.replace(two.split, inputs=torch.zeros_like(two.split.inputs), dataset="dark")
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0], [1.1]]).expand(2, 12))
        model[1].bias.zero_()
    options = {"corruptions": False, "examples": 40}
    found = measure(model, data, two.threat, ood=dataclasses.replace(data, test=far), **options)
    dark, noise = found.out_of_distribution
    assert (dark.name, noise.name) == ("dark/test", "uniform noise")
    assert [each.score for each in dark.detections] == list(SCORES)
    assert [each.auroc.value for each in dark.detections] == [1.0] * 3  # logits are 0 in the dark
    assert all(each.positives == 40 for each in (*dark.detections, *noise.detections))
    # The inputs of this problem are uniform noise themselves.
    assert all(0.3 < each.auroc.value < 0.7 for each in noise.detections)


@torch.no_grad()
def test_what_is_fitted_is_fitted_on_validation_data(problems, quick) -> None:
    test, other = (problems(2, examples=80, seed=seed) for seed in (0, 1))
    validation = dataclasses.replace(other.split, name="validation")
    data = Dataset("random", test.split, validation, test.split)
    found = measure(test.model, data, Linf(0.02), corruptions=False)
    logits = test.model(validation.inputs).double()
    wanted = fit_temperature(logits, validation.labels)
    assert found.calibration.temperature == pytest.approx(wanted, rel=1e-4)
    assert found.calibration.validation == 80
    clean = test.model(test.split.inputs).double()
    for each in found.adversarial_detection:
        score = SCORES[each.score]
        assert each.threshold == pytest.approx(float(score(logits).quantile(0.95)), rel=1e-5)
        flagged = score(clean) > each.threshold
        assert each.flagged.hits == int(flagged.sum())
        assert each.clean.hits == int((test.right & ~flagged).sum())


def test_inputs_in_other_bounds(two, found: Measures, quick) -> None:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        wide[1].weight.copy_(two.model[1].weight / 255)
        wide[1].bias.copy_(two.model[1].bias)
    split = dataclasses.replace(two.split, inputs=two.split.inputs * 255)
    data = dataclasses.replace(dataset(split), bounds=(0.0, 255.0))
    scaled = measure(wide, data, Linf(0.05 * 255, bounds=(0.0, 255.0)))
    assert scaled.bounds == (0.0, 255.0)
    assert scaled.robust == found.robust
    pairs = zip(scaled.corruptions.cells, found.corruptions.cells, strict=True)
    assert all(abs(a.accuracy.hits - b.accuracy.hits) <= 1 for a, b in pairs)


def test_corruptions_are_counted(two, found: Measures) -> None:
    table = found.corruptions
    assert table is not None
    assert table.suite == "cifar-10-c"
    assert table.kinds == tuple(CORRUPTIONS)
    assert len(table.cells) == 75
    assert table.clean == found.clean
    mean = sum(1 - cell.accuracy.rate for cell in table.cells) / 75
    assert table.mean_error.value == pytest.approx(mean)
    assert table.mean_error.low < mean < table.mean_error.high
    assert table.mean_corruption_error() == pytest.approx(mean)
    assert table.error("fog") > 1 - found.clean.rate


def test_a_suite_that_is_named(two) -> None:
    options = {"examples": 12, "corruptions": "mnist-c"}
    found = measure(two.model, dataset(two.split), two.threat, **options)
    table = found.corruptions
    assert table is not None
    assert table.suite == "mnist-c"
    assert table.kinds == tuple(MNIST_C)
    assert [(cell.severity,) for cell in table.cells] == [
        corruption.measured for corruption in MNIST_C.values()
    ]
    assert "accuracy under mnist-c" in repr(found)
    with pytest.raises(ValueError, match="Did you mean 'mnist-c'"):
        measure(two.model, dataset(two.split), two.threat, corruptions="mnist")


def test_inputs_that_are_no_images_have_no_corruptions(quick) -> None:
    x, y = torch.rand(20, 6, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    data = Dataset.from_tensors("flat", (x, y), (x, y))
    found = measure(nn.Linear(6, 3), data, Linf(0.1), examples=8)
    assert found.corruptions is None
    assert "corruption" not in repr(found)


def test_the_result_depends_on_the_seed_and_not_on_the_batch(two, quick) -> None:
    data, options = dataset(two.split), {"examples": 30, "corruptions": False}
    one = measure(two.model, data, two.threat, seed=4, **options)
    other = measure(two.model, data, two.threat, seed=4, batch_size=7, **options)
    assert same(measure(two.model, data, two.threat, seed=4, **options), one)
    assert one.robust == other.robust
    assert one.classes == other.classes
    for side in ("clean", "adversarial", "scaled_clean", "scaled_adversarial"):
        pair = [getattr(each.calibration, side) for each in (one, other)]
        assert pair[0].nll.value == pytest.approx(pair[1].nll.value, rel=1e-5)
        assert pair[0].accuracy == pair[1].accuracy
    fresh = measure(two.model, data, two.threat, seed=5, **options)
    assert fresh.calibration.clean.ece != one.calibration.clean.ece


def test_the_model_and_the_random_state_are_left_alone(two, quick) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(12, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    measure(model, dataset(two.split), L2(0.1), examples=8)
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


class Holes(nn.Module):
    """Not a number for bright inputs."""

    def __init__(self, model: nn.Module, above: float) -> None:
        super().__init__()
        self.model, self.above = model, above

    def forward(self, x: Tensor) -> Tensor:
        bright = x.flatten(1).mean(1, keepdim=True) > self.above
        return self.model(x).masked_fill(bright, float("nan"))


def test_nan_logits_count_as_wrong_and_have_no_confidence(two, quick) -> None:
    bright = two.split.inputs.flatten(1).mean(1) > 0.55
    model, threat = Holes(two.model, 0.55), Linf(0.01)
    found = measure(model, dataset(two.split), threat, corruptions=False)
    assert 0 < int(bright.sum()) < 80
    assert found.clean.hits == int((two.right & ~bright).sum())
    assert found.clean.total == 80
    assert found.calibration.clean.accuracy.total == 80 - int(bright.sum())
    assert found.robust.hits <= int((two.holds(0.01) & ~bright).sum())
    assert f"{int(bright.sum())} of 80 clean inputs" in found.warnings[0]
    assert "warning: " in repr(found)
    with pytest.raises(ValueError, match="no example has finite logits"):
        measure(Holes(two.model, -1), dataset(two.split), threat, corruptions=False)


class Noisy(nn.Module):
    """Adds noise to its input, in eval mode too."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x + 0.1 * torch.randn_like(x))


def test_a_random_model_brings_a_warning(two, quick, found: Measures) -> None:
    noisy = measure(Noisy(two.model), dataset(two.split), two.threat, examples=9, corruptions=False)
    assert "draws random numbers" in noisy.warnings[0]
    assert found.warnings == ()


def test_it_is_written_down_and_read_back(found: Measures, tmp_path) -> None:
    file = tmp_path / "measures" / "linf-0.05.json"
    found.save(file)
    again = Measures.load(file)
    assert again == found
    assert repr(again) == repr(found)
    assert json.loads(file.read_text())["schema"] == 1
    assert file.stat().st_size < 200_000


def test_the_table_shows_the_numbers(found: Measures) -> None:
    text = repr(found)
    assert "Linear" not in text.splitlines()[0]
    assert text.startswith("Sequential on random/test against linf:0.05, n = 80, seed 0")
    for shown in (found.clean, found.robust, found.calibration.clean.ece,
                  found.selective_adversarial.aurc, found.corruptions.mean_error):  # fmt: skip
        assert str(shown) in text
    assert all(kind in text for kind in CORRUPTIONS)
    assert max(len(line) for line in text.splitlines()) < 160


def test_of_many_classes_the_table_shows_the_worst(found: Measures) -> None:
    names = tuple(f"class-{number:02}" for number in range(30))
    label = np.arange(30).repeat(2)
    broken = label % 3 == 0
    classes = class_measures(label, label, np.where(broken, (label + 1) % 30, label), names)
    many = dataclasses.replace(
        found, classes=classes, data=dataclasses.replace(found.data, classes=names)
    )
    shown = [line.split()[0] for line in repr(many).splitlines() if line.startswith("class-")]
    assert len(shown) == 20
    assert shown[:10] == [name for number, name in enumerate(names) if number % 3 == 0]


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (lambda text: text[: len(text) // 2], ["holds no Measures, or is damaged"]),
        (lambda text: text.replace('"schema": 1', '"schema": 9'), ["schema 9", "reads up to 1"]),
        (lambda text: text.replace('"nll"', '"mll"'), ["damaged", "nll"]),
        (lambda text: text.replace('"hits": ', '"hits": "x"'), ["damaged"]),
        (lambda text: "[1, 2]", ["holds no Measures"]),
    ],
)
def test_damaged_files(found: Measures, tmp_path, change, fragments: list[str]) -> None:
    file = tmp_path / "measures.json"
    found.save(file)
    file.write_text(change(file.read_text()))
    with pytest.raises(ValueError, match=r"measures\.json") as error:
        Measures.load(file)
    assert all(fragment in str(error.value) for fragment in fragments)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_of_another_kind(found: Measures, tmp_path) -> None:
    save_record(tmp_path / "other.json", found.calibration.clean)
    with pytest.raises(ValueError, match="holds no Measures, or is damaged"):
        Measures.load(tmp_path / "other.json")


def test_mistakes(two, monkeypatch) -> None:
    data = dataset(two.split)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match="expected a data set, got a split"):
        measure(two.model, two.split, two.threat)
    with pytest.raises(ValueError, match="examples is 81; expected 1 to 80"):
        measure(two.model, data, two.threat, examples=81)
    with pytest.raises(ValueError, match="batch_size is 0"):
        measure(two.model, data, two.threat, batch_size=0)
    with pytest.raises(ValueError, match="does not search l0:3"):
        measure(two.model, data, L0(3))
    with pytest.raises(ValueError, match=r"shape \(1, 8, 8\).*\(3, 2, 2\).*same shape"):
        measure(two.model, data, two.threat, ood=load_data("digits"))
    empty = dataclasses.replace(data, validation=data.validation.first(0))
    with pytest.raises(ValueError, match="no validation examples"):
        measure(two.model, empty, two.threat)
    with pytest.raises(ValueError, match="parts that its text does not hold"):
        measure(two.model, data, Linf(0.1, scale=(1.0, 0.5, 1.0)))
