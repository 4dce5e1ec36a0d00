"""Rows that are no events give the conditions of the events beside them, as sessions and times say."""

import csv
import io
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean, median

import pytest

from cv_quality.drops.importers.logs import import_logs
from cv_quality.drops.importers.mapping import read_mapping
from cv_quality.errors import MappingError
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality_tests.drops.foreign_logs import (
    FIELDS,
    HEAD,
    ROW,
    drop_of,
    events,
    import_bytes,
    lines,
    listed,
    mapping_of_docs,
)
from cv_quality_tests.drops.small_drops import Site

START = datetime(2026, 9, 1, 12, tzinfo=UTC)
TAKES = {"mean": mean, "median": median, "min": min, "max": max, "count": len}
MIXED = "kind: {column: what, levels: {VERIFY: attempt}}\n"


def at(second: float) -> str:
    return (START + timedelta(seconds=second)).isoformat()


def verify(second: float, **more: object) -> dict[str, object]:
    return {**ROW, "what": "VERIFY", "at": at(second), **more}


def heat(second: float, value: object, **more: object) -> dict[str, object]:
    return {"what": "HEAT", "at": at(second), "celsius": value, **more}


def rule(take: str = "last", more: str = "within: 10 s", kind: str = "real") -> str:
    condition = f"heat: {{column: celsius, type: {kind}, take: {take}}}"
    return f"context:\n  - {{kind: HEAT, time: at, {more}, conditions: {{{condition}}}}}\n"


@pytest.mark.parametrize("take", ["last", *TAKES])
@pytest.mark.parametrize("more", ["within: 10 s", "by: {session_id: s}", "by: {session_id: s}, within: 10 s"])
def test_what_is_taken_of_rows_is_what_the_words_say(site: Site, take: str, more: str) -> None:
    dice = random.Random(f"{take} {more}")
    heats = [heat(dice.randrange(60), dice.randrange(90) / 4, s=dice.choice("ab")) for _ in range(60)]
    attempts = [verify(dice.randrange(-9, 80), s=dice.choice("abc")) for _ in range(30)]
    rows = sorted([*heats, *attempts], key=lambda _: dice.random())
    fields = FIELDS + "  session_id: s\n"
    found = import_bytes(
        site, {"log": lines(*rows)}, HEAD + MIXED + fields + rule(take, more, "integer" if take == "count" else "real")
    )
    assert (found.rows, found.written, found.context, found.reasons) == (90, 30, 60, {})

    def expected(attempt: dict[str, object]) -> list[object]:
        moment = datetime.fromisoformat(str(attempt["at"]))
        near = []
        for row in heats:
            age = (moment - datetime.fromisoformat(str(row["at"]))).total_seconds()
            if "session_id" in more and row["s"] != attempt["s"]:
                continue
            if (age <= 10 and age >= 0) if "within" in more else (age >= 0 or take != "last"):
                near.append((age, float(str(row["celsius"]))))
        if not near:
            return [None]
        if take == "last":  # several of one moment: any of them
            return [value for age, value in near if age == min(near)[0]]
        return [pytest.approx(TAKES[take]([value for _, value in near]))]  # type: ignore[operator]

    taken = events(site, drop_of(found))
    values = dict(zip(taken["event_id"], taken["heat"], strict=True))
    for line, row in enumerate(rows, 1):
        if row["what"] == "VERIFY":
            assert values[f"1-{line}"] in expected(row), (take, more, row)


def test_a_row_of_a_moment_is_before_the_event_of_that_moment(site: Site) -> None:
    rows = [heat(0, 20.0), verify(0), verify(10), verify(10.001)]
    found = import_bytes(site, {"log": lines(*rows)}, HEAD + MIXED + FIELDS + rule())
    assert events(site, drop_of(found)).sort("occurred_at")["heat"].to_list() == [20.0, 20.0, None]


def test_rows_of_context_that_do_not_fit_are_set_aside_once(site: Site) -> None:
    rows = [heat(0, 20.0), heat(1, "hot"), {**heat(2, 3.0), "at": "never"}, verify(3)]
    both = rule() + rule("max").replace("context:\n", "").replace("heat:", "heat_max:")
    found = import_bytes(site, {"log": lines(*rows)}, HEAD + MIXED + FIELDS + both)
    assert (found.written, found.context, found.reasons) == (1, 1, {"wrong_type": 1, "bad_time": 1})
    assert [row["line"] for row in listed(found)] == [2, 3]
    assert events(site, drop_of(found)).select("heat", "heat_max").rows() == [(20.0, 20.0)]


