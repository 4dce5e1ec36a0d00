"""The stage that reads a drop's pictures once: what each clip dropped, repeated and froze, and what its frames show.

It writes the tables `clip_files`, `clip_spans` and `clip_frames`. Pictures come from `cv_quality.tasks.video.pictures`,
what is measured of one is in `picture_measures`, and what the gate asks in `clip_rules`.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cv_quality.drops.tables import BOXES
from cv_quality.drops.tablewriter import TableWriter
from cv_quality.errors import FrameError
from cv_quality.freshness import StageContext
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.store import Store
from cv_quality.metrics.video.clip_timing import ClipTiming, clip_timing, repeated_pictures
from cv_quality.tasks.video.clip_walk import DROPPED, MISSING, NO_PICTURE, OK, StreamLog, StreamPicture
from cv_quality.tasks.video.modality import MEASURED
from cv_quality.tasks.video.picture_measures import Box, PictureMeter, TruthObjects, box_objects, mask_objects
from cv_quality.tasks.video.pictures import DropPictures
from cv_quality.tasks.video.tables import CLIP_FILES, CLIP_FRAMES, CLIP_SPANS

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

BAD_TRUTH = "mask_"
"""What the code of a span begins with whose truth, not whose picture, cannot be used."""
_ABSENT = frozenset({NO_PICTURE, MISSING, DROPPED})
_COLUMNS = {item.name: item.column for item in MEASURED}
Row = dict[str, object]


@dataclass(frozen=True, slots=True)
class ClipSummary:
    """What reading a drop's pictures gave.

    Attributes:
        streams: of the drop.
        frames: rows written, with and without a picture.
        pictures: decoded.
        quarantined: pictures that are not to be trusted.
        missing: frames without a picture.
        bad_truth: masks that cannot be used.
        dropped, repeated, frozen: pictures of clips.
    """

    streams: int
    frames: int
    pictures: int
    quarantined: int
    missing: int
    bad_truth: int
    dropped: int
    repeated: int
    frozen: int


def read_clips(context: StageContext) -> ClipSummary:
    """Read every picture of a drop."""
    landing = context.workspace.landing
    return read_drop_clips(context.lake, landing=landing, drop=context.drop, threads=context.threads)


def read_drop_clips(lake: Lake, *, landing: Store, drop: str, threads: int = 2) -> ClipSummary:
    """Read every picture of a drop, measure it, and write what its clips are.

    Args:
        lake: with the drop's events and indices.
        landing: where its shards lie.
        drop: its identity.
        threads: streams that are read at a time, one picture of each in memory.
    """
    import pyarrow as pa

    pictures, boxes = DropPictures(landing, lake, drop), _truth_boxes(lake, drop)
    files: list[Row] = []
    with ExitStack() as stack:
        tables, key = (CLIP_FILES, CLIP_SPANS, CLIP_FRAMES), TableKey(drop=drop)
        of_files, of_spans, of_frames = writers = [
            TableWriter(table, stack.enter_context(lake.writing(table, key))) for table in tables
        ]
        pool = stack.enter_context(ThreadPoolExecutor(threads, thread_name_prefix="clips"))
        for read in pool.map(lambda stream: _read_stream(pictures, stream, boxes.get(stream)), pictures.streams):
            of_drop: Row = {"drop_id": drop, "stream_id": read.file["stream_id"]}
            files.append(of_drop | read.file)
            of_files.add(pa.Table.from_pylist(files[-1:], schema=of_files.schema))
            spans = [of_drop | span for span in read.spans]
            of_spans.add(pa.Table.from_pylist(spans, schema=of_spans.schema))
            of_frames.add(read.frames.table(of_drop, repeated=read.repeated))
        for writer in writers:
            writer.close()
    return _summary(files, n_rows=of_frames.n_rows)


def _summary(files: Sequence[Row], *, n_rows: int) -> ClipSummary:
    def total(name: str) -> int:
        return sum(int(str(row[name])) for row in files)

    return ClipSummary(
        streams=len(files),
        frames=n_rows,
        pictures=total("n_frames"),
        quarantined=total("n_quarantined"),
        missing=total("n_missing"),
        bad_truth=total("n_bad_truth"),
        dropped=total("n_dropped"),
        repeated=total("n_repeated"),
        frozen=total("n_frozen"),
    )


@dataclass(frozen=True, slots=True)
class _StreamRead:
    """One stream's rows, without the columns that name it."""

    file: Row
    spans: Sequence[Row]
    frames: "_FrameRows"
    repeated: frozenset[int]


