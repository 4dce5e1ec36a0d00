"""The way through an evaluation of clips: folders understood, clips paired, scored, summed up over clips, compared."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cv_quality.drops.importers.video_folders import VideoFolder, read_video_folder
from cv_quality.drops.importers.video_frames import FrameFiles
from cv_quality.drops.importers.video_layouts import VideoLayout
from cv_quality.errors import LayoutError
from cv_quality.metrics.video.clips import (
    ClipComparison,
    ClipInterval,
    change_verdict,
    clip_mean,
    compare_clips,
)
from cv_quality.metrics.video.masks import MaskClass
from cv_quality.metrics.video.tracks import NO_TRACKS, TrackCounts, track_interval
from cv_quality.tasks.video.evaluation.images import score_images
from cv_quality.tasks.video.evaluation.labels import LabelMap, Pixels, choose_classes
from cv_quality.tasks.video.evaluation.masks import (
    MaskedClip,
    MaskOptions,
    score_clip,
    score_consistency,
    score_instances,
)
from cv_quality.tasks.video.evaluation.pairing import ClipPair, pair_clips
from cv_quality.tasks.video.evaluation.results import (
    ALL,
    METRICS,
    ClipScore,
    EvaluationKind,
    MetricChange,
    MetricSummary,
    VideoEvaluation,
)
from cv_quality.tasks.video.evaluation.tracks import SUMMED, TRACK_METRICS, TrackedClip, summarised

Progress = Callable[[str, int, int], None]
"""Called with the name of a clip, how many are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """What is scored, and how.

    Attributes:
        kind: None where the folders tell.
        layout: of all folders; "auto" tells each.
        resolution: folder of DAVIS.
        classes: of masks; told from the labels by default.
        ignored: labels of the truth; None where it was not said.
        masks: how masks are scored.
        pictures: folder whose pictures give the temporal consistency of masks.
        vmaf: the ffmpeg that measures VMAF of images, see `find_vmaf`.
    """

    kind: EvaluationKind | None = None
    layout: VideoLayout | None = None
    resolution: str | None = None
    classes: tuple[MaskClass, ...] = ()
    ignored: tuple[int, ...] | None = None
    masks: MaskOptions = field(default_factory=MaskOptions)
    pictures: Path | None = None
    vmaf: Path | None = None


@dataclass(slots=True)
class _Side:
    """One build's predictions, scored."""

    scores: list[ClipScore]
    tracks: dict[str, TrackCounts]
    notes: list[str]
    warnings: list[str]


