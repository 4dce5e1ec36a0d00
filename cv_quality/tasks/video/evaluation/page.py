"""One self-contained HTML page of an evaluation of clips: tables, and J or PSNR of every frame as a line.

The page shows numbers and no picture, so that it can be passed on; the same evaluation gives the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from cv_quality.reports import rendering
from cv_quality.tasks.video.evaluation.results import ALL, METRICS, ClipScore, VideoEvaluation
from cv_quality.tasks.video.evaluation.summary import change_rows, clip_rows, summary_rows

LINE_WIDTH, LINE_HEIGHT = 720, 90
MAX_POINTS = 2_000
"""Of a line; of a longer clip the lowest value of each step is drawn."""
_DRAWN = ("j", "f", "psnr_db", "ssim")


@dataclass(frozen=True, slots=True)
class FrameLine:
    """Values of a clip's frames as a line that is broken where a frame has none."""

    label: str
    low: float
    high: float
    pieces: tuple[str, ...]
    worst: int


@dataclass(frozen=True, slots=True)
class ClipView:
    """The lines of one clip, and its first and last frame."""

    name: str
    first: int
    last: int
    lines: tuple[FrameLine, ...]


@dataclass(frozen=True, slots=True)
class VideoPage:
    """Everything that the template shows."""

    found: VideoEvaluation
    finding: str
    tables: tuple[tuple[str, Sequence[Mapping[str, object]]], ...]
    clips: tuple[ClipView, ...]
    meanings: tuple[tuple[str, str], ...]


def write_video_page(found: VideoEvaluation, *, target: Path) -> None:
    """Write the page at once or not at all."""
    tables = [("Over clips", summary_rows(found)), ("By clip", clip_rows(found.clips))]
    if found.changes:
        tables.insert(0, (f"Against {found.baseline}, paired by clip", change_rows(found)))
    names = {item.metric for item in found.summaries}
    content = VideoPage(
        found=found,
        finding=_finding(found),
        tables=tuple((title, _filled(rows)) for title, rows in tables),
        clips=tuple(_view(clip) for clip in found.clips if clip.class_name == ALL and clip.numbers),
        meanings=tuple((METRICS[name].label, METRICS[name].meaning) for name in METRICS if name in names),
    )
    rendering.write_page("tasks/video/evaluation/page.html", target, content=content)


def _filled(rows: Sequence[Mapping[str, object]]) -> Sequence[Mapping[str, object]]:
    """Rows without the columns that are empty in all of them."""
    names = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
    return [{name: row[name] for name in names} for row in rows]


def _finding(found: VideoEvaluation) -> str:
    """The first metric of each kind over clips, and what the baseline makes of it."""
    leading = {"masks": ("j", "f", "miou"), "instances": ("j", "f"), "tracks": ("hota", "mota", "idf1")}
    names = leading.get(found.kind, ("psnr_of_mean_db", "ssim"))
    values = {item.metric: item for item in found.summaries if item.class_name == ALL}
    text = ", ".join(f"{METRICS[name].label} {rendering.number(values[name].value)}" for name in names)
    n_clips = max((item.n_clips for item in values.values()), default=0)
    said = f"{text} over {n_clips} {'clip' if n_clips == 1 else 'clips'}"
    for item in found.changes[:1]:
        one = item.comparison
        worse, better = len(one.regressions), len(one.improvements)
        said += f"; {METRICS[item.metric].label} {one.verdict}: {worse} clips worse, {better} better than the baseline"
    return said


def _view(clip: ClipScore) -> ClipView:
    lines = [_line(METRICS[name].label, clip.frames[name], clip.numbers) for name in _DRAWN if name in clip.frames]
    return ClipView(clip.clip, clip.numbers[0], clip.numbers[-1], tuple(line for line in lines if line is not None))


def _line(label: str, values: Sequence[float | None], numbers: Sequence[int]) -> FrameLine | None:
    known = [(value, number) for value, number in zip(values, numbers, strict=True) if _is_drawn(value)]
    if not known:
        return None
    low, high = min(value for value, _ in known), max(value for value, _ in known)
    low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    step = -(-len(values) // MAX_POINTS)
    pieces: list[list[str]] = [[]]
    for place in range(0, len(values), step):
        here = [value for value in values[place : place + step] if _is_drawn(value)]
        if here:
            x = LINE_WIDTH * place / max(1, len(values) - 1)
            y = LINE_HEIGHT * (1 - (min(here) - low) / ((high - low) or 1.0))
            pieces[-1].append(f"{x:.1f},{y:.1f}")
        elif pieces[-1]:
            pieces.append([])
    return FrameLine(label, low, high, tuple(" ".join(piece) for piece in pieces if piece), min(known)[1])


def _is_drawn(value: float | None) -> TypeGuard[float]:
    return value is not None and value not in (float("inf"), float("-inf"))
