"""The pictures of a drop's streams, one at a time and in order, and those of their ground truth by number.

Every stage of the task reads pictures here, so that a frame's number means one picture to all of them; which number a
picture has is decided in `cv_quality.tasks.video.numbering`. Video is decoded in `cv_quality.drops.clips`, images in
`cv_quality.drops.images`.
"""

import hashlib
import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.clips import ClipReader
from cv_quality.drops.frames import FrameReader
from cv_quality.drops.images import decode_depth, decode_image, decode_labels
from cv_quality.drops.tables import CLIPS, FRAME_INDEX, MASK_CLASSES, MEDIA_INDEX, VALIDATED_STREAMS
from cv_quality.errors import ClipError, DropError, FrameError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store
from cv_quality.metrics.video.masks import label_counts
from cv_quality.tasks.video.clip_walk import MISSING, NO_PICTURE, OK, ClipWalk, Image, StreamLog, StreamPicture
from cv_quality.tasks.video.numbering import LoggedFrames, number_pictures

if TYPE_CHECKING:
    import polars as pl

Content = Literal["masks", "references", "depth", "results"]
MAX_WINDOW_BYTES, MAX_WINDOW_PICTURES = 1 << 20, 32
"""Pictures that are read ahead with the one asked for; one may be larger."""
MAX_WINDOWS = 16
MAX_CHUNK_BYTES, MAX_CHUNK_IMAGES = 16 << 20, 16
"""Encoded images of a stream that are read at once; one may be larger."""
_COPY_BYTES = 8 << 20


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
        if known is not None and (unknown := (label_counts(labels) > 0) & ~known).any():
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
            reader = self._open(stream, lying)
        except ClipError as error:
            log.error = error
            for number in logged.numbers:
                yield StreamPicture(number, None, error.reason, None, detail=str(error))
            return
        with reader:
            numbering = number_pictures(reader.times.seconds, logged, period_s=log.period_s)
            log.info, log.rule, log.time_base = reader.info, numbering.rule, reader.info.time_base
            yield from ClipWalk(reader.times, numbering, logged, log).pictures(reader)

    def _open(self, stream: str, lying: _Lying) -> ClipReader:
        """Begin to read a clip; its copy is gone again when that has begun."""
        with tempfile.TemporaryDirectory(prefix="cvq-clip-") as folder:
            path = Path(folder) / f"{stream}{Path(lying.member).suffix[:8]}"
            self._copy(lying, path)
            return ClipReader(path)

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


def _image_times(logged: LoggedFrames) -> Sequence[float | None]:
    """Timestamps of images: those within the clip, else when they were captured, counted from the first."""
    if any(time is not None for time in logged.clip_time_s):
        return logged.clip_time_s
    first = next((time for time in logged.capture_s if time is not None), 0.0)
    return [None if time is None else time - first for time in logged.capture_s]


def _colour(image: Image) -> Image:
    return image if image.ndim == 3 else image[..., None].repeat(3, axis=2)
