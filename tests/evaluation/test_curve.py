import pytest

from brolly import FGSM, L2, Linf, evaluate


@pytest.fixture
def result(problem):
    return evaluate(problem.model, problem.split, problem.threat, curve_examples=40)


def test_it_begins_with_the_clean_accuracy(problem, result) -> None:
    assert result.curve[0].eps == 0
    assert result.curve[0].robust.hits == int(problem.right[:40].sum())
    assert {point.robust.total for point in result.curve} == {40}


def test_it_passes_through_the_verdicts_of_the_evaluation(problem, result) -> None:
    (at_eps,) = [point for point in result.curve if point.eps == problem.threat.eps]
    assert at_eps.robust.hits == (result.broken_by[:40] == -1).sum()


def test_on_a_linear_model_of_two_classes_it_is_exact(problems) -> None:
    problem = problems(2)
    result = evaluate(problem.model, problem.split, problem.threat, curve_examples=40)
    assert len(result.curve) > 5
    for point in result.curve:
        assert point.robust.hits == int(problem.holds(point.eps)[:40].sum()), point.eps


def test_it_is_an_upper_bound_and_nearly_exact_for_more_classes(problem, result) -> None:
    assert len(result.curve) > 5
    for point in result.curve:
        exact = int(problem.holds(point.eps)[:40].sum())
        assert exact <= point.robust.hits <= exact + 2, point.eps


def test_it_never_rises_and_ends_near_zero(result) -> None:
    radii = [point.eps for point in result.curve]
    hits = [point.robust.hits for point in result.curve]
    assert radii == sorted(radii)
    assert hits == sorted(hits, reverse=True)
    assert hits[-1] / 40 <= 0.01


def test_it_stops_once_nearly_nothing_holds(result) -> None:
    assert all(point.robust.rate > 0.01 for point in result.curve[:-1])


def test_it_stays_inside_the_bounds(problems) -> None:
    robust = problems(eps=0.4)
    result = evaluate(robust.model, robust.split, robust.threat, curve_examples=10)
    assert max(point.eps for point in result.curve) <= 1


def test_it_never_rises_for_weak_attacks_either(problem) -> None:
    # The verdicts of a weak evaluation are taken over; the points beyond are measured anew.
    result = evaluate(problem.model, problem.split, problem.threat, attacks=[FGSM(problem.threat)])
    hits = [point.robust.hits for point in result.curve]
    assert hits == sorted(hits, reverse=True)


def test_it_is_drawn_for_l2_too(problem) -> None:
    result = evaluate(problem.model, problem.split, L2(0.1), curve_examples=30)
    assert result.curve[-1].robust.hits == 0
    for point in result.curve:  # the Linf ball of eps / sqrt(12) lies inside the L2 ball of eps
        assert point.robust.hits <= int(problem.holds(point.eps / 12**0.5)[:30].sum())


def test_without_examples_or_radius_there_is_no_curve(problem) -> None:
    assert evaluate(problem.model, problem.split, problem.threat, curve_examples=0).curve == ()
    (only,) = evaluate(problem.model, problem.split, Linf(0.0)).curve
    assert (only.eps, only.robust.hits) == (0, int(problem.right.sum()))
