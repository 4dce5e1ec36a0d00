"""The chart of a watched build: every claim with an alarm is named, apart from the others."""

import math
from itertools import pairwise
from typing import Any

import polars as pl

from cv_quality.reports.monitor_page import HEIGHT, LINE, capital_chart
from cv_quality.studies.monitoring import Arrival, Monitored, MonitorPlan, claim_words, watch
from cv_quality_tests.studies.watched import counts

PLAN = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.03}, slices=("light",))
FAILING = {"dark": 3, "dim": 3, "sun": 0}


def watched() -> Monitored:
    """Six days on which every second attempt fails in the dark and in the dim, and none in the sun."""
    sliced = [
        counts([(look, f"{level}{look}-{k}", errors, 6) for look in range(1, 7) for k in range(20)], level=level)
        for level, errors in FAILING.items()
    ]
    whole = pl.concat(sliced).with_columns(dimension=pl.lit("all"), level=pl.lit("all"))
    arrivals = tuple(
        Arrival(look, f"2026-08-{look:02}", f"d{look}", f"2026-08-{look:02}", False) for look in range(1, 7)
    )
    return Monitored(PLAN, arrivals, tuple(watch(pl.concat([whole, *sliced]), PLAN)), ())


def labels(found: Monitored) -> list[dict[str, Any]]:
    spec = capital_chart(found).spec
    (layer,) = (part for part in spec["layer"] if part["mark"]["type"] == "text" and part["mark"]["align"] == "right")
    data: list[dict[str, Any]] = layer["data"].get("values") or spec["datasets"][layer["data"]["name"]]
    return data


def test_every_claim_with_an_alarm_is_named() -> None:
    found = watched()
    alarms = {claim_words(rate) for rate in found.now if rate.is_alarm}
    assert len(alarms) == 3
    assert {row["claim"] for row in labels(found)} == alarms


def test_names_at_one_height_are_set_apart() -> None:
    heights = [float(row["e_value"]) for row in labels(watched())]
    ends = 0.1, 2 * max(heights)
    a_line = math.log(ends[1] / ends[0]) * LINE / HEIGHT
    steps = [math.log(above / below) for above, below in pairwise(heights)]
    assert all(step > 0.9 * a_line for step in steps)


def test_a_quiet_build_has_its_first_claim_named() -> None:
    rows = counts([(look, f"{look}-{k}", 0, 6) for look in range(1, 7) for k in range(20)])
    plan = MonitorPlan(build="b1", metrics=("frr",), targets={"frr": 0.03})
    quiet = Monitored(plan, watched().arrivals, tuple(watch(rows, plan)), ())
    assert [row["claim"] for row in labels(quiet)] == ["frr, population"]
