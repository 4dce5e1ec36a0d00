"""The pictures of a drop's streams, one at a time and in order, and those of their ground truth by number.

Every stage of the task reads pictures here, so that a frame's number means one picture to all of them; which number a
picture has is decided in `cv_quality.tasks.video.numbering`. Video is decoded in `cv_quality.drops.clips`, images in
`cv_quality.drops.images`.
"""

import hashlib
import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.clips import ClipDamage, ClipFrame, ClipInfo, ClipReader, list_timestamps
from cv_quality.drops.frames import FrameReader
from cv_quality.drops.images import decode_depth, decode_image, decode_labels
from cv_quality.drops.tables import CLIPS, FRAME_INDEX, MASK_CLASSES, MEDIA_INDEX, VALIDATED_STREAMS
from cv_quality.errors import ClipError, DropError, FrameError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store
from cv_quality.tasks.video.numbering import LoggedFrames, Numbering, Rule, number_pictures

if TYPE_CHECKING:
    import polars as pl

Content = Literal["masks", "references", "depth", "results"]
Image = NDArray[np.uint8]
OK, NO_PICTURE, MISSING, DROPPED = "ok", "no_picture", "missing_frame", "dropped_frame"
TRUNCATED = "truncated_file"

MAX_WINDOW_BYTES, MAX_WINDOW_PICTURES = 1 << 20, 32
"""Pictures that are read ahead with the one asked for; one may be larger."""
MAX_WINDOWS = 16
MAX_CHUNK_BYTES, MAX_CHUNK_IMAGES = 16 << 20, 16
"""Encoded images of a stream that are read at once; one may be larger."""
_COPY_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, eq=False)
class StreamPicture:
    """One frame of a stream with its picture, or why there is none.

    Attributes:
        frame_number: position within the stream, from 0; a picture that has no place comes last, with numbers above all
            others.
        place: of the picture in its file, from 0; None where there is none.
        status: "ok"; "no_picture" (the stream has none at all), "missing_frame" (of this frame), "dropped_frame"
            (timestamps leave it out); "backward_timestamp", "no_timestamp" or "no_place" of a picture that has no
            place; or the reason of `ClipDamage`, `ClipError` or `FrameError`.
        time_s: timestamp within the clip.
        image: uint8 `[height, width, 3]`, RGB, as displayed.
        change: from the picture before, as of `ClipFrame`.
        detail: what was expected and found, where the status is a reason.
    """

    frame_number: int
    place: int | None
    status: str
    time_s: float | None
    image: Image | None = None
    change: float | None = None
    detail: str = ""

    @property
    def failure(self) -> str | None:
        """Why an output is missing, as of `VideoModality.failure_statuses`; None where there is a picture."""
        if self.image is not None:
            return None
        if self.status in (NO_PICTURE, MISSING):
            return MISSING
        return DROPPED if self.status == DROPPED else "damaged_frame"


@dataclass(slots=True)
class StreamLog:
    """What reading a stream's pictures shows beside them; complete once all of them are read.

    Attributes:
        source: where they come from.
        rule: how they are numbered.
        info: of the video file; None of images, and of a file that cannot be decoded.
        error: why the file could not be decoded, or not further.
        damage: what of it is quarantined.
        time_base: seconds of a tick of `pts`.
        period_s: seconds between frames as the clip's event has them; None where it does not say.
        pts: timestamps of the pictures in the order of the file, damaged ones with them.
        changes: of each of these to the picture before.
        numbers: of each; None of one that has no place.
    """

    source: Literal["clip", "images", "none"] = "none"
    rule: Rule | None = None
    info: ClipInfo | None = None
    error: ClipError | None = None
    damage: list[ClipDamage] = field(default_factory=list)
    time_base: Fraction = Fraction(1, 1_000_000)
    period_s: Fraction | None = None
    pts: list[int | None] = field(default_factory=list)
    changes: list[float | None] = field(default_factory=list)
    numbers: list[int | None] = field(default_factory=list)

    def add(self, number: int | None, pts: int | None, change: float | None) -> None:
        """Note a picture of the file."""
        self.pts.append(pts)
        self.changes.append(change)
        self.numbers.append(number)


@dataclass(frozen=True, slots=True)
class _Lying:
    """Where the bytes of a clip lie, and what they must be."""

    member: str
    shard: str
    start: int
    size: int
    sha256: str


