"""Watching a build: once per subject, paired on a panel, and "cannot tell" where nothing can be told."""

import numpy as np
import polars as pl
import pytest

from cv_quality.errors import MonitorError
from cv_quality.studies.betting import Capital, bet_on_level
from cv_quality.studies.monitoring import MonitorPlan, WatchedRate, sentence, together, verdict_of, watch
from cv_quality_tests.studies.watched import counts

LEVEL = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.03})
CHANGE = MonitorPlan(build="b1", metrics=("frr",), against="b0")


def fresh(rate: float, *, looks: int = 10, subjects: int = 40, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return counts(
        (look, f"s{look}-{k}", int(rng.binomial(5, rate)), 5) for look in range(1, looks + 1) for k in range(subjects)
    )


def panel(rate: float, *, looks: int = 10, subjects: int = 40, seed: int = 1) -> pl.DataFrame:
    return fresh(rate, looks=looks, subjects=subjects, seed=seed).with_columns(
        subject_id=pl.col("subject_id").str.replace(r"^s\d+", "p")
    )


def last(rates: list[WatchedRate]) -> list[WatchedRate]:
    return [rate for rate in rates if rate.look == rates[-1].look]


def test_a_level_is_bet_on_once_per_subject() -> None:
    rows = pl.concat([counts([(1, "a", 1, 4), (1, "b", 0, 2), (2, "c", 1, 1)]), counts([(2, "a", 4, 4)])])
    found = last(watch(rows, LEVEL))
    capital = bet_on_level(Capital(), [0.25, 0.0], attempts=[4, 2], target=0.03)
    capital = bet_on_level(capital, [1.0], attempts=[1], target=0.03)
    assert [rate.e_value for rate in found] == [capital.e_value]
    assert (found[0].n_subjects, found[0].n_returning) == (3, 1)


def test_a_subject_completes_with_the_attempts_declared() -> None:
    rows = counts([(1, "a", 1, 3), (2, "a", 0, 2), (3, "a", 2, 2), (2, "b", 0, 4)])
    plan = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.03}, attempts=5)
    found = watch(rows, plan)
    assert [rate.look for rate in found] == [2, 3]
    assert found[-1].value == pytest.approx(1 / 5)


def test_a_risen_rate_raises_an_alarm_that_stays() -> None:
    found = watch(fresh(0.12), LEVEL)
    alarms = [rate.is_alarm for rate in found]
    assert alarms == sorted(alarms)
    assert verdict_of(last(found)) == "alarm"
    assert verdict_of(last(watch(fresh(0.02), LEVEL))) == "quiet"


def test_a_panels_level_cannot_be_told() -> None:
    (rate,) = last(watch(panel(0.03), LEVEL))
    assert rate.state == "cannot tell"
    assert "an absolute level of a panel cannot be watched; name a baseline" in sentence(rate)


def test_days_of_returning_subjects_are_not_bet_on() -> None:
    plan = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.03}, unit="subject_day")
    with pytest.raises(MonitorError, match="40 of 40 subjects return on another day"):
        watch(panel(0.03), plan)
    assert watch(fresh(0.03), plan) == watch(fresh(0.03), LEVEL)


def test_a_change_is_paired_and_speaks_of_the_panel() -> None:
    rows = panel(0.15).with_columns(baseline_errors=pl.col("errors").clip(0, 0), baseline_trials=pl.col("trials"))
    (rate,) = last(watch(rows, CHANGE))
    assert (rate.state, rate.n_subjects) == ("alarm", 40)
    assert "panel of 40 subjects, not population" in sentence(rate, since="2026-08-03")
    same = rows.with_columns(baseline_errors=pl.col("errors"))
    (rate,) = last(watch(same, CHANGE))
    assert (rate.e_value, rate.value) == pytest.approx((1.0, rate.reference))


def test_a_change_is_not_told_after_one_look() -> None:
    rows = counts([(1, "a", 1, 4), (1, "b", 2, 4)], baseline=0)
    assert [rate.state for rate in watch(rows, CHANGE)] == ["cannot tell"]


def test_a_rise_after_a_long_quiet_time_is_still_found() -> None:
    """A month of no error at all costs a bettor no more than the capital that he has bet."""
    quiet, risen = fresh(0.0, looks=30), fresh(0.1, looks=12, seed=2)
    later = risen.with_columns(look=pl.col("look") + 30, subject_id="later-" + pl.col("subject_id"))
    found = watch(pl.concat([quiet, later]), LEVEL)
    assert 30 < next(rate.look for rate in found if rate.is_alarm) <= 36


def test_slices_share_the_alarms_and_are_averaged() -> None:
    parts = [fresh(rate, looks=8, seed=seed) for seed, rate in enumerate((0.2, 0.02, 0.02))]
    named = [
        part.with_columns(dimension=pl.lit("light"), level=pl.lit(level), subject_id=level + pl.col("subject_id"))
        for part, level in zip(parts, ("dark", "dim", "sun"), strict=True)
    ]
    whole = pl.concat(named).with_columns(dimension=pl.lit("all"), level=pl.lit("all"))
    plan = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.05}, slices=("light",))
    found = last(watch(pl.concat([whole, *named]), plan))
    assert {rate.level for rate in found if rate.is_alarm} >= {"dark"}
    assert not {"dim", "sun"} & {rate.level for rate in found if rate.is_alarm}
    assert together(found) == pytest.approx(np.mean([rate.e_value for rate in found]))


def test_a_level_that_appears_late_does_not_lift_the_mean() -> None:
    early = fresh(0.0, looks=6)
    late = counts([(6, "x", 0, 1)], level="dark")
    first = early.with_columns(dimension=pl.lit("light"), level=pl.lit("dim"))
    plan = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.1}, slices=("light",))
    with_late, without = (watch(pl.concat(parts), plan) for parts in ([early, first, late], [early, first]))
    assert together(last(with_late)) <= together([rate for rate in without if rate.look == 5])
    assert [rate for rate in with_late if rate.look < 6] == [rate for rate in without if rate.look < 6]


def test_what_comes_later_changes_nothing_of_what_was_told() -> None:
    rows = fresh(0.05)
    found = watch(rows, LEVEL)
    assert watch(rows.filter(pl.col("look") <= 4).sample(fraction=1, shuffle=True, seed=3), LEVEL) == found[:4]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"targets": {}}, "nothing is claimed"),
        ({"targets": {"frr": 3.0}}, "between 0 and 1, such as 0.03, found 3"),
        ({"targets": {"fta": 0.1}}, "a target for fta, which is not watched"),
        ({"alpha": 1.0}, "alpha between 0 and 1"),
        ({"attempts": 0}, "at least 1 attempt"),
        ({"against": "b1"}, "against itself"),
        ({"metrics": ("frr", "frr")}, "each once"),
    ],
)
def test_a_plan_that_claims_nothing_sound_is_refused(fields: dict[str, object], message: str) -> None:
    good: dict[str, object] = {"build": "b1", "metrics": ("frr",), "targets": {"frr": 0.03}}
    with pytest.raises(MonitorError, match=message):
        MonitorPlan(**good | fields)  # type: ignore[arg-type]


def test_without_attempts_or_levels_there_is_nothing_to_watch() -> None:
    with pytest.raises(MonitorError, match="there is no attempt of frr yet"):
        watch(counts([]), LEVEL)
    plan = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.03}, slices=("ligth",))
    with pytest.raises(MonitorError, match="no attempt has a level of ligth; known: all"):
        watch(counts([(1, "a", 0, 1)]), plan)
