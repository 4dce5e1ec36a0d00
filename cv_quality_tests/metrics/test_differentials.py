"""Rates of groups: what is ranked and what is not, the 25 % rule by interval, and malformed groups."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cv_quality.errors import MetricError
from cv_quality.metrics.differentials import Acquisitions, Differentials, differentials, listed_differentials
from cv_quality.metrics.trials import CrossTrials

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Study:
    """Everything `differentials` takes: every pair of subjects once, and genuine attempts of each."""

    groups: list[str | None]
    genuine: tuple[NDArray[np.float64], Codes]
    impostor: tuple[NDArray[np.float64], Codes, Codes]
    threshold: float = 0.5

    @property
    def trials(self) -> CrossTrials:
        return CrossTrials.all_pairs(np.ones(len(self.groups), int))

    def found(self) -> Differentials:
        return differentials(
            groups=self.groups,
            threshold=self.threshold,
            genuine=self.genuine,
            impostor=self.impostor,
            trials=self.trials,
        )


def study(
    seed: int, *, sizes: dict[str | None, int], fnmr: dict[str | None, float], fmr: dict[str | None, float]
) -> Study:
    """Subjects in groups with 10 genuine attempts each; only pairs within a group match by mistake."""
    rng = np.random.default_rng(seed)
    groups = [name for name, size in sizes.items() for _ in range(size)]
    subjects = np.repeat(np.arange(len(groups)), 10)
    missed = rng.uniform(size=subjects.size) < np.array([fnmr[groups[code]] for code in subjects])
    one, other = np.triu_indices(len(groups), 1)
    rate = np.array([fmr[groups[i]] if groups[i] == groups[j] else 0.001 for i, j in zip(one, other, strict=True)])
    matched = rng.uniform(size=one.size) < rate
    return Study(groups, (np.where(missed, 0.1, 0.9), subjects), (np.where(matched, 0.7, 0.2), one, other))


EVEN = study(
    1,
    sizes={"a": 60, "b": 60, "c": 60},
    fnmr={"a": 0.1, "b": 0.1, "c": 0.1},
    fmr={"a": 0.02, "b": 0.02, "c": 0.02},
)


@settings(max_examples=15)
@given(seed=st.integers(0, 1_000))
def test_the_groups_add_up_to_all(seed: int) -> None:
    sizes: dict[str | None, int] = {"a": 8, "b": 7, None: 5}
    rates: dict[str | None, float] = {"a": 0.1, "b": 0.3, None: 0.2}
    found = study(seed, sizes=sizes, fnmr=rates, fmr=rates).found()
    assert sum(row.fnmr.denominator for row in found.groups) == found.overall.fnmr.denominator == 200
    assert sum(row.fnmr.numerator for row in found.groups) == found.overall.fnmr.numerator
    assert sum(pair.fmr.denominator for pair in found.pairs) == found.overall.fmr.denominator == 190
    assert sum(pair.fmr.numerator for pair in found.pairs) == found.overall.fmr.numerator
    assert found.overall.fmr_within.denominator == 28 + 21


def test_neither_the_order_nor_the_names_of_subjects_and_groups_matter() -> None:
    order = np.random.default_rng(2).permutation(len(EVEN.groups))
    place = np.argsort(order)
    shuffled = Study(
        [EVEN.groups[code] for code in order],
        (EVEN.genuine[0], place[EVEN.genuine[1]]),
        (EVEN.impostor[0], place[EVEN.impostor[2]], place[EVEN.impostor[1]]),
    )
    for one, other in zip(EVEN.found().checks, shuffled.found().checks, strict=True):
        assert (other.low, other.high) == pytest.approx((one.low, one.high))
    renamed = replace(EVEN, groups=[{"a": "z", "b": "y", "c": "x"}[str(group)] for group in EVEN.groups]).found()
    assert renamed.garbe.value == pytest.approx(EVEN.found().garbe.value)
    assert [row.group for row in renamed.groups] == ["x", "y", "z"]
    assert renamed.groups[2].fmr == EVEN.found().groups[0].fmr


def test_list_of_false_matches_gives_the_rates_of_all_comparisons() -> None:
    matched = EVEN.impostor[0] >= 0.5
    scores, one, other = EVEN.impostor
    short = replace(EVEN, impostor=(scores[matched], one[matched], other[matched]))
    tail = differentials(
        groups=short.groups,
        threshold=0.5,
        genuine=short.genuine,
        impostor=short.impostor,
        trials=short.trials,
        floor=0.5,
    )
    assert tail == EVEN.found()
    with pytest.raises(MetricError, match="above the threshold"):
        replace(short, threshold=0.3).found()


def test_a_group_with_far_more_errors_fails_and_the_others_do_not() -> None:
    worse = study(
        3,
        sizes={"a": 100, "b": 100, "c": 100},
        fnmr={"a": 0.1, "b": 0.1, "c": 0.3},
        fmr={"a": 0.02, "b": 0.1, "c": 0.02},
    ).found()
    verdicts = {(check.rate, check.group): check.verdict for check in worse.checks}
    assert verdicts == {
        ("fmr", "a"): "pass",
        ("fmr", "b"): "fail",
        ("fmr", "c"): "pass",
        ("fnmr", "a"): "pass",
        ("fnmr", "b"): "pass",
        ("fnmr", "c"): "fail",
    }
    assert worse.verdict == "fail"
    assert [(spread.rate, spread.worst) for spread in worse.spreads] == [("fmr", "b"), ("fnmr", "c")]


def test_equal_groups_pass_with_many_subjects_and_not_with_few() -> None:
    rates: dict[str | None, float] = {"a": 0.3, "b": 0.3}
    many = study(4, sizes={"a": 200, "b": 200}, fnmr=rates, fmr=rates).found()
    few = study(4, sizes={"a": 12, "b": 12}, fnmr=rates, fmr=rates).found()
    assert many.verdict == "pass"
    assert few.verdict == "insufficient"
    reasons = [check.reason for check in few.checks if check.reason is not None]
    assert any("1.25 lies within" in reason for reason in reasons)


def test_the_bounds_of_the_ratio_hold_the_true_ratio() -> None:
    rng, held, outcomes = np.random.default_rng(5), 0, 400
    own = {"a": (60, 0.05), "b": (90, 0.08), "c": (150, 0.04)}
    overall = sum(size * rate for size, rate in own.values()) / 300
    groups = [name for name, (size, _) in own.items() for _ in range(size)]
    rates = np.array([own[name][1] for name in groups])
    trials = CrossTrials.all_pairs(np.ones(300, int))
    one, other = np.arange(0, 299), np.arange(1, 300)
    for _ in range(outcomes):
        liable = rng.beta(rates * 4, (1 - rates) * 4)
        missed = rng.uniform(size=(8, 300)) < liable
        found = differentials(
            groups=groups,
            threshold=0.5,
            genuine=(np.where(missed, 0.1, 0.9).ravel(), np.tile(np.arange(300), 8)),
            impostor=(np.full(299, 0.6), one, other),
            trials=trials,
            floor=0.5,
        )
        check = next(check for check in found.checks if (check.rate, check.group) == ("fnmr", "b"))
        assert check.low is not None
        assert check.high is not None
        held += check.low <= 0.08 / overall <= check.high
    assert 0.92 <= held / outcomes <= 0.98


def test_a_small_cell_is_insufficient_and_never_ranked_or_passed() -> None:
    found = study(
        6,
        sizes={"a": 80, "b": 80, "tiny": 2},
        fnmr={"a": 0.1, "b": 0.1, "tiny": 1.0},
        fmr={"a": 0.05, "b": 0.05, "tiny": 1.0},
    ).found()
    tiny = found.groups[-1]
    assert tiny.fnmr.reason is not None
    assert tiny.fnmr.reason.startswith("insufficient")
    assert found.spreads[1].worst in {"a", "b"}
    assert found.garbe.groups == ("a", "b")
    assert found.garbe.left_out == ("tiny",)
    assert {check.verdict for check in found.checks if check.group == "tiny"} == {"insufficient"}
    assert found.verdict == "insufficient"


def test_group_without_an_error_is_ranked_and_leaves_ratios_undefined() -> None:
    found = study(
        7,
        sizes={"a": 100, "b": 100, "spotless": 100},
        fnmr={"a": 0.1, "b": 0.1, "spotless": 0.0},
        fmr={"a": 0.05, "b": 0.05, "spotless": 0.05},
    ).found()
    fnmr = found.spreads[1]
    assert fnmr.best == "spotless"
    assert fnmr.max_over_min.value is None
    assert fnmr.worst_over_geometric_mean.reason == "a group has no error: no ratio to it is defined"
    assert fnmr.max_over_min.at_least is not None
    assert fnmr.max_over_min.at_least > 3
    assert fnmr.gini.value is not None
    spotless = next(check for check in found.checks if (check.rate, check.group) == ("fnmr", "spotless"))
    assert (spotless.ratio, spotless.low, spotless.verdict) == (0.0, 0.0, "pass")


def test_subjects_of_unknown_group_are_shown_but_not_ranked() -> None:
    rates: dict[str | None, float] = {"a": 0.1, "b": 0.1, None: 0.6}
    found = study(8, sizes={"a": 60, "b": 60, None: 60}, fnmr=rates, fmr=rates).found()
    assert [row.group for row in found.groups] == ["a", "b", "unknown"]
    assert found.groups[2].fmr is None
    assert found.groups[2].fnmr.value == pytest.approx(0.6, abs=0.1)
    assert found.spreads[1].worst in {"a", "b"}
    assert found.spreads[1].gini.left_out == ("unknown",)
    assert {check.group for check in found.checks} == {"a", "b"}
    assert found.overall.fnmr.value == pytest.approx(0.27, abs=0.05)
    blank = replace(EVEN, groups=["", math.nan, *EVEN.groups[2:]])  # type: ignore[list-item]
    assert blank.found().groups[-1].n_subjects == 2


def test_a_group_without_trials_has_no_value() -> None:
    kept = np.isin(EVEN.genuine[1], np.arange(120))
    found = replace(EVEN, genuine=(EVEN.genuine[0][kept], EVEN.genuine[1][kept])).found()
    assert (found.groups[2].fnmr.value, found.groups[2].fnmr.reason) == (None, "no trial")
    assert found.checks[-1].verdict == "insufficient"
    assert found.garbe.left_out == ("c",)


def test_failures_to_acquire_are_counted_per_attempt_and_group() -> None:
    attempts, failures = np.full(180, 5), np.repeat([0, 1, 2], 60)
    found = differentials(
        groups=EVEN.groups,
        threshold=0.5,
        genuine=EVEN.genuine,
        impostor=EVEN.impostor,
        trials=EVEN.trials,
        acquisitions=(attempts, failures),
    )
    assert [row.fta.value for row in found.groups if row.fta is not None] == [0.0, 0.2, 0.4]
    assert found.overall.fta is not None
    assert found.overall.fta.value == 0.2
    assert [spread.rate for spread in found.spreads] == ["fmr", "fnmr", "fta"]
    assert EVEN.found().groups[0].fta is None


def test_failed_enrolment_at_minus_infinity_is_missed_at_every_threshold() -> None:
    scores = EVEN.genuine[0].copy()
    scores[:10] = -np.inf
    found = replace(EVEN, genuine=(scores, EVEN.genuine[1]), threshold=-1e300).found()
    assert found.overall.fnmr.numerator == 10


def test_listed_comparisons_give_the_same_as_codes() -> None:
    names = np.array([f"person-{code:03d}" for code in range(180)])
    one = np.concatenate([EVEN.genuine[1], EVEN.impostor[1]])
    other = np.concatenate([EVEN.genuine[1], EVEN.impostor[2]])
    groups = np.array(EVEN.groups, dtype=object)
    found = listed_differentials(
        np.concatenate([EVEN.genuine[0], EVEN.impostor[0]]),
        np.repeat([True, False], [EVEN.genuine[0].size, EVEN.impostor[0].size]),
        subjects=(names[one], names[other]),
        groups=(groups[one], groups[other]),
        threshold=0.5,
    )
    plain = EVEN.found()
    assert found.overall.fnmr == plain.overall.fnmr
    assert found.garbe.value == pytest.approx(plain.garbe.value)
    for row, same in zip(found.pairs, plain.pairs, strict=True):
        assert (row.fmr.low, row.fmr.high) == pytest.approx((same.fmr.low, same.fmr.high))


def test_a_subject_that_was_never_acquired_counts_for_fta_in_its_group() -> None:
    found = listed_differentials(
        [0.9, 0.9, 0.1, 0.2],
        [True, True, False, False],
        subjects=(["p", "q", "p", "p"], ["p", "q", "q", "q"]),
        groups=(["a", "b", None, "a"], ["a", "b", "b", "b"]),
        threshold=0.5,
        acquisitions=Acquisitions(["p", "q", "r", "r"], ["a", "b", "b", None], [2, 2, 3, 3], [0, 0, 3, 3]),
    )
    assert [(row.group, row.n_subjects) for row in found.groups] == [("a", 1), ("b", 2)]
    assert found.groups[1].fta is not None
    assert (found.groups[1].fta.numerator, found.groups[1].fta.denominator) == (6, 8)


def listed(**changed: object) -> Differentials:
    given: dict[str, object] = {
        "scores": [0.9, 0.8, 0.1, 0.2],
        "is_genuine": [True, True, False, False],
        "subjects": (["p", "q", "p", "q"], ["p", "q", "q", "r"]),
        "groups": (["a", "b", "a", "b"], ["a", "b", "b", "b"]),
        "threshold": 0.5,
    } | changed
    return listed_differentials(given.pop("scores"), given.pop("is_genuine"), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"groups": (["a", "b", "b", "b"], ["a", "b", "b", "b"])}, "more than one group, the first in a, b"),
        ({"groups": (["a"] * 4, ["a"] * 4)}, "at least 2 groups"),
        ({"groups": ([None] * 4, [None] * 4)}, "found 0 with 0 subjects"),
        ({"groups": (["a", "b", "a", "b"], ["a", "b", "b", "c"])}, "3 groups of 3 subjects"),
        ({"groups": (["a", "b"], ["a", "b"])}, "one group for each of 4"),
        ({"is_genuine": [True, True, True, False]}, "contradict their subjects, first at index 2"),
        ({"is_genuine": [True, False, False, False]}, "called impostor, though its subjects are the same"),
        ({"scores": [0.9, math.nan, 0.1, 0.2]}, "NaN"),
        ({"threshold": math.inf}, "finite threshold"),
        ({"level": 1.0}, "confidence level"),
        ({"alpha": -0.1}, "alpha"),
    ],
)
def test_malformed_lists_are_named(changed: dict[str, object], message: str) -> None:
    assert listed().overall.fmr.denominator == 2
    with pytest.raises(MetricError, match=message):
        listed(**changed)


def test_one_class_alone_is_an_error() -> None:
    everyone = CrossTrials.all_pairs([1, 1, 1])
    with pytest.raises(MetricError, match="genuine scores"):
        differentials(
            groups=list("aab"), threshold=0.5, genuine=([], []), impostor=([0.1], [0], [1]), trials=everyone, floor=0.1
        )
    nobody = CrossTrials.all_pairs([1, 0, 0])
    with pytest.raises(MetricError, match="no impostor comparison"):
        differentials(groups=list("aab"), threshold=0.5, genuine=([0.9], [0]), impostor=([], [], []), trials=nobody)


def test_the_result_is_plain_json() -> None:
    written = EVEN.found().to_dict()
    assert list(written)[:3] == ["threshold", "alpha", "overall"]
    assert isinstance(written["groups"], list)
    assert len(written["groups"]) == 3