@dataclass(slots=True)
class _FrameRows:
    """Rows of frames, in columns of machine numbers: a long clip's stay small."""

    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[float]" = field(default_factory=lambda: array("d"))
    statuses: list[str] = field(default_factory=list)
    measured: "Mapping[str, array[float]]" = field(default_factory=lambda: {name: array("d") for name in _COLUMNS})

    def add(self, picture: StreamPicture, measured: Mapping[str, float]) -> None:
        self.numbers.append(picture.frame_number)
        self.places.append(-1 if picture.place is None else picture.place)
        self.times.append(np.nan if picture.time_s is None else picture.time_s)
        self.statuses.append(picture.status)
        for name, values in self.measured.items():
            values.append(measured.get(name, np.nan))

    def table(self, of_drop: Row, *, repeated: frozenset[int]) -> "pa.Table":
        """The rows as `CLIP_FRAMES` has them."""
        import pyarrow as pa

        numbers, n_rows = np.asarray(self.numbers), len(self.numbers)
        columns = {name: pa.repeat(str(value), n_rows) for name, value in of_drop.items()}
        places, is_repeated = np.asarray(self.places), np.isin(numbers, np.fromiter(repeated, np.int64))
        columns |= {
            "frame_number": pa.array(numbers),
            "picture": pa.array(places, mask=places < 0),
            "time_s": _nullable(self.times),
            "status": pa.array(self.statuses, pa.string()),
            "is_repeated": pa.array(is_repeated),
        }
        for name, column in _COLUMNS.items():
            columns[name] = _nullable(self.measured[name]).cast(column.arrow_type)
        return pa.table([columns[name] for name in CLIP_FRAMES.names], schema=CLIP_FRAMES.arrow_schema)


def _nullable(values: "array[float]") -> "pa.Array":
    """Numbers with null for NaN."""
    import pyarrow as pa

    numbers = np.asarray(values)
    return pa.array(numbers, mask=np.isnan(numbers))


def _read_stream(pictures: DropPictures, stream: str, boxes: "pl.DataFrame | None") -> _StreamRead:
    log, rows, truth = StreamLog(), _FrameRows(), _Truth(pictures, stream, boxes)
    meter, spans, bad_truth = PictureMeter(), _Spans(), _Spans()
    size: tuple[int, int] | None = None
    for picture in pictures.frames(stream, log):
        number = picture.frame_number
        if picture.image is not None:
            size = picture.image.shape[0], picture.image.shape[1]
        objects, problem = truth.of(number, size=size)
        measured = meter.measure(picture.image, number, objects) if picture.image is not None else {}
        rows.add(picture, measured | (objects.measured if objects else {}))
        spans.note_picture(picture)
        bad_truth.note(number, picture.time_s, "quarantined" if problem else None, *(problem or ("", "")))
    for number in sorted(set(truth.mask_numbers).difference(rows.numbers)):
        bad_truth.note(number, None, "quarantined", f"{BAD_TRUTH}without_frame", "a mask of a frame that is not there")
    timing = clip_timing(log.pts, log.changes, time_base=log.time_base, period_s=log.period_s)
    spans.end()
    spans.add_damage(log)
    spans.add_timing(log, timing)
    bad_truth.end()
    repeats = (
        number for number, is_repeat in zip(log.numbers, repeated_pictures(log.changes), strict=True) if is_repeat
    )
    file = _file_row(stream, log, timing, size) | _counts(rows.statuses, spans, bad_truth)
    repeated = frozenset(number for number in repeats if number is not None)
    return _StreamRead(file, [*spans.rows, *bad_truth.rows], rows, repeated)