def evaluate_video(
    prediction: Path,
    truth: Path,
    *,
    baseline: Path | None = None,
    options: VideoOptions | None = None,
    progress: Progress = lambda *_: None,
) -> VideoEvaluation:
    """Evaluate predictions in one folder against truth in another, clip by clip.

    Args:
        prediction, truth: folders or files in any layout of `cv_quality.drops.importers.video_folders`.
        baseline: predictions of another build for the same clips.
        options: what is scored.
        progress: told before each clip.

    Raises:
        LayoutError: a folder cannot be understood, or the two do not fit.
        ClipError: a video cannot be decoded.
        MetricError: a track has two boxes in a frame, or clips of the baseline are others.
    """
    options = options or VideoOptions()
    true, seen = _read(truth, options), _read(prediction, options)
    kind = options.kind or _kind(seen, true)
    _require_use(options, kind)
    candidate = _scored(kind, seen, true, options, progress)
    other = None if baseline is None else _scored(kind, _read(baseline, options), true, options, progress)
    notes = [*true.words(), *seen.words(), *candidate.notes]
    warnings = candidate.warnings
    if other is not None:
        warnings = [*warnings, *(f"baseline: {text}" for text in other.warnings)]
    return VideoEvaluation(
        kind=kind,
        prediction=str(prediction),
        truth=str(truth),
        baseline=None if baseline is None else str(baseline),
        clips=tuple(candidate.scores),
        summaries=tuple(_summaries(kind, candidate)),
        changes=() if other is None else tuple(_changes(candidate, other)),
        notes=tuple(dict.fromkeys(notes)),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _require_use(options: VideoOptions, kind: EvaluationKind) -> None:
    """Refuse options that would change nothing."""
    given = {
        "--classes": (options.classes, ("masks",)),
        "--pictures": (options.pictures, ("masks",)),
        "--vmaf": (options.vmaf, ("images",)),
        "--ignore": (options.ignored, ("masks", "instances")),
        "--drop-ends": (options.masks.drops_ends, ("masks", "instances")),
        "--absent-is-right": (options.masks.absent_is_right, ("masks", "instances")),
        "--resize": (options.masks.resizes, ("masks", "instances")),
    }
    useless = [name for name, (value, kinds) in given.items() if value not in (None, (), False) and kind not in kinds]
    if useless:
        raise LayoutError(
            f"expected options of {kind}, found {', '.join(useless)}: leave them out, or say another --kind"
        )


def _read(path: Path, options: VideoOptions) -> VideoFolder:
    return read_video_folder(path, layout=options.layout or "auto", resolution=options.resolution)


def _kind(prediction: VideoFolder, truth: VideoFolder) -> EvaluationKind:
    """What both sides have; asked where it is not one thing."""

    def has(folder: VideoFolder) -> set[EvaluationKind]:
        found: set[EvaluationKind] = set()
        for clip in folder.clips:
            found |= {"masks"} if clip.masks else set()
            found |= {"tracks"} if clip.boxes else set()
            found |= {"images"} if clip.video or clip.pictures else set()
        return found

    one, other = has(truth), has(prediction)
    common = one & other
    if len(common) > 1:
        common -= {"images"}
    if len(common) != 1:
        raise LayoutError(
            f"expected masks, tracks or images on both sides, found {' and '.join(sorted(one)) or 'nothing'} in the "
            f"truth and {' and '.join(sorted(other)) or 'nothing'} in the prediction: --kind says what is scored"
        )
    return common.pop()


def _scored(
    kind: EvaluationKind, prediction: VideoFolder, truth: VideoFolder, options: VideoOptions, progress: Progress
) -> _Side:
    paired = pair_clips(prediction, truth)
    side = _Side([], {}, list(paired.notes), list(paired.warnings))
    if kind == "tracks":
        for pair in _each(paired.pairs, progress):
            clip = TrackedClip(pair, shift=options.masks.shift)
            side.tracks[pair.name] = clip.counts
            side.scores.append(clip.score())
            side.warnings += clip.warnings
    elif kind == "images":
        for pair in _each(paired.pairs, progress):
            score, warnings = score_images(pair, shift=options.masks.shift, vmaf=options.vmaf)
            side.scores.append(score)
            side.warnings += warnings
    else:
        _score_masks(side, kind, paired.pairs, options, progress, is_cdnet=truth.layout == "cdnet")
    return side


def _each(pairs: Sequence[ClipPair], progress: Progress) -> Iterator[ClipPair]:
    for place, pair in enumerate(pairs):
        progress(pair.name, place, len(pairs))
        yield pair


def _score_masks(
    side: _Side,
    kind: EvaluationKind,
    pairs: Sequence[ClipPair],
    options: VideoOptions,
    progress: Progress,
    *,
    is_cdnet: bool,
) -> None:
    clips = {pair.name: MaskedClip(pair, options.masks) for pair in pairs}
    labels = LabelMap((), options.ignored or (), (), ())
    if kind == "masks":
        truth, prediction = _labels_of(list(clips.values()))
        labels = choose_classes(truth, prediction, declared=options.classes, ignored=options.ignored, is_cdnet=is_cdnet)
    pictures = _pictures(options, list(clips)) if kind == "masks" else {}
    for pair in _each(pairs, progress):
        clip = clips[pair.name]
        score = score_clip if kind == "masks" else score_instances
        whole, *classes = score(clip, labels, options.masks)
        if pictures:
            whole = replace(whole, values={**whole.values, **score_consistency(clip, labels, pictures[pair.name])})
        side.scores += [whole, *classes]
        side.warnings += clip.warnings
        if clip.n_resized:
            side.notes.append(f"clip {clip.name}: {clip.n_resized:,} predictions were brought to the size of the truth")
    side.notes += labels.notes
    side.warnings += labels.warnings


def _labels_of(clips: Sequence[MaskedClip]) -> tuple[Pixels, Pixels]:
    counts = [clip.count_labels() for clip in clips]
    return sum((one for one, _ in counts[1:]), counts[0][0]), sum((other for _, other in counts[1:]), counts[0][1])


def _pictures(options: VideoOptions, names: Sequence[str]) -> Mapping[str, FrameFiles]:
    """The pictures of each clip, by its name or because there is one."""
    if options.pictures is None:
        return {}
    folder = _read(options.pictures, options)
    found = {clip.name: clip.pictures for clip in folder.clips if clip.pictures is not None}
    if len(found) == len(names) == 1:
        return dict(zip(names, found.values(), strict=True))
    if missing := [name for name in names if name not in found]:
        raise LayoutError(
            f"{options.pictures}: expected pictures of every clip, found {', '.join(found) or 'none'}, not "
            f"{', '.join(missing)}"
        )
    return found


def _summaries(kind: EvaluationKind, side: _Side) -> Iterator[MetricSummary]:
    whole = [score for score in side.scores if score.class_name == ALL]
    for metric in METRICS:
        if any(metric in score.values for score in whole):
            yield _summary(metric, ALL, _interval(metric, whole, side.tracks))
    names = dict.fromkeys(score.class_name for score in side.scores if score.class_name != ALL)
    for name in names if kind == "masks" else ():
        scores = [score for score in side.scores if score.class_name == name]
        for metric in ("j", "f", "miou"):
            yield _summary(metric, name, _interval(metric, scores, {}))


def _interval(metric: str, scores: Sequence[ClipScore], tracks: Mapping[str, TrackCounts]) -> ClipInterval:
    if metric in TRACK_METRICS:
        found = summarised(metric, list(tracks.values()))
        pooled = sum(tracks.values(), start=NO_TRACKS).scores()
        return replace(found, value=getattr(pooled, metric))
    values = [_finite(score.values.get(metric)) for score in scores]
    found = clip_mean([math.nan if value is None else value for value in values], limits=METRICS[metric].limits)
    n_identical = sum(score.values.get(metric) == math.inf for score in scores)
    told = f"{n_identical} clips without any error have no finite value and are left out"
    return replace(found, reason="; ".join(filter(None, [found.reason, told]))) if n_identical else found


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _summary(metric: str, class_name: str, found: ClipInterval) -> MetricSummary:
    return MetricSummary(
        metric=metric,
        class_name=class_name,
        is_higher_better=METRICS[metric].is_higher_better,
        value=found.value,
        low=found.low,
        high=found.high,
        n_clips=found.n_clips,
        n_left_out=found.n_left_out,
        method=found.method,
        reason=found.reason,
    )


def _changes(candidate: _Side, baseline: _Side) -> Iterator[MetricChange]:
    def values(side: _Side, metric: str) -> dict[str, float | None]:
        return {score.clip: _finite(score.values.get(metric)) for score in side.scores if score.class_name == ALL}

    for metric, words in METRICS.items():
        one, other = values(baseline, metric), values(candidate, metric)
        if metric == "tc_ceiling" or not any(value is not None for value in other.values()):
            continue
        is_higher_better = bool(words.is_higher_better)
        found = compare_clips(one, other, is_higher_better=is_higher_better)
        yield MetricChange(metric, is_higher_better, _of_sums(metric, found, candidate, baseline))


def _of_sums(metric: str, found: ClipComparison, candidate: _Side, baseline: _Side) -> ClipComparison:
    """Changes of tracking come from sums over clips."""
    names = [name for name in candidate.tracks if name in baseline.tracks]
    for name in SUMMED:
        if metric == name:
            change = track_interval(
                [candidate.tracks[clip] for clip in names],
                score=name,
                baseline=[baseline.tracks[clip] for clip in names],
            )
            return replace(found, change=change, verdict=change_verdict(change, is_higher_better=True))
    return found
