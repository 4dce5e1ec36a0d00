"""What was read of files is kept until they are written again, and is never more than a cache."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cv_quality.gates.verdicts import Record
from cv_quality.lake import kept
from cv_quality.lake.kept import SAVED_EVERY, Kept
from cv_quality.lake.lake import Survey
from cv_quality.lake.store import ObjectInfo, open_store


class Reader:
    """A folder of numbers, and how often one was read."""

    def __init__(self, folder: Path) -> None:
        self.store = open_store(str(folder))
        self.n_read = 0

    def read(self, numbers: Kept[int], key: str) -> int:
        info = self.store.info(key)
        assert info is not None

        def make() -> int:
            self.n_read += 1
            return int(self.store.read_bytes(key))

        return numbers.value(info, make)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file had lain there for a while."""
    monkeypatch.setattr(kept, "SETTLED_NS", -1)


@pytest.mark.usefixtures("settled")
def test_a_file_is_read_once_until_it_is_written_again(tmp_path: Path) -> None:
    reader, numbers = Reader(tmp_path), Kept[int]()
    reader.store.write_bytes("one", b"1")
    assert [reader.read(numbers, "one") for _ in range(3)] == [1, 1, 1]
    assert reader.n_read == 1
    reader.store.write_bytes("one", b"2")
    assert [reader.read(numbers, "one") for _ in range(3)] == [2, 2, 2]
    assert reader.n_read == 2


@pytest.mark.usefixtures("settled")
def test_a_file_changed_in_place_under_its_old_time_is_read_again(tmp_path: Path) -> None:
    reader, numbers = Reader(tmp_path), Kept[int]()
    reader.store.write_bytes("one", b"1")
    assert reader.read(numbers, "one") == 1
    path, found = tmp_path / "one", (tmp_path / "one").stat()
    path.write_bytes(b"2")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert reader.read(numbers, "one") == 2


def test_a_file_so_young_that_its_times_may_repeat_is_read_each_time(tmp_path: Path) -> None:
    reader, numbers = Reader(tmp_path), Kept[int]()
    reader.store.write_bytes("one", b"1")
    assert [reader.read(numbers, "one") for _ in range(3)] == [1, 1, 1]
    assert reader.n_read == 3


def saved(folder: Path) -> tuple[Reader, Path, ObjectInfo]:
    """A folder of numbers that one process has read and saved, and the file of one that was deleted before that."""
    reader, path = Reader(folder / "numbers"), folder / "cache" / "numbers"
    numbers = Kept(path, int)
    for number in range(SAVED_EVERY):
        reader.store.write_bytes(f"{number:04d}", b"%d" % number)
        reader.read(numbers, f"{number:04d}")
    gone = reader.store.info("0003")
    assert gone is not None
    reader.store.delete("0003")
    survey = Survey(reader.store)
    survey.list("")
    numbers.save(survey)
    reader.n_read = 0
    return reader, path, gone


@pytest.mark.usefixtures("settled")
def test_another_process_begins_with_what_was_saved(tmp_path: Path) -> None:
    reader, path, _ = saved(tmp_path)
    assert reader.read(Kept(path, int), "0007") == 7
    assert reader.n_read == 0
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "damage",
    [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x01")],
    ids=["lost", "empty", "changed"],
)
def test_what_was_saved_and_is_lost_or_damaged_is_read_again(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    reader, path, _ = saved(tmp_path)
    damage(path)
    assert reader.read(Kept(path, int), "0007") == 7
    assert reader.n_read == 1


@pytest.mark.usefixtures("settled")
def test_what_another_release_saved_is_read_again(tmp_path: Path) -> None:
    reader, path, _ = saved(tmp_path)
    info = reader.store.info("0007")
    assert info is not None
    assert Kept(path, int).get(info) == 7
    assert Kept(path, Record).get(info) is None


@pytest.mark.usefixtures("settled")
def test_what_is_gone_is_not_saved(tmp_path: Path) -> None:
    _, path, gone = saved(tmp_path)
    assert Kept(path, int).get(gone) is None
