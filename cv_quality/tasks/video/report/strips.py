"""The worst frames as pictures: strips of a few frames around each worst span, and the worst seconds side by side.

Which spans are shown follows from the loss alone; whether their pictures may be is decided in
`cv_quality.drops.consent`, and of a clip that may not be shown none is even decoded.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cv_quality.drops.consent import StreamName, read_consents, read_shown_streams
from cv_quality.reports.pictures import NO_CONSENT, Picture
from cv_quality.reports.rendering import number
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.video.report.data import condition_words, frame_scores
from cv_quality.tasks.video.report.side_by_side import FRAMES_SHOWN, SideBySide, animate, compose, panel_width, uris
from cv_quality.tasks.video.report.sketches import OpenPictures, Sketches, open_drop_pictures
from cv_quality.tasks.video.report.spans import (
    FailingSpan,
    failing_spans,
    one_a_clip,
    read_clip_frames,
    required_quality,
    worst_frame,
)
from cv_quality.tasks.video.report.timeline import QUALITIES

if TYPE_CHECKING:
    import polars as pl

STRIPS_OF_BUILD, STRIPS_OF_BASELINE = 4, 2
SHOTS = 5
"""Frames of a strip."""
MARGIN_FRAMES = 2
"""A strip begins and ends so many frames before and after its span."""
SECONDS_AROUND = 1.0
"""The animation shows this long before and after the worst frame."""
FRAMES_AROUND = 30
"""The same where times are not known."""


@dataclass(frozen=True, slots=True)
class FrameShot:
    """One frame under one model: its picture, and its quality in words."""

    frame: int
    quality: str
    fails: bool
    picture: Picture


@dataclass(frozen=True, slots=True)
class Strip:
    """A few frames around one span, under each model.

    Attributes:
        worst_of: the build whose worst span it is.
        rows: shots by model; none where nothing may be shown, as `placeholder` says.
        conditions: of the worst frame, in words.
    """

    span: FailingSpan
    worst_of: str
    where: str
    conditions: tuple[str, ...]
    rows: tuple[tuple[str, tuple[FrameShot, ...]], ...]
    placeholder: str | None


@dataclass(frozen=True, slots=True)
class WorstFrames:
    """All of it.

    Attributes:
        quality_name: what a shot's number is.
        has_misses: whether frames miss the requirement; else the worst frames are shown all the same.
        missing: why there is no strip at all.
        no_animation: why there is no animation.
    """

    strips: tuple[Strip, ...]
    animation: SideBySide | None
    quality_name: str
    has_misses: bool
    missing: str | None
    no_animation: str | None


def read_worst_frames(source: ReportSource, *, open_pictures: OpenPictures = open_drop_pictures) -> WorstFrames:
    """Read the worst spans of the build and of the baseline, with the pictures that may be shown."""
    rows = {model: read_clip_frames(source, model) for model in source.scope.models}
    own = rows[source.scope.build]
    if own["loss"].is_null().all():
        return WorstFrames((), None, "", has_misses=False, missing="no frame has a quality", no_animation=None)
    required = required_quality(source.entry)
    spans = {model: _ranked(frames, required) for model, frames in rows.items()}
    chosen = _chosen(source, spans)
    shown = read_shown_streams(source.lake, source.scope.drops, consents=read_consents(source.lake))
    moving = next((span for span in spans[source.scope.build] if (span.drop_id, span.stream_id) in shown), None)
    moments = _window(own, moving) if moving else []
    wanted = _wanted([span for _, span in chosen], moving, moments, shown=shown)
    sketches = Sketches(source, wanted, models=source.scope.models, open_pictures=open_pictures)
    strips = tuple(_strip(source, rows, sketches, span, model, shown=shown) for model, span in chosen)
    animation = _animation(sketches, own, moving, moments) if moving else None
    kinds = own["loss_kind"].drop_nulls()
    return WorstFrames(
        strips=strips,
        animation=animation,
        quality_name=QUALITIES[kinds[0]] if kinds.len() else "quality",
        has_misses=bool(own["is_miss"].any()),
        missing=None,
        no_animation=None
        if animation
        else (NO_CONSENT if moving is None else sketches.why((moving.drop_id, moving.stream_id), moving.worst)),
    )


def _ranked(frames: "pl.DataFrame", required: float) -> list[FailingSpan]:
    """The worst span of each clip; the worst frame alone where none fails."""
    spans = one_a_clip(failing_spans(frames, requirement=required))
    worst = worst_frame(frames)
    return [span for span in spans if span.mean_loss is not None] or ([worst] if worst else [])


def _chosen(source: ReportSource, spans: Mapping[str, Sequence[FailingSpan]]) -> list[tuple[str, FailingSpan]]:
    """The worst of the build, then those of the baseline that lie elsewhere."""
    build, *others = source.scope.models
    chosen = [(build, span) for span in spans[build][:STRIPS_OF_BUILD]]
    clips = {(span.drop_id, span.stream_id) for _, span in chosen}
    for model in others:
        away = (span for span in spans[model] if (span.drop_id, span.stream_id) not in clips)
        chosen += [(model, span) for _, span in zip(range(STRIPS_OF_BASELINE), away, strict=False)]
    return chosen


def _wanted(
    spans: Iterable[FailingSpan], moving: FailingSpan | None, moments: Sequence[int], *, shown: frozenset[StreamName]
) -> dict[StreamName, set[int]]:
    """The frames that are read, by stream: none of a stream that may not be shown.

    Args:
        spans: of the strips.
        moving, moments: span and frames of the animation.
        shown: streams that may be.
    """
    wanted: dict[StreamName, set[int]] = {}
    for span in spans:
        wanted.setdefault((span.drop_id, span.stream_id), set()).update(_shot_numbers(span))
    if moving is not None:
        wanted.setdefault((moving.drop_id, moving.stream_id), set()).update(moments)
    return {stream: frames for stream, frames in wanted.items() if stream in shown}


def _shot_numbers(span: FailingSpan) -> list[int]:
    """Numbers spread over the span and a little around it, the worst among them.

    >>> _shot_numbers(FailingSpan("d", "s", 10, 18, 13, 0.0, 1.0, 9, 19, 0.75, 2.25))
    [8, 10, 13, 16, 19]
    """
    first, last = max(span.first - MARGIN_FRAMES, 0), min(span.last + MARGIN_FRAMES, span.clip_last)
    numbers = sorted({int(place) for place in np.linspace(first, last, SHOTS)})
    nearest = min(numbers[1:-1] or numbers, key=lambda place: abs(place - span.worst))
    return sorted({*numbers} - {nearest} | {span.worst})


def _window(frames: "pl.DataFrame", span: FailingSpan) -> list[int]:
    """Frames of the animation: some seconds around the worst one, thinned evenly."""
    import polars as pl

    clip = frames.filter(drop_id=span.drop_id, stream_id=span.stream_id)
    at = float(clip.filter(frame_number=span.worst)["at"][0])
    around = SECONDS_AROUND if clip["in_seconds"].all() else float(FRAMES_AROUND)
    near = clip.filter((pl.col("at") - at).abs() <= around)["frame_number"].to_list()
    return near[:: -(-len(near) // FRAMES_SHOWN)]


def _strip(
    source: ReportSource,
    rows: "Mapping[str, pl.DataFrame]",
    sketches: Sketches,
    span: FailingSpan,
    worst_of: str,
    *,
    shown: frozenset[StreamName],
) -> Strip:
    """Make one strip.

    Args:
        source, rows, sketches: what the page is made from, frames by model, and frames drawn.
        span, worst_of: what it shows, and the build whose worst it is.
        shown: streams that may be shown.
    """
    name = (span.drop_id, span.stream_id)
    may_show = name in shown
    clip = {model: frames.filter(drop_id=name[0], stream_id=name[1]) for model, frames in rows.items()}
    numbers = _shot_numbers(span)
    shots = tuple(
        (model, tuple(_shot(sketches.shot(name, model, frame), frames, frame) for frame in numbers))
        for model, frames in clip.items()
    )
    is_there = any(shot.picture.uri for _, row in shots for shot in row)
    placeholder = None if is_there else sketches.why(name, span.worst) if may_show else NO_CONSENT
    where, conditions = _circumstances(source, worst_of, span)
    return Strip(span, worst_of, where, conditions, shots if is_there else (), placeholder)


def _shot(picture: Picture, frames: "pl.DataFrame", frame: int) -> FrameShot:
    found = frames.filter(frame_number=frame)
    loss = found["loss"][0] if found.height else None
    fails = bool(found["fails"][0]) if found.height else False
    return FrameShot(frame, "none" if loss is None else number(1 - loss), fails, picture)


def _circumstances(source: ReportSource, model: str, span: FailingSpan) -> tuple[str, tuple[str, ...]]:
    """Device and scene of the worst frame, and its conditions in words."""
    row: dict[str, Any] = (
        frame_scores(source, model)
        .filter(drop_id=span.drop_id, stream_id=span.stream_id, frame_number=span.worst)
        .collect()
        .to_dicts()[0]
    )
    where = ", ".join(str(row[name]) for name in ("device_model", "scene") if row[name] is not None)
    return where, condition_words(source, row)


def _animation(
    sketches: Sketches, frames: "pl.DataFrame", span: FailingSpan, numbers: Sequence[int]
) -> SideBySide | None:
    """Compose the animation; None where fewer than two of its frames have a picture.

    Args:
        sketches: frames drawn.
        frames: of the build.
        span, numbers: what it shows.
    """
    import polars as pl

    name, width = (span.drop_id, span.stream_id), panel_width(len(sketches.models))
    clip = frames.filter(drop_id=name[0], stream_id=name[1]).filter(pl.col("frame_number").is_in(numbers))
    pairs = [(frame, panels) for frame in numbers if (panels := sketches.panels(name, frame, width=width))]
    if len(pairs) < 2:
        return None
    moments = [compose(panels, caption=f"frame {frame}") for frame, panels in pairs]
    at = clip["at"].to_numpy()
    pace = float(np.median(np.diff(at))) if clip["in_seconds"].all() and len(at) > 1 else None
    data, still = animate(moments, milliseconds=round(1_000 * pace) if pace else 100)
    uri, still_uri = uris(data, still)
    steps = np.diff([frame for frame, _ in pairs])
    return SideBySide(
        uri=uri,
        still_uri=still_uri,
        drop_id=name[0],
        stream_id=name[1],
        models=tuple(sketches.models),
        first=pairs[0][0],
        last=pairs[-1][0],
        n_frames=len(pairs),
        seconds=pace * len(pairs) if pace else None,
        step=int(np.median(steps)),
        width_px=moments[0].width,
        height_px=moments[0].height,
        n_bytes=len(data),
    )
