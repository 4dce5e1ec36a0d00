"""Subjects are assigned in balance, once and for all: whoever comes later moves nobody."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cv_quality.errors import AssignmentError
from cv_quality.lake.store import LocalStore
from cv_quality.studies.assignment import (
    AssignedSubject,
    Sheet,
    assign,
    continue_sheet,
    read_sheet,
    sheet_rows,
    williams_orders,
)
from cv_quality.studies.locking import lock_protocol
from cv_quality.studies.protocol import StudyProtocol
from cv_quality_tests.studies.protocols import FILE, RELEASE, changed, parsed

NOW = datetime(2026, 7, 1, tzinfo=UTC)
AGES = ("18-29", "30-59", "60+")
PARALLEL = parsed(changed("arms: paired", "arms: parallel"))
Levels = Sequence[str]


def subjects(ages: Levels, *, first: int = 0) -> list[dict[str, str]]:
    return [{"subject_id": f"s{first + number:04}", "age_band": age} for number, age in enumerate(ages)]


def drawn_ages(n: int, *, step: int) -> list[str]:
    return [AGES[number * step % 7 % 3] for number in range(n)]


def imbalance(rows: Sequence[AssignedSubject]) -> int:
    """The largest difference of the arms within a stratum, at any time."""
    worst, counts = 0, Counter[tuple[str, str]]()
    for row in rows:
        counts[row.stratum[0], row.arm] += 1
        worst = max(worst, abs(counts[row.stratum[0], "face-1.3"] - counts[row.stratum[0], "face-1.2"]))
    return worst


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 8])
def test_each_ordered_pair_of_neighbours_is_met_equally_often(n: int) -> None:
    orders = williams_orders(n)
    assert len(orders) == (n if n % 2 == 0 else 2 * n)
    pairs = Counter(pair for row in orders for pair in pairwise(row))
    assert set(pairs.values()) == {len(orders) // n}
    assert len(pairs) == n * (n - 1)
    assert all(Counter(column) == dict.fromkeys(range(n), len(orders) // n) for column in zip(*orders, strict=True))


def test_the_williams_square_of_four_is_the_published_one() -> None:
    assert ["".join(map(str, row)) for row in williams_orders(4)] == ["0132", "1203", "2310", "3021"]


@settings(max_examples=60, deadline=None)
@given(
    ages=st.lists(st.sampled_from(AGES), min_size=1, max_size=60),
    more=st.lists(st.sampled_from(AGES), min_size=50, max_size=50),
    seed=st.integers(0, 2**63 - 1),
)
def test_adding_fifty_subjects_moves_nobody(ages: list[str], more: list[str], seed: int) -> None:
    before = assign(PARALLEL, subjects(ages), seed=seed)
    added = subjects(more, first=len(ages))
    after = assign(PARALLEL, [*added, *subjects(ages)], seed=seed, earlier=before.rows)
    assert after.rows[: len(ages)] == before.rows
    assert after.n_new == 50
    assert after.rows == assign(PARALLEL, [*subjects(ages), *added], seed=seed).rows
    assert imbalance(after.rows) <= 3


def test_blocks_reach_an_imbalance_of_three_and_never_more() -> None:
    found = [imbalance(assign(PARALLEL, subjects(["18-29"] * 60), seed=seed).rows) for seed in range(60)]
    assert max(found) == 3


def test_arms_are_drawn_alike_and_differ_between_seeds() -> None:
    first = [assign(PARALLEL, subjects(["18-29"]), seed=seed).rows[0].arm for seed in range(400)]
    assert 160 <= first.count("face-1.3") <= 240


def test_minimisation_keeps_margins_of_many_columns_alike() -> None:
    columns = [f"c{number}" for number in range(5)]
    text = changed("arms: paired", "arms: parallel").replace("[age_band, skin_tone]", f"[{', '.join(columns)}]")
    protocol = parsed(text.replace("[age_band]", f"[{', '.join(columns)}]"))
    rows = [
        {"subject_id": str(number)} | {name: str(number * (place + 3) % 11 % 3) for place, name in enumerate(columns)}
        for number in range(120)
    ]
    worst = []
    for seed in range(10):
        sheet = assign(protocol, rows, seed=seed)
        assert sheet.method == "minimisation"
        for place in range(5):
            of = Counter((row.stratum[place], row.arm) for row in sheet.rows)
            worst += [abs(of[level, "face-1.3"] - of[level, "face-1.2"]) for level in "012"]
        assert assign(protocol, rows, seed=seed, earlier=sheet.rows[:70]).rows == sheet.rows
    assert sum(worst) / len(worst) < 2.5


def test_minimisation_is_taken_where_it_is_asked_for() -> None:
    text = changed("method: permuted_blocks, block_sizes: [4, 6]", "method: minimisation")
    sheet = assign(parsed(text.replace("arms: paired", "arms: parallel")), subjects(["60+"] * 40), seed=1)
    assert sheet.method == "minimisation"
    assert abs(sheet.arms["face-1.3"] - sheet.arms["face-1.2"]) <= 6


def test_a_paired_study_assigns_orders_and_no_arm() -> None:
    sheet = assign(parsed(), subjects(drawn_ages(36, step=1)), seed=3)
    assert {row.arm for row in sheet.rows} == {""}
    assert list(sheet_rows(sheet)[0]) == ["subject_id", "stratum", "conditions"]
    for age in AGES:
        orders = Counter(row.conditions for row in sheet.rows if row.stratum == (age,))
        assert max(orders.values()) - min((orders[order] for order in orders), default=0) <= 1
    assert len({row.conditions for row in sheet.rows}) == 6


def test_devices_have_an_order_of_their_own() -> None:
    text = changed("  conditions:", "  devices: {factor: device_model, levels: [a1, b2]}\n  conditions:")
    sheet = assign(parsed(text), subjects(["60+"] * 12), seed=3)
    assert Counter(row.devices for row in sheet.rows) == {("a1", "b2"): 6, ("b2", "a1"): 6}


def rows_of(arms: Levels) -> list[AssignedSubject]:
    return [AssignedSubject("s1", ("60+",), arm, (), ("dark", "indoor", "outdoor")) for arm in arms]


@pytest.mark.parametrize(
    ("protocol", "given_rows", "earlier", "match"),
    [
        (PARALLEL, [], rows_of(["face-1.3", "face-1.2"]), "subject 's1' is in both arms, face-1.3 and face-1.2"),
        (PARALLEL, [], rows_of(["face-1.3", "face-1.3"]), "subject 's1' is twice on the sheet"),
        (PARALLEL, [], rows_of(["face-0.9"]), "assigned by another design"),
        (parsed(), [], rows_of(["face-1.3"]), "assigned by another design"),
        (PARALLEL, [{"subject_id": "s2", "age_band": "60+"}] * 2, [], "subject 's2' stands twice"),
        (PARALLEL, [{"subject_id": "s2"}], [], "subject 's2' has no age_band"),
        (PARALLEL, [{"subject_id": " ", "age_band": "60+"}], [], "subject number 1 has no subject_id"),
        (PARALLEL, [{"subject_id": "s1", "age_band": "18-29"}], rows_of(["face-1.3"]), "now said to be in 18-29"),
    ],
)
def test_subjects_that_cannot_be_assigned_are_told(
    protocol: StudyProtocol, given_rows: list[dict[str, str]], earlier: list[AssignedSubject], match: str
) -> None:
    with pytest.raises(AssignmentError, match=match):
        assign(protocol, given_rows, seed=1, earlier=earlier)


def test_a_study_without_arms_and_orders_has_nothing_to_assign() -> None:
    text = changed("  conditions: {factor: illuminance, levels: [dark, indoor, outdoor], order: williams}\n", "")
    with pytest.raises(AssignmentError, match="nothing to assign"):
        assign(parsed(text), subjects(["60+"]), seed=1)


def test_a_stratum_with_one_subject_is_named() -> None:
    assert assign(parsed(), subjects(["60+", "60+", "18-29"]), seed=1).lone_strata == (("18-29",),)


def test_a_sheet_is_continued_from_where_it_lies(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    locked = lock_protocol(store, RELEASE.encode(), file=FILE, now=NOW)

    def go(ages: Levels, days: int) -> Sheet:
        return continue_sheet(store, locked, subjects(ages), now=NOW + timedelta(days=days))

    first = go(["60+", "18-29"], 1)
    second = go(["60+", "18-29", "30-59"], 2)
    assert second.rows[:2] == first.rows
    assert (first.n_new, second.n_new, go(["60+"], 3).n_new) == (2, 1, 0)
    assert read_sheet(store, "release-face-1.3") == second.rows
    with pytest.raises(AssignmentError, match="the clock went back: this sheet would be of 2026-07-02"):
        go(["60+", "18-29", "30-59", "60+"], 1)


def test_a_sheet_that_was_changed_is_not_believed(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    locked = lock_protocol(store, RELEASE.encode(), file=FILE, now=NOW)
    continue_sheet(store, locked, subjects(["60+"]), now=NOW)
    continue_sheet(store, locked, subjects(["60+", "60+"]), now=NOW)
    path = tmp_path / "studies/release-face-1.3/sheet-1.json"
    path.write_text(path.read_text().replace("s0000", "s0009"))
    with pytest.raises(AssignmentError, match=r"sheet-2.json: does not follow the sheet before it"):
        read_sheet(store, "release-face-1.3")


def test_ten_thousand_subjects_are_assigned_in_seconds() -> None:
    sheet = assign(PARALLEL, subjects(drawn_ages(10_000, step=2)), seed=1)
    assert sheet.n_new == 10_000
    assert imbalance(sheet.rows) <= 3