class DropPictures:
    """Reads the pictures of one drop.

    Args:
        landing: the store with the drop's shards.
        lake: with its tables CLIPS, VALIDATED_STREAMS, FRAME_INDEX, MEDIA_INDEX and MASK_CLASSES.
        drop: its identity.
    """

    def __init__(self, landing: Store, lake: Lake, drop: str) -> None:
        self._landing = landing
        self._lake = lake
        self._drop = drop
        clips = self._read(CLIPS, "stream_id", "clip", "frame_rate_hz", "mask_kind")
        self._clips = {row["stream_id"]: row for row in clips.iter_rows(named=True)}
        names = ("stream_id", "frame_number", "event_id", "frame", "clip_time_ms", "capture_ms")
        frames = self._read(VALIDATED_STREAMS, *names).sort("stream_id", "frame_number", "event_id")
        frames = frames.unique(("stream_id", "frame_number"), keep="first", maintain_order=True)
        self._logged = {str(key[0]): rows for key, rows in frames.partition_by("stream_id", as_dict=True).items()}
        self._media = self._read(MEDIA_INDEX, *MEDIA_INDEX.names)
        self._windows: dict[tuple[Content, str], dict[int, bytes]] = {}
        self._lock = Lock()

    @property
    def streams(self) -> Sequence[str]:
        """Every stream of the drop, sorted: of a clip or of stream frames."""
        return sorted(self._clips.keys() | self._logged.keys())

    def frames(self, stream: str, log: StreamLog | None = None) -> Iterator[StreamPicture]:
        """Every frame of a stream by rising number, its picture decoded when its turn comes; one is held at a time.

        What cannot be decoded comes as a status, never as an error.

        Args:
            stream: whose.
            log: filled on the way.

        Raises:
            DropError: the bytes are no longer those that were indexed.
        """
        log = log or StreamLog()
        log.period_s = self._period(stream)
        clip = self._clips.get(stream, {})
        if clip.get("clip") is not None:
            return self._clip_frames(stream, self._clip_members.get(clip["clip"]), log)
        return self._image_frames(stream, log)

    def numbers(self, content: Content, stream: str) -> Sequence[int]:
        """Which frames of a stream have a picture of some content, rising."""
        return [number for number, _, _ in self._members[content].get(stream, ())]

    def truth(self, stream: str, frame: int, *, size: tuple[int, int] | None) -> Image | None:
        """Read the truth's labels of a frame, uint8 `[height, width]`; None where it has none.

        Args:
            stream, frame: whose.
            size: height and width of the frame's picture, where there is one.

        Raises:
            FrameError: it cannot be used: "mask_size", "unknown_label" (none of the drop's mask classes), or a reason
                of `decode_labels`.
        """
        labels = self.labels("masks", stream, frame)
        if labels is None:
            return None
        if size is not None and labels.shape != size:
            raise FrameError(
                f"expected a mask of the picture's {size[1]} x {size[0]} pixels, found {labels.shape[1]} x "
                f"{labels.shape[0]}: write masks as the clip is displayed",
                reason="mask_size",
            )
        known = self._known_labels(stream)
        if known is not None and (unknown := (np.bincount(labels.ravel(), minlength=256) > 0) & ~known).any():
            raise FrameError(
                f"expected labels of the drop's mask classes, found {np.flatnonzero(unknown).tolist()[:10]} besides",
                reason="unknown_label",
            )
        return labels

    def labels(self, content: Content, stream: str, frame: int) -> Image | None:
        """Read a picture of labels, uint8 `[height, width]`; None where there is none.

        Raises `FrameError`, as `decode_labels` does.
        """
        data = self._encoded(content, stream, frame)
        return None if data is None else decode_labels(data)

    def depth(self, content: Content, stream: str, frame: int) -> NDArray[np.uint16] | None:
        """Read a picture of depth in mm, uint16 `[height, width]`; None where there is none.

        Raises `FrameError`, as `decode_depth` does.
        """
        data = self._encoded(content, stream, frame)
        return None if data is None else decode_depth(data)

    def image(self, content: Content, stream: str, frame: int) -> Image | None:
        """Read an image, uint8 `[height, width, 3]`, RGB; None where there is none.

        Raises `FrameError`, as `decode_image` does.
        """
        data = self._encoded(content, stream, frame)
        return None if data is None else _colour(decode_image(data))

    def references(self, stream: str) -> Iterator[StreamPicture]:
        """Every reference of a stream by rising number, from its reference clip where there is one, else from images.

        As `frames`; nothing comes where the stream has no references.
        """
        lying = self._reference_clips.get(stream)
        if lying is not None:
            yield from self._clip_frames(stream, lying, StreamLog())
            return
        for number in self.numbers("references", stream):
            try:
                yield StreamPicture(number, None, OK, None, self.image("references", stream, number))
            except FrameError as error:
                yield StreamPicture(number, None, error.reason, None, detail=str(error))

    @cached_property
    def ignored_labels(self) -> frozenset[int]:
        """Labels whose pixels count for nothing."""
        return frozenset(self._mask_classes.filter("is_ignored")["label"].to_list())

    @cached_property
    def background_labels(self) -> frozenset[int]:
        """Labels of pixels without an object: 0 unless it has a name, and those without one."""
        named = self._mask_classes.filter(self._mask_classes["class_name"].is_not_null())["label"].to_list()
        declared = self._mask_classes["label"].to_list()
        return frozenset({0, *declared} - {*named, *self.ignored_labels})

    @cached_property
    def _mask_classes(self) -> "pl.DataFrame":
        return self._read(MASK_CLASSES, "label", "class_name", "is_ignored")

    def _known_labels(self, stream: str) -> NDArray[np.bool_] | None:
        """Which labels the truth's masks may have; None where any may stand, as for instances."""
        if self._mask_classes.is_empty() or self._clips.get(stream, {}).get("mask_kind") == "instances":
            return None
        known = np.zeros(256, bool)
        known[[0, *self._mask_classes["label"].to_list()]] = True
        return known

    def _read(self, table: Table, *columns: str) -> "pl.DataFrame":
        return self._lake.read(table, TableKey(drop=self._drop), columns=columns)

    @cached_property
    def _clip_members(self) -> Mapping[str, _Lying]:
        return {lying.member: lying for _, lying in self._video_files("clips")}

    @cached_property
    def _reference_clips(self) -> Mapping[str, _Lying]:
        return {str(stream): lying for stream, lying in self._video_files("references")}

    def _video_files(self, content: str) -> Iterator[tuple[str | None, _Lying]]:
        import polars as pl

        columns = ("stream_id", "member", "shard", "byte_offset", "byte_count", "sha256")
        files = self._media.filter(pl.col("content") == content, pl.col("frame_number").is_null())
        for stream, *place in files.select(columns).iter_rows():
            yield stream, _Lying(*place)

    @cached_property
    def _members(self) -> Mapping[Content, Mapping[str, Sequence[tuple[int, str, int]]]]:
        """Number, member and size of the pictures, by content and stream, numbers rising."""
        import polars as pl

        found: dict[Content, dict[str, list[tuple[int, str, int]]]] = {
            "masks": {},
            "references": {},
            "depth": {},
            "results": {},
        }
        pictures = self._media.filter(pl.col("frame_number").is_not_null(), pl.col("content") != "clips")
        keys = ("content", "stream_id", "frame_number")
        pictures = pictures.sort("frame_number", "member").unique(keys, keep="first", maintain_order=True)
        for content, stream, *place in pictures.select(*keys, "member", "byte_count").iter_rows():
            found[content].setdefault(stream, []).append(tuple(place))
        return found

    @cached_property
    def _readers(self) -> Mapping[str, FrameReader]:
        groups = self._media.rename({"member": "frame"}).partition_by("content", as_dict=True)
        return {str(key[0]): FrameReader(self._landing, self._drop, rows) for key, rows in groups.items()}

    def _encoded(self, content: Content, stream: str, frame: int) -> bytes | None:
        """The bytes of a picture; those behind it are read with it, as they are mostly asked for next."""
        members = self._members[content].get(stream, ())
        start = bisect_left(members, frame, key=lambda member: member[0])
        if start == len(members) or members[start][0] != frame:
            return None
        with self._lock:
            window = self._windows.get((content, stream), {})
        if frame not in window:
            names: dict[str, int] = {}
            total = 0
            for number, member, size in members[start : start + MAX_WINDOW_PICTURES]:
                total += size
                if names and total > MAX_WINDOW_BYTES:
                    break
                names[member] = number
            window = {names[name]: data for name, data in self._readers[content].read(list(names))}
            with self._lock:
                self._windows.pop((content, stream), None)
                self._windows[content, stream] = window
                if len(self._windows) > MAX_WINDOWS:
                    del self._windows[next(iter(self._windows))]
        return window[frame]

    def _logged_frames(self, stream: str) -> LoggedFrames:
        rows = self._logged.get(stream)
        if rows is None:
            return LoggedFrames()
        seconds = (rows[name] / 1000 for name in ("clip_time_ms", "capture_ms"))
        return LoggedFrames(rows["frame_number"].to_list(), *(values.to_list() for values in seconds))

    def _period(self, stream: str) -> Fraction | None:
        rate = self._clips.get(stream, {}).get("frame_rate_hz")
        return 1 / Fraction(rate).limit_denominator(1001) if rate else None

    def _clip_frames(self, stream: str, lying: _Lying | None, log: StreamLog) -> Iterator[StreamPicture]:
        log.source = "clip"
        logged = self._logged_frames(stream)
        try:
            if lying is None:
                raise ClipError(f"drop {self._drop} has no clip of stream {stream!r}", reason="missing_clip")
            times, reader = self._open(stream, lying)
        except ClipError as error:
            log.error = error
            for number in logged.numbers:
                yield StreamPicture(number, None, error.reason, None, detail=str(error))
            return
        with reader:
            numbering = number_pictures(times, logged, period_s=log.period_s)
            log.info, log.rule, log.time_base = reader.info, numbering.rule, reader.info.time_base
            yield from _ClipWalk(times, numbering, logged, log).pictures(reader)

    def _open(self, stream: str, lying: _Lying) -> tuple[list[Fraction], ClipReader]:
        """A clip's timestamps, and its reader; its copy is gone again when they are there."""
        with tempfile.TemporaryDirectory(prefix="cvq-clip-") as folder:
            path = Path(folder) / f"{stream}{Path(lying.member).suffix[:8]}"
            self._copy(lying, path)
            return list_timestamps(path), ClipReader(path)

    def _copy(self, lying: _Lying, path: Path) -> None:
        key, digest = f"{self._drop}/{lying.shard}", hashlib.sha256()
        with path.open("wb") as file:
            for done in range(0, lying.size, _COPY_BYTES):
                size = min(_COPY_BYTES, lying.size - done)
                data = self._landing.read_range(key, start=lying.start + done, size=size)
                digest.update(data)
                file.write(data)
        if digest.hexdigest() != lying.sha256:
            raise DropError(f"{key}: {lying.member!r} has changed since it was indexed; ingest the drop again")

    def _image_frames(self, stream: str, log: StreamLog) -> Iterator[StreamPicture]:
        """The images that stream frames name, or, where none is named, the frames without one."""
        from cv_quality.drops.clip_decoder import PictureChanges

        rows = self._logged.get(stream)
        if rows is None:
            return
        names = rows["frame"].to_list()
        has_images = any(name is not None for name in names)
        log.source = "images" if has_images else "none"
        changes, place = PictureChanges(), 0
        times = _image_times(self._logged_frames(stream))
        for number, time, name, data in self._image_bytes(rows["frame_number"].to_list(), times, names):
            if data is None:
                detail = f"the drop has no image {name!r}" if name else ""
                yield StreamPicture(number, None, MISSING if has_images else NO_PICTURE, time, detail=detail)
                continue
            pts = None if time is None else round(time / log.time_base)
            try:
                image = _colour(decode_image(data))
            except FrameError as error:
                log.add(number, pts, None)
                yield StreamPicture(number, None, error.reason, time, detail=str(error))
            else:
                change = changes.to(image)
                log.add(number, pts, change)
                yield StreamPicture(number, place, OK, time, image, change)
            place += 1

    def _image_bytes(
        self, numbers: Sequence[int], times: Sequence[float | None], names: Sequence[str | None]
    ) -> Iterator[tuple[int, float | None, str | None, bytes | None]]:
        """Number, time, name and encoded image of frames, some of which are read with one request."""
        sizes, reader = self._image_sizes, self._image_reader
        start = 0
        while start < len(names):
            chunk: set[str] = set()
            end, total = start, 0
            for name in names[start : start + MAX_CHUNK_IMAGES]:
                total += sizes.get(name or "", 0)
                if end > start and total > MAX_CHUNK_BYTES:
                    break
                chunk.update({name} if name in sizes else ())  # type: ignore[arg-type]
                end += 1
            images = dict(reader.read(list(chunk)))
            for index in range(start, end):
                yield numbers[index], times[index], names[index], images.get(names[index] or "")
            start = end

    @cached_property
    def _image_sizes(self) -> Mapping[str, int]:
        return dict(self._read(FRAME_INDEX, "frame", "byte_count").iter_rows())

    @cached_property
    def _image_reader(self) -> FrameReader:
        return FrameReader(self._landing, self._drop, self._read(FRAME_INDEX, *FRAME_INDEX.names))


