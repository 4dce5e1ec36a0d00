"""Writes a folder of clips that was understood, `VideoFolder`, as one drop: a stream for each clip.

Videos and pictures stay byte for byte what they were, truth and what a device made alike. Frames are numbered from 0 in
the drop, whatever names count from; masks and boxes are moved with them. What a layout means is told in
`cv_quality.drops.importers.video_folders`.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.clips import ClipReader
from cv_quality.drops.importers.folders import some
from cv_quality.drops.importers.video_folders import VideoClip, VideoFolder
from cv_quality.drops.importers.video_frames import Labels, PictureFile, require_same_base
from cv_quality.drops.importers.video_logs import read_frame_log
from cv_quality.drops.importers.video_recorded import Points, read_points, recorded_pictures
from cv_quality.drops.importers.video_tracks import MOT_CLASSES, BoxTable, read_boxes
from cv_quality.drops.writer import DropWriter, Scalar
from cv_quality.errors import ClipError, LayoutError
from cv_quality.lake.schema import NOT_IN_IDENTIFIER
from cv_quality.lake.store import Store
from cv_quality.modality import Modality

MaskKind = Literal["classes", "instances"]
DEVICE: Final = "import"
UNKNOWN_DATE: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""When clips were taken; events follow one another by a millisecond."""
ASSUMED_RATE_HZ: Final = 30.0
"""Of pictures whose rate nobody says: it sets their deadlines, and no latency is measured against them."""
CDNET_LABELS: Final[Mapping[int, str | None]] = {50: None, 255: "moving"}
CDNET_IGNORED: Final = (85, 170)
CDNET_OUTSIDE: Final = 85
VOID: Final = 255
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class VideoImport:
    """How a folder becomes a drop.

    Attributes:
        build_id: the build that the drop is for.
        site: where clips were taken.
        drop_id: by default `<date>_<build_id>_<site>`.
        frame_rate_hz: of every clip; by default what seqinfo.ini says, or a video's own.
        mask_kind: what a label of masks is; by default objects for DAVIS with several labels, else classes.
        classes: names of labels.
        ignored: labels whose pixels count for nothing; None where it was not said.
        first_number: of the first frame of a video in the names of its masks; told where it can be.
        has_image_consent: whether reports may show pictures of the clips.
    """

    build_id: str
    site: str
    drop_id: str | None = None
    frame_rate_hz: float | None = None
    mask_kind: MaskKind | None = None
    classes: Mapping[int, str] = field(default_factory=dict)
    ignored: tuple[int, ...] | None = None
    first_number: int | None = None
    has_image_consent: bool = False


@dataclass(frozen=True, slots=True)
class ImportedVideo:
    """What an import wrote.

    Attributes:
        drop_id: None where nothing was to be written.
        events: by kind.
        media: members by content.
        notes: what was understood.
        warnings: what was left out, or will be quarantined.
    """

    drop_id: str | None
    events: Mapping[str, int]
    media: Mapping[str, int]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Stream:
    """One clip as the drop has it; `base` is the number that frame 0 has in names, for boxes `box_base`.

    `rate_hz` is None where a video's own counts; `period_ms` is the deadline of a frame that has no other.
    """

    clip: VideoClip
    stream_id: str
    rate_hz: float | None
    period_ms: float
    base: int
    box_base: int
    masks: Mapping[int, PictureFile]
    recorded: Mapping[str, Mapping[int, PictureFile]]
    boxes: BoxTable | None
    detections: BoxTable | None
    points: tuple[Points, ...]
    log: Mapping[int, Mapping[str, Scalar]] | None


