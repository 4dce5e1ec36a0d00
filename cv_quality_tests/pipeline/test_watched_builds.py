"""Watched builds on a real instance: a look when something came, none otherwise, and a check that tells an alarm."""

from typing import Any

import dagster as dg

from cv_quality.lake.lake import TableKey
from cv_quality.studies.monitoring import MonitorPlan
from cv_quality.studies.records import written
from cv_quality.tasks.monitoring.state import follow
from cv_quality.tasks.monitoring.tables import MONITORING
from cv_quality_tests.deployment import FIRST_DROP, SECOND_DROP, Orchestra

SENSOR = "watched_build_sensor"


def declare(orchestra: Orchestra, build: str) -> None:
    """Declare a monitor as `cvq monitor` does, without a look."""
    plan = MonitorPlan(build=build, metrics=("frr",), targets={"frr": 0.03}, alpha=0.2)
    assert orchestra.workspace.lake.store.write_new(f"monitors/{build}.json", written(plan))


def requested(orchestra: Orchestra) -> list[dg.RunRequest]:
    return list(orchestra.tick(SENSOR).run_requests or ())


def checked(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = result.get_asset_check_evaluations()
    return found


def told(result: dg.ExecuteInProcessResult, name: str) -> Any:
    """What the check says under a name, by build."""
    return checked(result).metadata[name].value


def test_a_build_that_nobody_watches_is_not_looked_at(evaluated: Orchestra) -> None:
    assert requested(evaluated) == []


def test_a_watched_build_is_looked_at_once_for_what_came(evaluated: Orchestra) -> None:
    declare(evaluated, "face-1.1")
    (request,) = requested(evaluated)
    result = evaluated.execute("watch_builds", None, tags=dict(request.tags))
    assert checked(result).passed
    assert evaluated.workspace.lake.read(MONITORING, TableKey(build="face-1.1"))["day"].to_list() == [FIRST_DROP[:10]]
    assert requested(evaluated) == []


def test_an_alarm_fails_the_check_and_says_why(evaluated: Orchestra) -> None:
    declare(evaluated, "face-1.1")
    declare(evaluated, "face-1.2")
    result = evaluated.execute("watch_builds", None)
    assert result.success
    assert not checked(result).passed
    alarms = told(result, "alarms")
    assert list(alarms) == ["face-1.2"]
    assert f"alarm since {SECOND_DROP[:10]}" in alarms["face-1.2"][0]


def test_a_build_that_cannot_be_watched_does_not_hide_the_others(evaluated: Orchestra) -> None:
    declare(evaluated, "face-1.2")
    plan = MonitorPlan(build="face-1.1", metrics=("frr",), targets={"frr": 0.03})
    follow(evaluated.workspace.lake, plan, drops=[FIRST_DROP], ready=[FIRST_DROP])
    evaluated.workspace.lake.store.delete(f"metric_counts/face-1.1/{FIRST_DROP}.parquet")
    states = told(evaluated.execute("watch_builds", None), "states")
    assert states["face-1.1"].startswith(f"cannot be watched: {FIRST_DROP}: counted before, and not measured")
    assert states["face-1.2"] == "alarm"
