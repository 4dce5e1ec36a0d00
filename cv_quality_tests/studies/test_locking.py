"""A locked protocol is refused once a byte of it differs; looks are budgeted, in order, and recorded for good."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cv_quality.errors import LockError, LookError
from cv_quality.lake.store import LocalStore
from cv_quality.studies.locking import LockedStudy, lock_protocol, read_locks, read_seed, require_locked
from cv_quality.studies.looks import LookRecord, LookVerdict, read_looks, record_look
from cv_quality_tests.studies.protocols import FILE, RELEASE, changed

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
STUDY = "release-face-1.3"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path / "lake"))


def lock(store: LocalStore, text: str = RELEASE, *, reason: str | None = None, now: datetime = NOW) -> LockedStudy:
    drops = [("2026-07-06_face-1.0_site-a", "0" * 64)]
    return lock_protocol(store, text.encode(), file=FILE, now=now, git_commit="abc", drops=drops, reason=reason)


def look(
    store: LocalStore,
    locked: LockedStudy,
    number: int,
    information: float,
    *,
    verdict: LookVerdict = "insufficient",
    alpha_spent: float = 0.01,
    digest: str = "d",
    now: datetime = NOW,
) -> LookRecord:
    return record_look(
        store,
        locked,
        by="ana",
        now=now,
        number=number,
        information=information,
        alpha_spent=alpha_spent,
        data_digest=f"{digest}{number}",
        verdict=verdict,
    )


def test_a_lock_holds_digests_moment_commit_drops_and_commitment(store: LocalStore, tmp_path: Path) -> None:
    locked = lock(store)
    said = json.loads((tmp_path / "lake/studies/release-face-1.3/lock-1.json").read_text())
    assert (said["number"], said["locked_at"], said["git_commit"]) == (1, "2026-07-01T12:00:00+00:00", "abc")
    assert said["drops"] == [["2026-07-06_face-1.0_site-a", "0" * 64]]
    assert str(read_seed(store, locked)) not in json.dumps(said)
    assert require_locked(store, RELEASE.encode(), file=FILE) == locked
    assert lock(store, now=NOW + timedelta(days=1)) == locked


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (RELEASE + "\n", "its bytes were changed since, though it means the same"),
        (changed("margin: 0.005", "margin: 0.006"), r"endpoints\[0\]\.margin: 0\.005 to 0\.006"),
        (changed("1200", "1201"), r"top_up\.max_subjects: 1200 to 1201"),
    ],
)
def test_one_byte_changed_is_refused_and_told(store: LocalStore, text: str, match: str) -> None:
    lock(store)
    with pytest.raises(LockError, match=match):
        require_locked(store, text.encode(), file=FILE)


def test_every_single_byte_of_a_locked_protocol_counts(store: LocalStore) -> None:
    lock(store)
    data = RELEASE.encode()
    for place in range(0, len(data), 7):
        other = bytearray(data)
        other[place] ^= 1
        with pytest.raises(Exception, match=FILE):
            require_locked(store, bytes(other), file=FILE)


def test_an_unlocked_protocol_is_refused(store: LocalStore) -> None:
    with pytest.raises(LockError, match=r"is not locked; before any data: cvq study lock release.yaml"):
        require_locked(store, RELEASE.encode(), file=FILE)


def test_another_protocol_of_the_name_needs_a_reason(store: LocalStore) -> None:
    first = lock(store)
    other = changed("margin: 0.005", "margin: 0.004")
    with pytest.raises(LockError, match=r"give this study another name, or amend that one and say why"):
        lock(store, other)
    with pytest.raises(LockError, match="needs a reason in words"):
        lock(store, other, reason=" ")
    amended = lock(store, other, reason="the margin was agreed anew")
    assert (amended.lock.number, amended.lock.parent, amended.n_amendments) == (2, first.digest, 1)
    assert read_seed(store, amended) == read_seed(store, first)
    with pytest.raises(LockError, match="this is lock 1, which was amended: the margin was agreed anew"):
        require_locked(store, RELEASE.encode(), file=FILE)


def test_a_study_that_is_not_locked_cannot_be_amended(store: LocalStore) -> None:
    with pytest.raises(LockError, match="nothing to amend"):
        lock(store, reason="why not")


def test_a_clock_that_went_back_is_told(store: LocalStore) -> None:
    locked = lock(store)
    with pytest.raises(LockError, match="the clock went back"):
        lock(store, RELEASE + "\n", reason="a line", now=NOW - timedelta(seconds=1))
    with pytest.raises(LookError, match="the clock went back: this look would be of 2026-06-30"):
        look(store, locked, 1, 0.5, now=NOW - timedelta(days=1))


def test_a_record_that_was_changed_is_not_believed(store: LocalStore, tmp_path: Path) -> None:
    locked = lock(store)
    lock(store, RELEASE + "\n", reason="a line")
    path = tmp_path / "lake/studies/release-face-1.3/lock-1.json"
    path.write_text(path.read_text().replace("2026-07-01", "2026-06-01"))
    with pytest.raises(LockError, match=r"lock-2.json: does not follow the lock before it"):
        read_locks(store, STUDY)
    (path.parent / "seed.json").write_text('{"seed": 1, "nonce": "00"}')
    with pytest.raises(LockError, match="not the seed that the lock committed to"):
        read_seed(store, locked)


def test_a_seed_of_the_protocol_is_the_one_that_is_committed_to(store: LocalStore) -> None:
    assert read_seed(store, lock(store, RELEASE + "seed: 7\n")) == 7
    with pytest.raises(LockError, match="another seed than 8 was committed to"):
        lock(store, RELEASE + "seed: 8\n", reason="luck")


def test_looks_are_recorded_in_their_order(store: LocalStore) -> None:
    locked = lock(store)
    first = look(store, locked, 1, 0.5)
    assert look(store, locked, 1, 0.5, now=NOW + timedelta(days=1)) == first
    second = look(store, locked, 2, 0.8)
    found = read_looks(store, STUDY)
    assert found == (first, second)
    assert {item.lock for item in found} == {locked.digest}
    assert second.parent is not None


@pytest.mark.parametrize(
    ("number", "information", "match"),
    [
        (2, 0.75, "look 2 is budgeted at 0.75|look 2 comes before look 1"),
        (5, 1.0, "look 5 is not budgeted; the protocol has looks at 0.5, 0.75, 1 of the information and one after"),
        (0, 1.0, "look 0 is not budgeted"),
        (1, 0.0, "comes before the data"),
        (1, float("nan"), "comes before the data"),
        (1, 0.4, "look 1 is budgeted at 0.5 of the information, and 0.4 is there"),
    ],
)
def test_a_look_that_is_not_budgeted_is_refused(store: LocalStore, number: int, information: float, match: str) -> None:
    locked = lock(store)
    with pytest.raises(LookError, match=match):
        look(store, locked, number, information)
    assert read_looks(store, STUDY) == ()


def test_a_look_at_other_data_under_a_recorded_number_is_refused(store: LocalStore) -> None:
    locked = lock(store)
    look(store, locked, 1, 0.5)
    with pytest.raises(LookError, match=r"look 1 was on .*, on other data; next is look 2"):
        look(store, locked, 1, 0.6, digest="other")
    with pytest.raises(LookError, match=r"has 0\.5 of the information, and the look before had 0.5"):
        look(store, locked, 2, 0.5)


def test_no_look_follows_a_verdict(store: LocalStore) -> None:
    locked = lock(store)
    look(store, locked, 1, 0.5, verdict="pass")
    with pytest.raises(LookError, match="ended with pass at look 1"):
        look(store, locked, 2, 0.8)


@pytest.mark.parametrize("spent", [0.051, 0.009])
def test_alpha_is_spent_within_its_budget(store: LocalStore, spent: float) -> None:
    locked = lock(store)
    look(store, locked, 1, 0.5, alpha_spent=0.01)
    with pytest.raises(LookError, match=f"expected alpha spent from 0.01 to 0.05, found {spent}"):
        look(store, locked, 2, 0.8, alpha_spent=spent)


def test_a_confidence_sequence_has_any_number_of_looks(store: LocalStore) -> None:
    text = changed("{rule: lan_demets_obf, at_information: [0.5, 0.75, 1.0]}", "{rule: confidence_sequence}")
    locked = lock(store, text)
    for number in range(1, 8):
        look(store, locked, number, number / 100)
    assert len(read_looks(store, STUDY)) == 7