def _file_row(stream: str, log: StreamLog, timing: ClipTiming, size: tuple[int, int] | None) -> Row:
    info, status, reason = log.info, OK, timing.reason
    if log.error is not None:
        status, reason = (OK if info else log.error.reason), str(log.error)
    elif log.source == "none":
        status, reason = "no_pictures", None
    height, width = (info.height_px, info.width_px) if info else (size or (None, None))
    return {
        "stream_id": stream,
        "status": status,
        "codec": info.codec if info else ("images" if log.source == "images" else None),
        "width_px": width,
        "height_px": height,
        "rotation_deg": info.rotation_deg if info else None,
        "numbered_by": log.rule,
        "n_untimed": timing.untimed,
        "n_backward": timing.backward,
        "n_off_grid": timing.off_grid,
        "n_repeated": timing.repeats,
        "n_frozen": timing.frozen,
        "n_freezes": len(timing.freezes),
        "frozen_s": float(sum(span.duration_s for span in timing.freezes)),
        "rate_hz": timing.rate_hz,
        "rate_drift": timing.drift,
        "reason": reason,
    }


def _counts(statuses: Sequence[str], spans: "_Spans", bad_truth: "_Spans") -> Row:
    n_ok, n_missing = statuses.count(OK), sum(status in _ABSENT for status in statuses)
    return {
        "n_frames": n_ok,
        "n_missing": n_missing,
        "n_quarantined": len(statuses) - n_ok - n_missing,
        "n_bad_truth": bad_truth.total("quarantined"),
        "n_dropped": spans.total("dropped") - spans.total("dropped", MISSING),
    }