class _ClipWalk:
    """Gives the pictures of one clip their numbers, and the frames without one their places between them.

    Args:
        times: of the pictures that the container promises.
        numbering: their numbers.
        logged: frames that the device logged.
        log: to be filled.
    """

    def __init__(self, times: Sequence[Fraction], numbering: Numbering, logged: LoggedFrames, log: StreamLog) -> None:
        self._planned = dict(zip(times, numbering.numbers, strict=True))
        self._time_of = {number: time for time, number in self._planned.items() if number is not None}
        self._expected = sorted({*self._time_of, *numbering.holes, *logged.numbers})
        self._at = 0
        self._inside = range(min(self._time_of, default=0), max(self._time_of, default=-1) + 1)
        self._logged_s = dict(zip(logged.numbers, logged.clip_time_s, strict=True))
        self._damaged: dict[int, ClipDamage] = {}
        self._next = 0
        self._ending: tuple[str, str] | None = None
        self._log = log

    def pictures(self, reader: ClipReader) -> Iterator[StreamPicture]:
        """Every frame, then the pictures that have no place."""
        strays: list[StreamPicture] = []
        for event in self._events(reader):
            number = self._number(event)
            if number is not None:
                yield from self._absent(number)
            self._log.add(number, event.pts, event.change if isinstance(event, ClipFrame) else None)
            if number is None:
                strays.append(self._stray(event))
                continue
            self._next = number + 1
            self._at += self._at < len(self._expected) and self._expected[self._at] == number
            yield _picture(event, number)
        yield from self._absent(None)
        for stray in strays:
            yield StreamPicture(self._next, None, stray.status, stray.time_s, detail=stray.detail)
            self._next += 1

    def _events(self, reader: ClipReader) -> Iterator[ClipFrame | ClipDamage]:
        """What the reader gives that is a picture, with a note of everything else."""
        log = self._log
        try:
            for event in reader:
                if isinstance(event, ClipDamage):
                    log.damage.append(event)
                    if event.reason == TRUNCATED:
                        self._ending = event.reason, event.detail
                        continue
                    if event.index is None and event.time_s is not None:
                        self._lost_packet(event)
                        continue
                yield event
        except ClipError as error:
            log.error = error
            self._ending = error.reason, str(error)

    def _lost_packet(self, event: ClipDamage) -> None:
        """Remember the place of a picture that never came out of the decoder."""
        number = self._planned.get(event.time_s or Fraction())
        if number is not None:
            self._damaged[number] = event

    def _number(self, event: ClipFrame | ClipDamage) -> int | None:
        if not self._planned:
            return self._next
        if event.time_s is None:
            return None if self._next in self._time_of else self._next
        number = self._planned.get(event.time_s)
        return None if number is None or number < self._next else number

    def _stray(self, event: ClipFrame | ClipDamage) -> StreamPicture:
        time = None if event.time_s is None else float(event.time_s)
        if isinstance(event, ClipDamage):
            return StreamPicture(0, None, event.reason, time, detail=event.detail)
        if time is None:
            return StreamPicture(0, None, "no_timestamp", None, detail="a picture without a timestamp among others")
        if self._planned.get(event.time_s or Fraction()) is not None:
            detail = f"expected a timestamp above all before, found {time:.6f} s"
            return StreamPicture(0, None, "backward_timestamp", time, detail=detail)
        detail = f"no frame was logged within half a period of {time:.6f} s"
        return StreamPicture(0, None, "no_place", time, detail=detail)

    def _absent(self, number: int | None) -> Iterator[StreamPicture]:
        """Frames without a picture, below a number or to the end."""
        while self._at < len(self._expected) and (number is None or self._expected[self._at] < number):
            absent = self._expected[self._at]
            self._at += 1
            self._next = max(self._next, absent + 1)
            status, detail = self._why(absent, is_at_end=number is None)
            if absent in self._damaged:
                self._log.add(absent, self._damaged[absent].pts, None)
            time = self._time_of.get(absent)
            yield StreamPicture(
                absent, None, status, self._logged_s.get(absent) if time is None else float(time), detail=detail
            )

    def _why(self, number: int, *, is_at_end: bool) -> tuple[str, str]:
        if number in self._damaged:
            return self._damaged[number].reason, self._damaged[number].detail
        if is_at_end and self._ending is not None:
            return self._ending
        return (DROPPED if number in self._inside else MISSING), ""


def _picture(event: ClipFrame | ClipDamage, number: int) -> StreamPicture:
    time = None if event.time_s is None else float(event.time_s)
    if isinstance(event, ClipDamage):
        return StreamPicture(number, None, event.reason, time, detail=event.detail)
    return StreamPicture(number, event.index, OK, time, event.image, event.change)


def _image_times(logged: LoggedFrames) -> Sequence[float | None]:
    """Timestamps of images: those within the clip, else when they were captured, counted from the first."""
    if any(time is not None for time in logged.clip_time_s):
        return logged.clip_time_s
    first = next((time for time in logged.capture_s if time is not None), 0.0)
    return [None if time is None else time - first for time in logged.capture_s]


def _colour(image: Image) -> Image:
    return image if image.ndim == 3 else image[..., None].repeat(3, axis=2)