def test_words_and_flags_of_context_are_the_last_ones(site: Site) -> None:
    log = [
        {"what": "STATE", "at": at(s), "charging": c, "grip": g} for s, c, g in ((0, True, "left"), (5, False, "two"))
    ]
    mapping = (
        "conditions: {is_charging: {column: charging, type: flag}, grip: {column: grip, levels: {left: one, two: two}}}"
    )
    context = f"context:\n  - {{kind: STATE, time: at, within: 1 min, {mapping}}}\n"
    found = import_bytes(site, {"log": lines(*log, verify(4), verify(6))}, HEAD + MIXED + FIELDS + context)
    taken = events(site, drop_of(found)).sort("occurred_at")
    assert taken.select("is_charging", "grip").rows() == [(True, "one"), (False, "two")]


def test_the_session_of_the_docs_gives_its_hottest_row(site: Site) -> None:
    rows = [
        *({"what": "TEMPERATURE", "at": at(s), "celsius": c, "session": n} for s, c, n in ((0, 30, "x"), (9, 41, "x"))),
        verify(5, session="x"),
        verify(5, session="y"),
    ]
    found = import_bytes(site, {"log": lines(*rows)}, mapping_of_docs("agree with them in a session:"))
    assert events(site, drop_of(found)).sort("session_id")["camera_temperature"].to_list() == [41.0, None]


def gnss_log(start_ms: int) -> bytes:
    """A log as GnssLogger writes it: four satellites and a fix a second, for 20 seconds."""
    head = "# Header Description:\n# Raw,utcTimeMillis,Svid,Cn0DbHz\n# Fix,Provider,Speed,UnixTimeMillis\n"
    raws = [f"Raw,{start_ms + 1000 * s},{v},{20 + s + v}" for s in range(20) for v in range(4)]
    return (head + "\n".join([*raws, *(f"Fix,gps,{s / 2},{start_ms + 1000 * s}" for s in range(20))]) + "\n").encode()


def attempts_table(seconds: list[int]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["at", "who", "phone", "score"])
    rows.writerows([at(second), "p1", "d1", 0.5] for second in seconds)
    return text.getvalue().encode()


def test_the_gnss_log_of_the_docs_gives_conditions_of_attempts(site: Site) -> None:
    logs = {"attempts.csv": attempts_table([3, 12, 60]), "gnss_log_1.txt": gnss_log(int(START.timestamp() * 1000))}
    found = import_bytes(site, logs, mapping_of_docs("and how fast the phone moved:"))
    assert (found.rows, found.written, found.context) == (103, 3, 100)
    taken = events(site, drop_of(found)).sort("occurred_at")
    assert taken["satellites"].to_list() == [16, 24, None]
    assert taken["satellite_signal"].to_list() == [
        mean(20 + s + v for s in range(4) for v in range(4)),
        mean(20 + s + v for s in range(7, 13) for v in range(4)),
        None,
    ]
    assert taken["speed"].to_list() == [1.5, 6.0, None]


