"""Frame shards: which members become frames, why the others do not, and how frames are read again."""

import io
import tarfile
from collections.abc import Callable

import polars as pl
import pytest

from cv_quality.drops.frames import MAX_FRAME_BYTES, FrameReader
from cv_quality.drops.tables import FRAME_INDEX, QUARANTINE_PARSE
from cv_quality.errors import DropError, FrameError
from cv_quality.lake.store import LocalStore
from cv_quality_tests.drops.small_drops import DROP_ID, Site, png, tar


def ingested(site: Site, *shards: bytes) -> list[tuple[str | None, int]]:
    """Take in shards; the reasons and member numbers of what was rejected."""
    site.deliver_files({f"frames-{number}.tar": data for number, data in enumerate(shards)})
    summary = site.ingest()
    rejected = site.rows(QUARANTINE_PARSE)
    assert summary.rows_in == summary.n_frames + rejected.height
    assert set(rejected["event_kind"]) <= {"frame"}
    return list(zip(rejected["reason"], rejected["source_line"], strict=True))


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (("../escape.png", png()), "unsafe_path"),
        (("/etc/cron.d/x", png()), "unsafe_path"),
        (("a/../../b.png", png()), "unsafe_path"),
        (("a\\..\\b.png", png()), "unsafe_path"),
        (("x/" * 200 + "long.png", png()), "unsafe_path"),
        (special("link.png", tarfile.SYMTYPE), "not_a_file"),
        (special("hard.png", tarfile.LNKTYPE), "not_a_file"),
        (special("fifo.png", tarfile.FIFOTYPE), "not_a_file"),
        (special("folder", tarfile.DIRTYPE), "not_a_file"),
        (("bomb.png", png(width_px=60_000, height_px=60_000)), "image_bomb"),
        (("corrupt.png", png()[:-20] + b"?" * 20), "corrupt_image"),
        (("cut.png", png()[:20]), "corrupt_image"),
        (("empty.png", b""), "unsupported_format"),
        (("script.png", b"#!/bin/sh\n"), "unsupported_format"),
        (("good.png", png()), "duplicate_frame"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_member_is_quarantined_and_its_neighbours_are_kept(
    site: Site, member: tuple[str, bytes] | tarfile.TarInfo, reason: str
) -> None:
    assert ingested(site, tar(("good.png", png()), member, ("last.png", png()))) == [(reason, 2)]
    assert site.rows(FRAME_INDEX)["frame"].to_list() == ["good.png", "last.png"]


def test_a_name_may_occur_once_over_all_shards(site: Site) -> None:
    assert ingested(site, tar(("a.png", png())), tar(("a.png", png()))) == [("duplicate_frame", 1)]


def test_a_member_beyond_the_limit_is_passed_over(site: Site) -> None:
    shard = tar(("huge.png", bytes(MAX_FRAME_BYTES + 1)), ("good.png", png()))
    assert ingested(site, shard) == [("frame_too_large", 1)]


def test_members_before_the_end_of_a_cut_shard_are_kept(site: Site) -> None:
    shard = tar(("a.png", png()), ("b.png", png()), ("c.png", png()))
    assert ingested(site, shard[: 2 * 1024 + 600]) == [("truncated_file", 3)]
    assert site.rows(FRAME_INDEX).height == 2


def test_a_second_archive_behind_the_end_marker_is_told_and_not_read(site: Site) -> None:
    assert ingested(site, tar(("a.png", png())) + bytes(1 << 21)) == []
    assert ingested(site, tar(("a.png", png())) + tar(("b.png", png(width_px=3)))) == [("truncated_file", 2)]
    (row,) = site.rows(QUARANTINE_PARSE).to_dicts()
    assert "expected zeros behind the end marker" in row["detail"]
    assert site.rows(FRAME_INDEX)["frame"].to_list() == ["a.png"]


def test_bytes_that_are_no_tar_are_one_rejected_row(site: Site) -> None:
    assert ingested(site, b"no tar" * 1_000) == [("truncated_file", 1)]


def test_an_extended_header_of_many_megabytes_is_not_read(site: Site) -> None:
    info = tarfile.TarInfo("a.png")
    info.type, info.size = tarfile.XHDTYPE, 50_000_000
    assert ingested(site, info.tobuf() + bytes(50_000_000)) == [("truncated_file", 1)]


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_are_read_in_every_dialect(site: Site, format_: int) -> None:
    name = "frames/" + "x" * 90 + "/" + "y" * 60 + ".png"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_) as file:
        info = tarfile.TarInfo(name)
        info.size = len(png())
        file.addfile(info, io.BytesIO(png()))
    assert ingested(site, buffer.getvalue()) == []
    assert site.rows(FRAME_INDEX)["frame"].to_list() == [name]


def test_the_index_says_where_an_image_lies_and_what_it_is(site: Site) -> None:
    shard = tar(("a.png", png(width_px=3, height_px=5)), ("b.png", png()))
    ingested(site, shard)
    row = site.rows(FRAME_INDEX).row(0, named=True)
    assert (row["image_format"], row["width_px"], row["height_px"]) == ("PNG", 3, 5)
    assert shard[row["byte_offset"] :][: row["byte_count"]] == png(width_px=3, height_px=5)


class CountingStore(LocalStore):
    """A folder that remembers the sizes of the ranges read from it."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.sizes: list[int] = []

    def read_range(self, key: str, *, start: int, size: int) -> bytes:
        self.sizes.append(size)
        return super().read_range(key, start=start, size=size)


@pytest.fixture
def reader(site: Site) -> Callable[[], tuple[FrameReader, CountingStore]]:
    shards = [tar(*((f"{shard}/{n}.png", png(width_px=n + 1)) for n in range(200))) for shard in range(2)]
    assert ingested(site, *shards) == []

    def opened() -> tuple[FrameReader, CountingStore]:
        store = CountingStore(site.landing.uri)
        return FrameReader(store, DROP_ID, site.rows(FRAME_INDEX)), store

    return opened


Opened = Callable[[], tuple[FrameReader, CountingStore]]


def test_neighbours_are_read_with_one_request_a_shard(reader: Opened) -> None:
    frames, store = reader()
    wanted = [f"{shard}/{n}.png" for shard in range(2) for n in range(200)]
    images = dict(frames.read(wanted[::-1]))
    assert images == {f"{shard}/{n}.png": png(width_px=n + 1) for shard in range(2) for n in range(200)}
    assert len(store.sizes) == 2


def test_distant_frames_are_read_without_what_lies_between(reader: Opened) -> None:
    frames, store = reader()
    assert [name for name, _ in frames.read(["0/199.png", "0/0.png", "0/0.png"])] == ["0/0.png", "0/199.png"]
    assert store.sizes == [len(png()), len(png())]


def test_a_frame_that_the_drop_lacks_is_named(reader: Opened) -> None:
    frames, store = reader()
    with pytest.raises(FrameError, match=r"has no frame '0/0.pgn': did you mean") as error:
        list(frames.read(["0/1.png", "0/0.pgn"]))
    assert error.value.reason == "missing_frame"
    assert store.sizes == []


def test_bytes_that_changed_since_the_index_was_made_are_refused(site: Site) -> None:
    ingested(site, tar(("a.png", png())))
    index = site.rows(FRAME_INDEX).with_columns(sha256=pl.lit("0" * 64))
    with pytest.raises(DropError, match=r"'a.png' has changed since it was indexed"):
        list(FrameReader(site.landing, DROP_ID, index).read(["a.png"]))
