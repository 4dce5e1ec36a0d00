"""Counterfactuals: the worst frames of each confirmed slice, run again with their pictures changed in one respect.

What a change mends is a hint at a cause, not its proof: a model may fail on a changed picture because it is unlike any
that it was made for. The frames before each one are run with it, changed alike, so that a model with states has them.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import FrameError
from cv_quality.freshness import StageContext
from cv_quality.inference.video.entry import VideoEntry
from cv_quality.inference.video.outputs import VideoModel
from cv_quality.metrics.video.clips import clip_mean
from cv_quality.metrics.video.flow import opencv
from cv_quality.metrics.video.masks import RegionLoss
from cv_quality.tasks.root_causes.slices import read_slices
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.video.mask_quality import scored_classes
from cv_quality.tasks.video.pictures import DropPictures
from cv_quality.tasks.video.populations import MISS, missed_frames
from cv_quality.tasks.video.predictions import loaded_video_model
from cv_quality.tasks.video.stream_inputs import DropInputs
from cv_quality.tasks.video.tables import VIDEO_COUNTERFACTUALS

if TYPE_CHECKING:
    import polars as pl

Picture = NDArray[np.uint8]
Pictures = list[Picture]
Run = Callable[[Sequence[Picture]], NDArray[np.uint8] | None]
"""Runs a model over frames from its beginning, and gives its output for the last one; None where there is none."""
Row = dict[str, object]
Key = tuple[str, str, int]
"""A frame by drop, stream and number."""
WINDOW: Final = 12
"""Frames that are run together, the failing one last."""
FRAMES_OF_SLICE: Final = 12
FRAMES_OF_CLIP: Final = 2
SLICES: Final = 5
BRIGHTER, DARKER = 0.5, 2.0
BLUR_SHARE: Final = 0.004
"""Standard deviation of the blur, by the diagonal."""


@dataclass(frozen=True, slots=True, eq=False)
class FailingFrame:
    """A frame that is run again.

    Attributes:
        pictures: of the frames before it and of itself, last.
        truth: its labels.
        loss: of labels against the truth.
        run: the build's model on this clip.
    """

    pictures: Pictures
    truth: NDArray[np.uint8]
    loss: RegionLoss
    run: Run


@dataclass(frozen=True, slots=True)
class CounterfactualSummary:
    """What was run again: slices, frames of them, and rows written."""

    build: str
    slices: int
    frames: int
    rows: int


def gamma(exponent: float) -> Callable[[Pictures], Pictures]:
    """Make a change of light: below 1 pictures become brighter, above darker."""
    table = np.round(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return lambda pictures: [table[picture] for picture in pictures]


def blurred(pictures: Pictures) -> Pictures:
    """Blur pictures by a gaussian of .4 % of their diagonal."""
    cv2 = opencv()
    return [cv2.GaussianBlur(picture, (0, 0), BLUR_SHARE * math.hypot(*picture.shape[:2])) for picture in pictures]


def resized(pictures: Pictures) -> Pictures:
    """Shrink pictures to half of their sides, and enlarge them again."""
    cv2 = opencv()
    small = [cv2.resize(one, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for one in pictures]
    return [
        cv2.resize(one, (whole.shape[1], whole.shape[0]), interpolation=cv2.INTER_LINEAR)
        for one, whole in zip(small, pictures, strict=True)
    ]


def halved_rate(pictures: Pictures) -> Pictures:
    """Drop every other frame before the last one."""
    return pictures[::-1][::2][::-1]


def without_past(pictures: Pictures) -> Pictures:
    """Leave the last frame alone, so that a model with states has none."""
    return pictures[-1:]


CHANGES: dict[str, Callable[[Pictures], Pictures]] = {
    "brighter (gamma 0.5)": gamma(BRIGHTER),
    "darker (gamma 2)": gamma(DARKER),
    "blurred": blurred,
    "resized to half and back": resized,
    "every other frame dropped": halved_rate,
    "without the frames before": without_past,
}


def change_frames(context: StageContext) -> CounterfactualSummary:
    """Run the worst frames of a build's confirmed slices again with changed pictures; write `video_counterfactuals`.

    A build as recorded has no model to run, and only masks are scored again: then nothing is written.

    Raises:
        ModelError: the model cannot be loaded.
    """
    build, entry, lake = context.build, context.entry, context.lake
    slices = read_slices(lake, build, MISS.name)[:SLICES]
    rows: list[Row] = []
    n = 0
    if isinstance(entry, VideoEntry) and entry.output == "mask" and slices:
        population = missed_frames(context.workspace, build, build).rows
        chosen = {rank: worst_frames(population, where) for rank, where in enumerate(slices, start=1)}
        losses = _losses(context, entry, list(chosen.values()))
        for (rank, wanted), where in zip(chosen.items(), slices, strict=True):
            of_slice = {key: losses[key] for key in _keys(wanted) if key in losses}
            n += len(of_slice)
            head: Row = {"rank": rank, "condition": where.sentence()}
            rows += [head | row for row in changed_rows(of_slice, requirement=entry.requirement)]
    return CounterfactualSummary(build, len(slices), n, write_rows(lake, VIDEO_COUNTERFACTUALS, build, rows))


def worst_frames(population: "pl.DataFrame", where: Slice) -> "pl.DataFrame":
    """Choose the frames of a slice that lose most, two of a clip, in the order of their loss.

    Args:
        population: frames with `loss` and `is_miss`.
        where: the slice.
    """
    import polars as pl

    failing = population.filter(where.expression() & pl.col("is_miss") & pl.col("loss").is_not_null())
    failing = failing.sort("loss", "drop_id", "stream_id", "frame_number", descending=[True, False, False, False])
    of_clip = failing.group_by("drop_id", "stream_id", maintain_order=True).head(FRAMES_OF_CLIP)
    of_clip = of_clip.sort("loss", "drop_id", "stream_id", "frame_number", descending=[True, False, False, False])
    return of_clip.head(FRAMES_OF_SLICE)


def changed_losses(frame: FailingFrame) -> list[float]:
    """Run one frame as it is, then under each of `CHANGES` in turn; no output loses all."""
    return [_lost(frame, frame.pictures), *(_lost(frame, change(frame.pictures)) for change in CHANGES.values())]


def _lost(frame: FailingFrame, pictures: Pictures) -> float:
    output = frame.run(pictures)
    return 1.0 if output is None else frame.loss(frame.truth, output)


def changed_rows(losses: Mapping[Key, Sequence[float]], *, requirement: float) -> Iterator[Row]:
    """Sum up what each change did to the frames of a slice.

    Args:
        losses: of each frame, as `changed_losses` gives them.
        requirement: quality that the frames missed.
    """
    table = np.array(list(losses.values()), np.float64).reshape(-1, 1 + len(CHANGES))
    clips = [f"{drop}/{stream}" for drop, stream, _ in losses]
    for place, name in enumerate(CHANGES, start=1):
        yield {"change": name, **_figures(table[:, 0], table[:, place], clips=clips, requirement=requirement)}


def _figures(
    before: NDArray[np.float64], after: NDArray[np.float64], *, clips: Sequence[str], requirement: float
) -> Row:
    """The mean losses, their change with its interval by clip, and frames that crossed the requirement.

    Args:
        before, after: losses of each frame.
        clips: of each frame.
        requirement: of quality.
    """
    known = ~np.isnan(before) & ~np.isnan(after)
    before, after = before[known], after[known]
    names = np.array(clips, dtype=str)[known]
    found, codes = np.unique(names, return_inverse=True)
    n = np.bincount(codes, minlength=len(found))
    means = np.bincount(codes, weights=after - before, minlength=len(found)) / np.maximum(n, 1)
    interval = clip_mean(means, limits=(-1.0, 1.0))
    missed, misses = 1 - before < requirement, 1 - after < requirement
    return {
        "n_frames": len(before),
        "n_clips": len(found),
        "loss_before": float(before.mean()) if len(before) else None,
        "loss_after": float(after.mean()) if len(after) else None,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "n_recovered": int(np.count_nonzero(missed & ~misses)),
        "n_lost": int(np.count_nonzero(~missed & misses)),
        "method": interval.method,
        "reason": interval.reason,
    }


def _keys(rows: "pl.DataFrame") -> list[Key]:
    return [cast("Key", row) for row in rows.select("drop_id", "stream_id", "frame_number").iter_rows()]


def _losses(context: StageContext, entry: VideoEntry, chosen: "Sequence[pl.DataFrame]") -> dict[Key, list[float]]:
    """Run the chosen frames again; each clip is read once, the pictures of one frame are held at a time."""
    model = loaded_video_model(context.workspace, entry)
    wanted: dict[tuple[str, str], set[int]] = {}
    for drop, stream, number in (key for rows in chosen for key in _keys(rows)):
        wanted.setdefault((drop, stream), set()).add(number)
    found: dict[Key, list[float]] = {}
    for drop in sorted({drop for drop, _ in wanted}):
        pictures = DropPictures(context.workspace.landing, context.lake, drop)
        inputs = DropInputs(context.lake, pictures, build=context.build, drop=drop)
        for stream in sorted(name for of, name in wanted if of == drop):
            of_stream = _of_stream(inputs, stream, wanted[drop, stream], model=model, entry=entry)
            found |= {(drop, stream, number): changed_losses(frame) for number, frame in of_stream}
    return found


def _of_stream(
    inputs: DropInputs, stream: str, wanted: set[int], *, model: VideoModel, entry: VideoEntry
) -> Iterator[tuple[int, FailingFrame]]:
    of_stream = inputs.stream(stream)
    scored = scored_classes(
        lambda: of_stream.masks(with_pictures=False),
        inputs.classes,
        are_instances=of_stream.clip.get("mask_kind") == "instances",
        output_classes=entry.classes,
    )
    run = _runner(model, stream=stream, scene=cast("str | None", of_stream.clip.get("scene")))
    window: Pictures = []
    for picture in inputs.pictures.frames(stream):
        if picture.image is None:
            window = []
            continue
        window = [*window[-(WINDOW - 1) :], picture.image]
        if picture.frame_number in wanted:
            try:
                truth = inputs.pictures.labels("masks", stream, picture.frame_number)
            except FrameError:
                truth = None
            if truth is not None:
                yield picture.frame_number, FailingFrame(window, truth, scored.loss, run)
        if picture.frame_number >= max(wanted):
            return


def _runner(model: VideoModel, *, stream: str, scene: str | None) -> Run:
    def run(pictures: Sequence[Picture]) -> NDArray[np.uint8] | None:
        model.reset(stream=stream, scene=scene)
        return model.run(pictures)[-1].value

    return run