def import_video(
    folder: VideoFolder,
    wanted: VideoImport,
    *,
    landing: Store | None,
    modality: Modality,
    progress: Progress = lambda *_: None,
) -> ImportedVideo:
    """Write a folder that was understood as one drop.

    Args:
        folder: as understood.
        wanted: how.
        landing: where drops arrive; None checks and writes nothing.
        modality: that of video.
        progress: told before each clip.

    Raises:
        LayoutError: numbers of masks and pictures do not fit, a label's meaning is not clear, a log is malformed.
        DropError: a manifest cannot be.
        StoreError: something cannot be written.
    """
    notes: list[str] = []
    warnings: list[str] = []
    streams = [_stream(clip, name, wanted, modality, notes, warnings) for name, clip in _named(folder.clips, notes)]
    labels = _count_labels(streams, warnings)
    kind = wanted.mask_kind or _mask_kind(folder, labels)
    classes = _mask_classes(folder, labels, wanted)
    if labels:
        notes.append(f"labels of masks are {kind}: {', '.join(_label_words(*item) for item in classes)}")
    counts: dict[str, int] = {}
    media: dict[str, int] = {}
    place = re.sub(NOT_IN_IDENTIFIER, "-", wanted.site) or "import"
    drop_id = wanted.drop_id or f"{UNKNOWN_DATE:%Y-%m-%d}_{wanted.build_id}_{place}"
    if landing is None:
        return ImportedVideo(None, counts, media, tuple(notes), tuple(warnings))
    writer = DropWriter(
        landing,
        modality=modality,
        drop_id=drop_id,
        build_id=wanted.build_id,
        site=place,
        protocol="streams",
        captured_from=UNKNOWN_DATE,
        captured_until=UNKNOWN_DATE + timedelta(days=1),
    )
    with writer as drop:
        out = _Drop(drop, counts, media)
        out.event("device", device_id=DEVICE, device_model=DEVICE)
        for label, name, is_ignored in classes:
            out.event("mask_class", label=label, class_name=name, is_ignored=is_ignored)
        for place_of, stream in enumerate(streams):
            progress(stream.clip.name, place_of, len(streams))
            _write(out, stream, kind=kind if stream.masks else None, wanted=wanted)
    return ImportedVideo(drop_id, counts, media, tuple(notes), tuple(warnings))


@dataclass(slots=True)
class _Drop:
    """A drop that is being written, with its counts."""

    writer: DropWriter
    events: dict[str, int]
    media: dict[str, int]

    def event(self, kind: str, **fields: Scalar) -> None:
        number = self.events.get(kind, 0)
        self.events[kind] = number + 1
        # A day holds 86 million milliseconds: more than frames of a folder.
        at = UNKNOWN_DATE + timedelta(milliseconds=number)
        self.writer.add_event(kind, event_id=f"{kind}-{number:07d}", occurred_at=at, **fields)

    def add(self, content: str, name: str, data: bytes) -> None:
        self.media[content] = self.media.get(content, 0) + 1
        if content == "frames":
            self.writer.add_frame(name, data)
        else:
            self.writer.add_media(content, name, data)


def _named(clips: Sequence[VideoClip], notes: list[str]) -> Iterator[tuple[str, VideoClip]]:
    """Every clip with the identity of its stream, unlike that of every other whatever the case."""
    seen: set[str] = set()
    renamed: list[str] = []
    for clip in clips:
        plain = re.sub(NOT_IN_IDENTIFIER, "-", clip.name)[:120] or "clip"
        name, n = plain, 1
        while name.casefold() in seen:
            n += 1
            name = f"{plain}-{n}"
        seen.add(name.casefold())
        if name != clip.name:
            renamed.append(f"{clip.name} as {name}")
        yield name, clip
    if renamed:
        notes.append(f"clips under other names: {some(renamed)}")