class _Spans:
    """Spans of one stream, put together from frames in a row with one thing the matter."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._open: Row | None = None
        self._before: float | None = None

    def total(self, kind: str, code: str | None = None) -> int:
        """Frames of a kind, or of a code, in all."""
        found = (row for row in self.rows if row["kind"] == kind and code in (None, row["code"]))
        return sum(int(str(row["n_frames"])) for row in found)

    def note_picture(self, picture: StreamPicture) -> None:
        """Note the next frame of the stream."""
        status, time = picture.status, picture.time_s
        if status == DROPPED:
            self.note(picture.frame_number, time, "dropped", None, "timestamps leave these frames out")
        elif status == MISSING:
            self.note(picture.frame_number, time, "dropped", MISSING, picture.detail or "the frames have no picture")
        elif status in _ABSENT or status == OK:
            self.note(picture.frame_number, time, None)
        else:
            self.note(picture.frame_number, time, "quarantined", status, picture.detail)

    def note(
        self, number: int, time: float | None, kind: str | None, code: str | None = None, detail: str = ""
    ) -> None:
        """Note the next frame: it belongs to the span before, begins another, or nothing is the matter.

        Args:
            number, time: of the frame.
            kind: of the span; None where nothing is the matter.
            code, detail: of the span; the detail is that of its first frame.
        """
        last = self._open
        if last is not None and (last["kind"], last["code"]) == (kind, code):
            last["n_frames"] = int(str(last["n_frames"])) + 1
            last["end_s"] = time if time is not None else last["end_s"]
        else:
            self._close(time)
            if kind is not None:
                start = time if time is not None else self._before
                self._open = _span(kind, code, number, 1, detail, start_s=start, end_s=time)
        self._before = time if time is not None else self._before

    def end(self) -> None:
        """Note that the stream has no more frames."""
        self._close(None)

    def _close(self, time: float | None) -> None:
        """End the span at hand; one of dropped frames, which have no timestamp, lasts until the next picture."""
        if self._open is not None:
            if self._open["kind"] == "dropped" and time is not None:
                self._open["end_s"] = time
            self.rows.append(self._open)
        self._open = None

    def add_damage(self, log: StreamLog) -> None:
        """Add what is damaged and no frame: the end of a file, or all of one that nothing was logged of."""
        known = {row["code"] for row in self.rows}
        for damage in log.damage:
            if damage.reason not in known:
                known.add(damage.reason)
                time = None if damage.time_s is None else float(damage.time_s)
                self.rows.append(_span("quarantined", damage.reason, None, 0, damage.detail, start_s=time))
        if log.error is not None and log.error.reason not in known:
            self.rows.append(_span("quarantined", log.error.reason, None, 0, str(log.error)))

    def add_timing(self, log: StreamLog, timing: ClipTiming) -> None:
        """Add frozen spans, and gaps between timestamps that no frame stands for."""
        if log.rule != "constant rate":
            self.rows.extend(self._unseen_gaps(log, timing))
        for freeze in timing.freezes:
            detail = f"one picture for {float(freeze.duration_s):.3f} s"
            times = {"start_s": float(freeze.start_s), "end_s": float(freeze.end_s)}
            self.rows.append(_span("frozen", None, log.numbers[freeze.first], freeze.repeats, detail, **times))

    def _unseen_gaps(self, log: StreamLog, timing: ClipTiming) -> Iterator[Row]:
        seen = sorted(int(str(row["first_frame"])) for row in self.rows if row["kind"] == "dropped")
        for gap in timing.gaps:
            before = log.numbers[gap.after]
            after = next((number for number in log.numbers[gap.after + 1 :] if number is not None), None)
            if before is not None and after is not None:
                place = bisect_left(seen, before)
                if place < len(seen) and seen[place] < after:
                    continue
            detail = f"timestamps leave out {gap.dropped} pictures that were not logged either"
            times = {"start_s": float(gap.start_s), "end_s": float(gap.end_s)}
            yield _span("dropped", None, before, gap.dropped, detail, **times)


def _span(
    kind: str,
    code: str | None,
    first_frame: int | None,
    n_frames: int,
    detail: str,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
) -> Row:
    """A row of `CLIP_SPANS`; arguments are its columns."""
    return {
        "kind": kind,
        "code": code,
        "first_frame": first_frame,
        "n_frames": n_frames,
        "start_s": start_s,
        "end_s": end_s,
        "detail": detail,
    }


class _Truth:
    """The objects of one stream's frames, from its masks, or from its boxes where it has no masks."""

    def __init__(self, pictures: DropPictures, stream: str, boxes: "pl.DataFrame | None") -> None:
        self._pictures = pictures
        self._stream = stream
        self.mask_numbers = pictures.numbers("masks", stream)
        self._masked = frozenset(self.mask_numbers)
        self._no_objects = pictures.background_labels | pictures.ignored_labels
        self._boxes: dict[int, list[Box]] | None = None
        if boxes is not None:
            self._boxes = {}
            for number, *box, is_ignored in boxes.iter_rows():
                self._boxes.setdefault(number, []).extend([] if is_ignored else [(box[0], box[1], box[2], box[3])])

    def of(self, number: int, *, size: tuple[int, int] | None) -> tuple[TruthObjects | None, tuple[str, str] | None]:
        """The objects of a frame, and the code and detail of what is the matter with its mask."""
        if number in self._masked:
            try:
                labels = self._pictures.truth(self._stream, number, size=size)
            except FrameError as error:
                return None, (f"{BAD_TRUTH}{error.reason.removeprefix(BAD_TRUTH)}", str(error))
            return (None if labels is None else mask_objects(labels, no_objects=self._no_objects)), None
        if self._masked or self._boxes is None:
            return None, None
        return box_objects(self._boxes.get(number, ()), size=size), None


def _truth_boxes(lake: Lake, drop: str) -> "Mapping[str, pl.DataFrame]":
    """The truth's boxes by stream: frame, left, top, width, height, and whether they are to be ignored."""
    import polars as pl

    columns = ("stream_id", "frame_number", "left_px", "top_px", "width_px", "height_px", "is_ignored")
    rows = lake.read(BOXES, TableKey(drop=drop), columns=(*columns, "source")).filter(pl.col("source") == "truth")
    groups = rows.select(columns).partition_by("stream_id", as_dict=True, include_key=False)
    return {str(key[0]): boxes for key, boxes in groups.items()}
