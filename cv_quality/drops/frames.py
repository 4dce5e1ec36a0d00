"""Images of a drop: indexed once while the shards are checked, then read by range wherever they lie.

Tar headers are followed in `cv_quality.drops.tarmembers`; what an image's bytes must be is decided in
`cv_quality.drops.images`.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.drops.images import inspect_image
from cv_quality.drops.quarantine import Rejection
from cv_quality.drops.tarmembers import Member, Reader, TarDamaged, read_members
from cv_quality.drops.writer import is_safe_member
from cv_quality.errors import DropError, FrameError, near
from cv_quality.lake.store import Store

if TYPE_CHECKING:
    import polars as pl

MAX_FRAME_BYTES = 32 << 20
_GAP_BYTES = 64 << 10
_RANGE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class FrameEntry:
    """Where one image lies, and what it is: a row of `FRAME_INDEX`."""

    drop_id: str
    frame: str
    shard: str
    byte_offset: int
    byte_count: int
    sha256: str
    image_format: str
    width_px: int
    height_px: int


def index_shard(reader: Reader, *, drop_id: str, shard: str, seen: set[str]) -> Iterator[FrameEntry | Rejection]:
    """Judge every member of one tar shard, in its order; one result a member.

    A shard that is cut short gives its members before the break, then one rejection `truncated_file`.

    Args:
        seen: names met in earlier shards; this one's are added.
    """
    number = 0
    try:
        for member in read_members(reader, max_bytes=MAX_FRAME_BYTES):
            number = member.number
            yield _judge(member, drop_id=drop_id, shard=shard, seen=seen)
    except TarDamaged as error:
        detail = f"the shard breaks off after member {number}: {error}"
        yield Rejection(number + 1, "truncated_file", detail, None, 0, event_kind="frame")


def _judge(member: Member, *, drop_id: str, shard: str, seen: set[str]) -> FrameEntry | Rejection:
    if not is_safe_member(member.name):
        return _rejected(member, "unsafe_path", f"expected a relative path without '..', found {member.name!r}")
    if not member.is_file:
        return _rejected(member, "not_a_file", f"expected a regular file, found {member.name!r} of another type")
    if member.name in seen:
        return _rejected(member, "duplicate_frame", f"expected each name once in a drop, found {member.name!r} again")
    if member.data is None:
        return _rejected(member, "frame_too_large", f"expected at most {MAX_FRAME_BYTES} bytes, found {member.size}")
    try:
        info = inspect_image(member.data)
    except FrameError as error:
        return _rejected(member, error.reason, f"{member.name!r}: {error}")
    seen.add(member.name)
    return FrameEntry(
        drop_id=drop_id,
        frame=member.name,
        shard=shard,
        byte_offset=member.offset,
        byte_count=member.size,
        sha256=hashlib.sha256(member.data).hexdigest(),
        image_format=info.format,
        width_px=info.width_px,
        height_px=info.height_px,
    )


def _rejected(member: Member, reason: str, detail: str) -> Rejection:
    return Rejection(member.number, reason, detail[:500], None, member.size, event_kind="frame")


@dataclass(frozen=True, slots=True)
class _Place:
    frame: str
    shard: str
    start: int
    size: int
    sha256: str
    width_px: int
    height_px: int


class FrameReader:
    """Reads images of one drop by name.

    Args:
        landing: the store with the drop's shards.
        drop_id: the drop.
        index: the drop's rows of `FRAME_INDEX`.
    """

    def __init__(self, landing: Store, drop_id: str, index: "pl.DataFrame") -> None:
        self._landing = landing
        self._drop_id = drop_id
        columns = ("frame", "shard", "byte_offset", "byte_count", "sha256", "width_px", "height_px")
        self._places = {row[0]: _Place(*row) for row in index.select(columns).iter_rows()}

    def read(self, frames: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Each named image once, as (name, encoded bytes), in the order in which they lie in the shards.

        Neighbours are fetched with one request of at most about 8 MiB.

        Raises:
            FrameError: a name is not in the index (reason "missing_frame"); raised before anything is read.
            DropError: the bytes are no longer those that were indexed.
        """
        for places in _ranges(sorted({self._place(frame) for frame in frames}, key=lambda p: (p.shard, p.start))):
            first, last = places[0], places[-1]
            key = f"{self._drop_id}/{first.shard}"
            data = self._landing.read_range(key, start=first.start, size=last.start + last.size - first.start)
            for place in places:
                image = data[place.start - first.start :][: place.size]
                if hashlib.sha256(image).hexdigest() != place.sha256:
                    raise DropError(f"{key}: {place.frame!r} has changed since it was indexed; ingest the drop again")
                yield place.frame, image

    def decoded_bytes(self, frame: str) -> int:
        """What an image takes in colour, from its indexed size."""
        place = self._place(frame)
        return 3 * place.width_px * place.height_px

    def _place(self, frame: str) -> _Place:
        place = self._places.get(frame)
        if place is None:
            raise FrameError(
                f"drop {self._drop_id} has no frame {frame!r}: {near(frame, list(self._places)[:1000])}",
                reason="missing_frame",
            )
        return place


def _ranges(places: Sequence[_Place]) -> Iterator[list[_Place]]:
    """Group places, sorted by shard and start, so that each group is worth one request."""
    group: list[_Place] = []
    for place in places:
        if group and not _joins(group, place):
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _joins(group: list[_Place], place: _Place) -> bool:
    first, last = group[0], group[-1]
    gap = place.start - (last.start + last.size)
    total = place.start + place.size - first.start
    return place.shard == first.shard and gap <= _GAP_BYTES and total <= _RANGE_BYTES