def _stream(
    clip: VideoClip, stream_id: str, wanted: VideoImport, modality: Modality, notes: list[str], warnings: list[str]
) -> _Stream:
    rate = wanted.frame_rate_hz or (clip.info.frame_rate_hz if clip.info else None)
    if rate is None and clip.video is None:
        rate = ASSUMED_RATE_HZ
        notes.append(f"{clip.name}: nobody says its rate, {rate:g} frames/s are assumed; --frame-rate says another")
    boxes = None if clip.boxes is None else _sound_boxes(clip.boxes, warnings)
    detections = None if clip.detections is None else _sound_boxes(clip.detections, warnings)
    if detections is not None:
        alone = "; those without a track are objects of one frame each" if (detections.track < 0).any() else ""
        notes.append(f"{clip.name}: boxes of {clip.detections} are taken for what the device found{alone}")
    base = _base(clip, wanted.first_number, notes, warnings)
    log = None if clip.log is None else _log(clip, clip.log, base, modality, notes, warnings)
    period_ms = 1000 / (rate or (_declared_rate(clip.video) if clip.video and log else None) or ASSUMED_RATE_HZ)
    box_base = 1
    numbers = [int(table.frame.min()) for table in (boxes, detections) if table is not None and len(table)]
    if numbers:
        box_base = clip.pictures.first if clip.pictures else min(1, *numbers)
    return _Stream(
        clip,
        stream_id,
        rate_hz=rate,
        period_ms=period_ms,
        base=base,
        box_base=box_base,
        masks=_masks(clip, base, notes, warnings),
        recorded=recorded_pictures(clip, base, warnings),
        boxes=boxes,
        detections=detections,
        points=() if clip.landmarks is None else read_points(clip.landmarks),
        log=log,
    )


def _log(
    clip: VideoClip, path: Path, base: int, modality: Modality, notes: list[str], warnings: list[str]
) -> Mapping[int, Mapping[str, Scalar]]:
    """The rows of a clip's log by frame number of the drop."""
    log = read_frame_log(path, modality=modality)
    notes.extend(f"{path}: {note}" for note in log.notes)
    if log.unread:
        notes.append(f"{path}: columns that are no field are not taken: {some(log.unread)}")
    if clip.pictures is None:
        return log.rows
    require_same_base(sorted(log.rows), list(clip.pictures.files), clip=clip.name, sides=("log", "pictures"))
    rows = {number - base: row for number, row in log.rows.items()}
    if n_before := sum(number < 0 for number in rows):
        warnings.append(f"{path}: {n_before:,} rows are of frames before the first picture and are left out")
    return {number: row for number, row in rows.items() if number >= 0}


def _declared_rate(video: Path) -> float | None:
    try:
        with ClipReader(video) as reader:
            rate = reader.info.declared_rate_hz
    except ClipError:
        return None
    return float(rate) if rate else None


def _sound_boxes(path: Path, warnings: list[str]) -> BoxTable:
    """Read boxes without those of no area; tracks twice in a frame stay, to be quarantined."""
    table = read_boxes(path)
    has_area = (table.boxes[:, 2:] > 0).all(axis=1)
    if n_out := int((~has_area).sum()):
        warnings.append(f"{path}: {n_out:,} boxes without area are left out")
    places = np.column_stack([table.frame, table.track])[has_area & (table.track >= 0)]
    if n_again := len(places) - len(np.unique(places, axis=0)):
        warnings.append(f"{path}: {n_again:,} boxes are of a track twice in a frame and will be quarantined")
    return BoxTable(
        table.frame[has_area],
        table.track[has_area],
        table.boxes[has_area],
        table.confidence[has_area],
        table.class_number[has_area],
        table.n_columns,
    )


def _base(clip: VideoClip, wanted: int | None, notes: list[str], warnings: list[str]) -> int:
    """The number that the first frame has in the names of pictures and masks."""
    if clip.pictures is not None:
        if clip.masks is not None and wanted is None:
            require_same_base(
                list(clip.masks.files), list(clip.pictures.files), clip=clip.name, sides=("masks", "pictures")
            )
        if clip.pictures.holes:
            warnings.append(f"{clip.name}: {len(clip.pictures.holes):,} numbers have no picture")
        return clip.pictures.first
    what, frames = next(iter(clip.numbered.items()), ("", None))
    if clip.video is None or frames is None:
        return wanted if wanted is not None else (frames.first if frames else 0)
    if wanted is not None:
        return wanted
    n_frames = _n_frames(clip.video, warnings)
    if frames.first == 0:
        return 0
    if frames.first == 1 and (n_frames is None or frames.last == n_frames):
        notes.append(f"{clip.name}: {what} count from 1")
        return 1
    raise LayoutError(
        f"{clip.name}: expected {what} that count from the first frame of {clip.video.name}, found {frames.first} "
        f"to {frames.last} for {n_frames} frames: --first-number says what the first frame is called"
    )


