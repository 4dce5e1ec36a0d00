"""Monitors in the lake: declared once, only appended to, and the same bytes when they are made again."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from cv_quality.errors import MonitorError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.studies.monitoring import Monitored, MonitorPlan
from cv_quality.tasks.monitoring.state import (
    Restart,
    agreed_plan,
    begin_again,
    declared,
    declared_builds,
    follow,
    read_ended,
)
from cv_quality.tasks.monitoring.tables import MONITOR_ARRIVALS, MONITORING
from cv_quality.tasks.verification.tables import METRIC_COUNTS

PLAN = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.03})
KEY = TableKey(build="b1")
DAYS = [f"2026-08-{day:02}_b1_site-a" for day in range(1, 7)]


def count(lake: Lake, drop: str, *, rate: float, model: str = "b1", who: str = "") -> None:
    """Write the counts of a drop: 30 subjects with five attempts each."""
    rng = np.random.default_rng([int(drop[8:10]), model == "b1"])
    subjects = [f"{who or drop}-{k}" for k in range(30)]
    rows = {
        "build_id": model,
        "drop_id": drop,
        "metric": "frr",
        "dimension": "all",
        "level": "all",
        "subject_id": subjects,
        "claimed_subject_id": subjects,
        "numerator": rng.binomial(5, rate, 30),
        "denominator": 5,
    }
    lake.write(METRIC_COUNTS, TableKey(build=model, drop=drop), pl.DataFrame(rows).select(METRIC_COUNTS.names))


def look(lake: Lake, drops: Sequence[str], plan: MonitorPlan = PLAN) -> Monitored:
    return follow(lake, plan, drops=DAYS, ready=drops)


def state(lake: Lake) -> list[bytes]:
    return [lake.path(table, KEY).read_bytes() for table in (MONITORING, MONITOR_ARRIVALS)]


def test_a_state_that_is_made_again_has_the_same_bytes(lake: Lake) -> None:
    for drop in DAYS:
        count(lake, drop, rate=0.05)
    for number in range(1, len(DAYS) + 1):
        look(lake, DAYS[:number])
    before = state(lake)
    lake.store.delete(lake.object_key(MONITORING, KEY))
    look(lake, DAYS)
    assert state(lake) == before
    lake.store.delete(lake.object_key(MONITOR_ARRIVALS, KEY))
    look(lake, DAYS)
    assert state(lake) == before


def test_a_risen_rate_is_an_alarm_since_its_day(lake: Lake) -> None:
    for drop in DAYS:
        count(lake, drop, rate=0.2)
    found = look(lake, DAYS)
    assert found.verdict == "alarm"
    day = str(found.since(found.now[0]))
    rows = lake.read(MONITORING, KEY)
    assert rows.filter(pl.col("is_alarm"))["day"].min() == day
    assert rows["day"].to_list() == [drop[:10] for drop in DAYS]


def test_what_comes_late_is_appended_and_said(lake: Lake) -> None:
    for drop in DAYS:
        count(lake, drop, rate=0.05)
    look(lake, [DAYS[0], DAYS[2]])
    before = lake.read(MONITORING, KEY)
    found = look(lake, [*DAYS[:3], DAYS[3]])
    after = lake.read(MONITORING, KEY)
    assert after.head(2).equals(before)
    assert after["day"].to_list() == ["2026-08-01", "2026-08-03", "2026-08-03", "2026-08-04"]
    (note,) = [text for text in found.notes if "clock" in text]
    assert note.startswith(f"{DAYS[1]} bears the date 2026-08-02, and 2026-08-03 was counted before it came: the clock")
    again = state(lake)
    look(lake, DAYS[:4])
    assert state(lake) == again


def test_drops_that_wait_are_said_and_not_counted(lake: Lake) -> None:
    count(lake, DAYS[0], rate=0.05)
    found = look(lake, DAYS[:1])
    assert found.notes == [f"{', '.join(DAYS[1:])}: not measured yet, so not counted; `cvq run`"]
    assert lake.read(MONITOR_ARRIVALS, KEY)["drop_id"].to_list() == DAYS[:1]


def test_a_counted_drop_that_is_no_longer_measured_is_no_quiet_day(lake: Lake) -> None:
    for drop in DAYS[:2]:
        count(lake, drop, rate=0.05)
    look(lake, DAYS[:2])
    with pytest.raises(MonitorError, match="counted before, and not measured as it lies there now"):
        look(lake, DAYS[:1])


def test_a_change_is_paired_with_the_baselines_counts(lake: Lake) -> None:
    plan = MonitorPlan(build="b1", metrics=("frr",), against="b0")
    for drop in DAYS:
        count(lake, drop, rate=0.2, who="panel")
        count(lake, drop, rate=0.05, model="b0", who="panel")
    found = look(lake, DAYS, plan)
    (rate,) = found.now
    assert (rate.state, rate.n_subjects, rate.n_returning) == ("alarm", 30, 30)
    own, other = (
        pl.concat([lake.read(METRIC_COUNTS, TableKey(build=model, drop=drop)) for drop in DAYS])["numerator"].mean()
        for model in ("b1", "b0")
    )
    assert (rate.value, rate.reference) == pytest.approx((float(str(own)) / 5, float(str(other)) / 5))


def test_a_claim_is_not_changed_after_its_first_look(lake: Lake) -> None:
    count(lake, DAYS[0], rate=0.05)
    assert declared(lake, "b1") is None
    with pytest.raises(MonitorError, match="b1 is not watched yet; say what is claimed"):
        agreed_plan(lake, "b1")
    look(lake, DAYS[:1])
    assert (agreed_plan(lake, "b1"), declared_builds(lake)) == (PLAN, ["b1"])
    wider = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.05})
    with pytest.raises(MonitorError, match=r"targets: \{'frr': 0.03\} to \{'frr': 0.05\}"):
        agreed_plan(lake, "b1", wider)


def test_what_is_no_one_subjects_own_is_not_watched(lake: Lake) -> None:
    plan = MonitorPlan(build="b1", metrics=("far",), targets={"far": 0.03})
    with pytest.raises(
        MonitorError, match="far: a rate between two people is no one subject's own; one of frr, fta, fnmr"
    ):
        agreed_plan(lake, "b1", plan)
    plan = MonitorPlan(build="b1", metrics=("fr",), targets={"fr": 0.03})
    with pytest.raises(MonitorError, match="did you mean frr"):
        agreed_plan(lake, "b1", plan)


def test_without_a_measured_drop_nothing_is_declared(lake: Lake) -> None:
    with pytest.raises(MonitorError, match="no drop of b1 is measured by b1 yet"):
        look(lake, [])
    assert declared(lake, "b1") is None


AGAIN = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.3})
SLIP = Restart("0.03 was a slip", datetime(2026, 8, 7, 9, tzinfo=UTC))


def restart(lake: Lake, plan: MonitorPlan, drops: Sequence[str] = DAYS) -> Monitored:
    return begin_again(lake, plan, SLIP, drops=DAYS, ready=drops)


def test_a_monitor_declared_wrongly_begins_again_and_is_kept(lake: Lake) -> None:
    for drop in DAYS:
        count(lake, drop, rate=0.2)
    alarm, rows = look(lake, DAYS), lake.read(MONITORING, KEY)
    assert alarm.verdict == "alarm"
    found = restart(lake, AGAIN)
    assert (found.verdict, lake.read(MONITORING, KEY)["reference"].unique().to_list()) == ("quiet", [0.3])
    (ended,) = read_ended(lake, found.plan)
    assert (ended.plan, ended.reason, ended.ended_at) == (PLAN, "0.03 was a slip", "2026-08-07T09:00:00+00:00")
    assert [row["is_alarm"] for row in ended.rates] == rows["is_alarm"].to_list()
    assert [row["drop_id"] for row in ended.arrivals] == DAYS
    (note,) = found.notes
    assert note.startswith("begun again at 2026-08-07T09:00:00+00:00 after 6 looks (0.03 was a slip)")
    assert look(lake, DAYS, agreed_plan(lake, "b1", AGAIN)).notes == [note]


def test_what_is_begun_again_twice_says_so_twice(lake: Lake) -> None:
    count(lake, DAYS[0], rate=0.05)
    look(lake, DAYS[:1])
    restart(lake, AGAIN, DAYS[:1])
    found = restart(lake, PLAN, DAYS[:1])
    assert [item.plan.targets["frr"] for item in read_ended(lake, found.plan)] == [0.3, 0.03]
    assert len([note for note in found.notes if note.startswith("begun again")]) == 2


def test_a_kept_monitor_cannot_be_changed_unseen(lake: Lake) -> None:
    count(lake, DAYS[0], rate=0.05)
    look(lake, DAYS[:1])
    restart(lake, AGAIN, DAYS[:1])
    (kept,) = (item.key for item in lake.store.list("ended_monitors"))
    lake.store.write_bytes(kept, lake.store.read_bytes(kept).replace(b"slip", b"ship"))
    with pytest.raises(MonitorError, match="not as it was written"):
        look(lake, DAYS[:1], agreed_plan(lake, "b1"))
    lake.store.delete(kept)
    with pytest.raises(MonitorError, match="gone, and the monitor of b1 follows it"):
        look(lake, DAYS[:1], agreed_plan(lake, "b1"))


def test_a_restart_that_cannot_be_looked_at_changes_nothing(lake: Lake) -> None:
    count(lake, DAYS[0], rate=0.05)
    with pytest.raises(MonitorError, match="there is nothing to begin again; leave --restart out"):
        restart(lake, PLAN, DAYS[:1])
    look(lake, DAYS[:1])
    before = state(lake)
    sliced = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.3}, slices=("lihgt",))
    with pytest.raises(MonitorError, match="no attempt has a level of lihgt"):
        restart(lake, sliced, DAYS[:1])
    with pytest.raises(MonitorError, match="watched as these options say"):
        restart(lake, PLAN, DAYS[:1])
    assert (state(lake), declared(lake, "b1"), list(lake.store.list("ended_monitors"))) == (before, PLAN, [])
    with pytest.raises(MonitorError, match="say why"):
        Restart(" ", SLIP.now)