def test_real_gnss_logs_give_conditions_of_attempts(site: Site, shared_data: Callable[[str], Path]) -> None:
    """Counted again from the lines: the fixes of the ten seconds before each attempt, and the last one's speed."""
    log = next(shared_data("logs_android_gnss").glob("opensource/demoFiles/pseudoranges_log_2016_08*.txt"))
    cells = [line.split(",") for line in log.read_text().splitlines() if line.startswith("Fix,")]
    fixes = sorted((int(row[7]), float(row[5])) for row in cells)
    moments = [fixes[0][0] + 1000 * second for second in (0, 30, 100, 150, 4000)]
    rows = "".join(f"{moment},p1,d1,0.5\n" for moment in moments)
    (site.root / "attempts.csv").write_text("at,who,phone,score\n" + rows)
    mapping = mapping_of_docs("and how fast the phone moved:").replace("gnss_log", "pseudoranges_log")
    (site.root / "map.yaml").write_text(
        mapping.replace("occurred_at: at", "occurred_at: {column: at, format: epoch_ms}")
    )
    found = import_logs(
        [site.root / "attempts.csv", log],
        mapping=read_mapping(site.root / "map.yaml"),
        landing=site.landing,
        modality=FACE,
    )
    taken = events(site, drop_of(found)).sort("occurred_at")
    near = [[speed for ms, speed in fixes if moment - 10_000 <= ms <= moment] for moment in moments]
    assert taken["speed"].to_list() == [speeds[-1] if speeds else None for speeds in near]
    assert taken["satellites"].null_count() == 1
    assert found.rows == found.written + found.context


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ("kind: HEAT, conditions: {c: {column: v}}", "which rows belong"),
        ("kind: HEAT, within: 10 s, conditions: {c: {column: v}}", "expected the 'time'"),
        ("within: 10 s, time: at, conditions: {c: {column: v}}", "expected the 'kind'"),
        ("kind: HEAT, within: 10, time: at, conditions: {c: {column: v}}", "with its unit, such as 10 s"),
        ("kind: HEAT, within: 10 kg, time: at, conditions: {c: {column: v}}", "unit 'kg' is not known"),
        ("kind: HEAT, within: 10 s, time: at", "expected 'conditions'"),
        ("kind: HEAT, within: 10 s, time: at, conditions: {c: {column: v, take: mean}}", "is real, not text"),
        ("kind: HEAT, within: 10 s, time: at, conditions: {c: {column: v, take: men}}", "did you mean mean"),
        ("kind: HEAT, by: {sesion: s}, time: at, conditions: {c: {column: v}}", "did you mean session_id"),
        ("kind: HEAT, by: {session_id: s}, time: at, conditions: {c: {column: v}}", "map the field"),
        ("kind: HEAT, within: 10 s, time: at, conditions: {frame: {column: v}}", "named like a column"),
        ("kind: VERIFY, within: 10 s, time: at, conditions: {c: {column: v}}", "rows of kind 'VERIFY' are events"),
        ("kind: COLD, within: 10 s, time: at, conditions: {c: {column: v}}", "no row is of it"),
        ("files: x.csv, within: 10 s, time: at, conditions: {c: {column: v}}", "no file|none of the files"),
        ("preset: logcat, kind: HEAT, within: 10 s, conditions: {c: {column: v}}", "needs 'files'"),
        ("kind: HEAT, within: 10 s, time: at, conditions: {who: {column: v}}, fils: x", "did you mean files"),
    ],
)
def test_a_context_that_does_not_fit_writes_nothing(site: Site, context: str, words: str) -> None:
    log = lines({"what": "HEAT", "at": at(0), "v": 1}, verify(1))
    with pytest.raises(MappingError, match=words):
        import_bytes(site, {"log": log}, f"{HEAD}{MIXED}{FIELDS}context:\n  - {{{context}}}\n")
    assert not site.landing.list()


def test_a_message_holds_events_and_their_context(site: Site) -> None:
    said = [{"at": at(s), "msg": json.dumps(m)} for s, m in ((0, {"t": "HEAT", "c": 20}), (1, {"t": "V", "who": "p1"}))]
    mapping = (
        "message: {column: msg, json: true}\nkind: {column: msg.t, levels: {V: attempt}}\n"
        "fields: {occurred_at: at, subject_id: msg.who, device_id: {constant: d1}}\n"
        "context:\n  - {kind: HEAT, time: at, within: 9 s, conditions: {heat: {column: msg.c, type: real}}}\n"
    )
    found = import_bytes(site, {"log": lines(*said)}, HEAD + mapping)
    assert (found.written, found.context) == (1, 1)
    assert events(site, drop_of(found))["heat"].to_list() == [20.0]


def test_a_sensor_gives_a_condition_of_the_modality(site: Site) -> None:
    rows = [{"what": "LIGHT", "at": at(s), "klx": v} for s, v in ((0, 0.3), (1, "dark"), (2, -1))]
    condition = "illuminance_lux: {column: klx, type: real, from: klx, take: last}"
    context = f"context:\n  - {{kind: LIGHT, time: at, within: 9 s, conditions: {{{condition}}}}}\n"
    found = import_bytes(site, {"log": lines(*rows, verify(3))}, HEAD + MIXED + FIELDS + context)
    assert found.reasons == {"wrong_type": 1, "out_of_range": 1}
    assert events(site, drop_of(found))["illuminance_lux"].to_list() == [300.0]
    with pytest.raises(MappingError, match="face has it as real: say the 'type'"):
        import_bytes(site, {"log": lines(verify(3))}, HEAD + MIXED + FIELDS + context.replace("type: real, ", ""))


def test_a_context_whose_rows_are_all_set_aside_is_refused(site: Site) -> None:
    logs = {"log": lines(verify(3)), "heat.csv": b"at,celsius\n2026-09-01 12:00:00,5\n"}
    context = "context:\n  - {files: heat.csv, time: at, within: 9 s, conditions: {heat: {column: celsius}}}\n"
    with pytest.raises(MappingError, match=r"no sound row is of it; the first set aside: .*no_time_zone"):
        import_bytes(site, logs, HEAD + FIELDS + context)
    found = import_bytes(site, logs, HEAD + FIELDS + context.replace("time: at", "zone: UTC, time: at"))
    assert (found.rows, found.written, found.context) == (2, 1, 1)