def _n_frames(video: Path, warnings: list[str]) -> int | None:
    """Pictures that the container promises; None of a clip that cannot be read, which the drop keeps all the same."""
    try:
        with ClipReader(video) as reader:
            return len(reader.times.pts) or None
    except ClipError as error:
        warnings.append(f"{video.name}: {error.reason}: {error}; it is written as it is and will be quarantined")
        return None


def _masks(clip: VideoClip, base: int, notes: list[str], warnings: list[str]) -> Mapping[int, PictureFile]:
    """Masks by frame number of the drop."""
    if clip.masks is None:
        return {}
    first, last = clip.span or (clip.masks.first, clip.masks.last)
    found = {number - base: file for number, file in clip.masks.files.items() if first <= number <= last}
    if n_out := len(clip.masks) - len(found):
        notes.append(f"{clip.name}: {n_out:,} masks outside of temporalROI.txt, {first} to {last}, are not taken")
    if negative := [number for number in found if number < 0]:
        warnings.append(f"{clip.name}: {len(negative):,} masks of frames before the first picture are left out")
    if clip.pictures is not None:
        n_alone = sum(number not in clip.pictures.files for number in clip.masks.files)
        if n_alone:
            warnings.append(f"{clip.name}: {n_alone:,} masks are of frames without a picture")
    return {number: file for number, file in found.items() if number >= 0}


def _count_labels(streams: Sequence[_Stream], warnings: list[str]) -> dict[int, int]:
    """Pixels of each label over all masks; what cannot be decoded is said, and quarantined later."""
    counts = np.zeros(256, np.int64)
    broken: list[str] = []
    for stream in streams:
        for file in stream.masks.values():
            try:
                found = np.bincount(file.labels().ravel(), minlength=256)
            except LayoutError as error:
                broken.append(str(error))
                continue
            counts[: len(found)] += found
    if broken:
        warnings.append(f"{len(broken):,} masks cannot be read and will be quarantined: {broken[0]}")
    return {int(label): int(counts[label]) for label in np.flatnonzero(counts)}


def _mask_kind(folder: VideoFolder, labels: Mapping[int, int]) -> MaskKind:
    return "instances" if folder.layout == "davis" and len(labels.keys() - {0}) > 1 else "classes"


def _mask_classes(
    folder: VideoFolder, labels: Mapping[int, int], wanted: VideoImport
) -> list[tuple[int, str | None, bool]]:
    """Every label with its name, None for background, and whether it is ignored."""
    is_cdnet = folder.layout == "cdnet"
    ignored = set(wanted.ignored if wanted.ignored is not None else CDNET_IGNORED if is_cdnet else ())
    objects = labels.keys() - {0} - ignored
    if VOID in objects and len(objects) > 1 and not is_cdnet and wanted.ignored is None and VOID not in wanted.classes:
        raise LayoutError(
            f"{folder.path}: expected to know what label 255 is beside {len(objects) - 1} others: --ignore 255 where "
            "it means that nothing counts, --classes NAME=255 where it is a class"
        )

    def name(label: int) -> str | None:
        if label in wanted.classes:
            return wanted.classes[label]
        if label == 0 or label in ignored:
            return None
        if is_cdnet and label in CDNET_LABELS:
            return CDNET_LABELS[label]
        return "object" if len(objects) == 1 else f"label-{label}"

    known = labels.keys() | wanted.classes.keys() | (ignored if labels else set())
    return [(label, name(label), label in ignored) for label in sorted(known)]


def _label_words(label: int, name: str | None, is_ignored: bool) -> str:
    return f"{label} {'ignored' if is_ignored else name or 'background'}"


