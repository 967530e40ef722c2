import numpy as np

from brolly import evaluate
from brolly.evaluation import NO_PREDICTION, ClassMeasures, class_measures


def test_by_hand() -> None:
    label = np.array([0, 0, 0, 1, 1, 2])
    clean = np.array([0, 0, 1, 1, 1, NO_PREDICTION])
    adversarial = np.array([0, 1, 1, 1, 2, NO_PREDICTION])
    found = class_measures(label, clean, adversarial, ("cat", "dog", "owl", "yak"))
    assert [accuracy.name for accuracy in found.accuracies] == ["cat", "dog", "owl", "yak"]
    assert [(a.clean.hits, a.robust.hits, a.clean.total) for a in found.accuracies] == [
        (2, 1, 3), (2, 1, 2), (0, 0, 1), (0, 0, 0),
    ]  # fmt: skip
    assert found.flow == ((1, 2, 0, 0, 0), (0, 1, 1, 0, 0), (0, 0, 0, 0, 1), (0, 0, 0, 0, 0))
    assert found.clean_flow == ((2, 1, 0, 0, 0), (0, 2, 0, 0, 0), (0, 0, 0, 0, 1), (0, 0, 0, 0, 0))


def test_an_input_that_an_attack_sets_right_is_not_robust() -> None:
    (accuracy, _) = class_measures(
        np.array([0]), np.array([1]), np.array([0]), ("cat", "dog")
    ).accuracies
    assert (accuracy.clean.hits, accuracy.robust.hits) == (0, 0)


def test_of_an_evaluation(problem) -> None:
    result = evaluate(problem.model, problem.split, problem.threat, curve_examples=0)
    found = ClassMeasures.of(result)
    assert sum(accuracy.clean.hits for accuracy in found.accuracies) == result.clean.hits
    assert sum(accuracy.robust.hits for accuracy in found.accuracies) == result.robust.hits
    assert sum(map(sum, found.flow)) == len(result.index)
    assert sum(row[number] for number, row in enumerate(found.clean_flow)) == result.clean.hits