def _write(out: _Drop, stream: _Stream, *, kind: MaskKind | None, wanted: VideoImport) -> None:
    clip, name = stream.clip, stream.stream_id
    member = None
    if clip.video is not None:
        member = f"{name}{clip.video.suffix.lower() or '.mp4'}"
        out.add("clips", member, clip.video.read_bytes())
    out.event(
        "clip",
        stream_id=name,
        device_id=DEVICE,
        clip=member,
        scene=clip.name,
        frame_rate_hz=stream.rate_hz,
        mask_kind=kind,
        has_image_consent=wanted.has_image_consent,
    )
    _write_frames(out, stream)
    outside = None if clip.region is None else _outside(clip.region)
    for number, file in stream.masks.items():
        out.add("masks", f"{name}/{number:06d}.png", _mask_bytes(file, outside))
    for content, files in stream.recorded.items():
        for number, file in files.items():
            data = file.read()
            if data.startswith(_JPEG):
                out.add(content, f"{name}/{number:06d}.jpg", data)
            else:
                out.add(content, f"{name}/{number:06d}.png", _mask_bytes(file, None))
    for source, table in (("truth", stream.boxes), ("device", stream.detections)):
        if table is not None:
            _write_boxes(out, stream, table, source=source)
    for points in stream.points:
        if points.frame >= stream.base:
            out.event(
                "landmarks",
                stream_id=name,
                frame_number=points.frame - stream.base,
                source=points.source,
                points_px=points.points_px,
                interocular_px=points.interocular_px,
            )


def _write_frames(out: _Drop, stream: _Stream) -> None:
    """A stream frame for every picture and every row of the log."""
    pictures = stream.clip.pictures
    logged = stream.log or {}
    files = {} if pictures is None else {number - stream.base: file for number, file in pictures.files.items()}
    for number in sorted(files.keys() | logged.keys()):
        frame = None
        if number in files:
            frame = f"{stream.stream_id}/{number:06d}{Path(files[number].name).suffix.lower()}"
            out.add("frames", frame, files[number].read())
        fields: dict[str, Scalar] = {"is_dropped": False, "deadline_ms": stream.period_ms}
        if pictures is not None and stream.rate_hz:
            fields["clip_time_ms"] = 1000 * number / stream.rate_hz
        out.event(
            "stream_frame",
            stream_id=stream.stream_id,
            device_id=DEVICE,
            frame_number=number,
            frame=frame,
            **{**fields, **logged.get(number, {})},
        )


def _write_boxes(out: _Drop, stream: _Stream, table: BoxTable, *, source: str) -> None:
    is_truth = source == "truth"
    is_ignored = ((table.confidence == 0) | table.is_distractor) & is_truth
    for place in range(len(table)):
        left, top, width, height = table.boxes[place].tolist()
        number, kind = int(table.frame[place]) - stream.box_base, int(table.class_number[place])
        if number < 0:
            continue
        out.event(
            "box",
            stream_id=stream.stream_id,
            frame_number=number,
            source=source,
            track_id=str(int(table.track[place])) if table.track[place] >= 0 or is_truth else f"box-{place}",
            class_name=MOT_CLASSES[kind - 1] if table.has_classes and 0 < kind <= len(MOT_CLASSES) else None,
            left_px=left,
            top_px=top,
            width_px=width,
            height_px=height,
            confidence=None if is_truth else float(table.confidence[place]),
            is_ignored=bool(is_ignored[place]),
        )


def _outside(region: Path) -> NDArray[np.bool_]:
    image = PictureFile(region.name, region).image()
    return np.asarray((image if image.ndim == 2 else image.max(axis=2)) == 0)


def _mask_bytes(file: PictureFile, outside: NDArray[np.bool_] | None) -> bytes:
    """The mask as it is, unless it is no PNG, or something of it is outside of what counts."""
    data = file.read()
    has_outside = outside is not None and outside.any()
    if data.startswith(_PNG) and not has_outside:
        return data
    try:
        labels = file.labels()
    except LayoutError:
        return data
    if outside is not None and has_outside and outside.shape == labels.shape:
        labels = np.where(outside, np.uint8(CDNET_OUTSIDE), labels)
    return _encoded(labels)


def _encoded(labels: Labels) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(labels).save(file, "PNG")
    return file.getvalue()
