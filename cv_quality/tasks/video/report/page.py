"""One self-contained HTML page for a video build against its baseline: its sections, under a header with the finding.

The page asks the network for nothing and its content security policy forbids it to; the same lake gives the same bytes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cv_quality.inference.video.entry import RecordedVideoEntry, VideoEntry
from cv_quality.reports.first_screen import first_screen
from cv_quality.reports.key_finding import ReportSummary
from cv_quality.reports.provenance import of_build
from cv_quality.reports.rendering import write_page
from cv_quality.reports.section import ReportSource, Section, read_sections
from cv_quality.tasks.video.metric_names import VideoMetric
from cv_quality.tasks.video.report.briefing import brief_video
from cv_quality.tasks.video.report.charts import HEAT_INKS
from cv_quality.tasks.video.report.clip_files import ALWAYS_COUNTED, COUNTS, LOW_CEILING
from cv_quality.tasks.video.report.data import ClipMeasure, read_overview
from cv_quality.tasks.video.report.key_finding import find_video_change
from cv_quality.tasks.video.report.root_causes import ENDINGS
from cv_quality.tasks.video.report.sections import FRAMES, NUMBERS, ROOT_CAUSES, TEMPLATES
from cv_quality.tasks.video.report.wording import bounds, change_bounds, moved, shown, title_of

UNITS = ("clips", "frames")
TOPICS = {
    "quality": "Quality against the truth",
    "stability": "Stability over time",
    "tracks": "Tracks",
    "time": "Real time",
    "display": "On the screen",
}


@dataclass(frozen=True, slots=True)
class MeasureWords:
    """How templates write values."""

    def shown(self, metric: VideoMetric, value: float | None) -> str:
        return shown(metric, value)

    def title(self, metric: VideoMetric) -> str:
        return title_of(metric)

    def moved(self, metric: VideoMetric, value: float | None) -> str:
        return moved(metric, value)

    def bounds(self, metric: VideoMetric, found: ClipMeasure) -> str:
        return bounds(metric, found.low, found.high)

    def change_bounds(self, metric: VideoMetric, found: ClipMeasure) -> str:
        return change_bounds(metric, found.low, found.high)


def write_video_report(source: ReportSource, sections: Sequence[Section[Any]], target: Path) -> ReportSummary:
    """Write the page of a video build on its drops to `target`.

    Args:
        source: what it is made from.
        sections: in the order of the page; those that its briefing reads and of worst frames are among them.
        target: the file.

    Raises:
        MissingTable: a stage before this one has not been run for the build, its baseline, or one of its drops.
    """
    scope, content, overview = source.scope, read_sections(sections, source), read_overview(source)
    numbers, frames = content.of(NUMBERS), content.of(FRAMES)
    causes = content.of(ROOT_CAUSES).causes
    finding = find_video_change(
        numbers,
        first_slice=next(iter(causes.slices), None),
        was_searched=causes.n_attempts > 0,
    )
    entry, screen = source.entry, first_screen(brief_video(content, source), units=UNITS)
    page = write_page(
        f"{TEMPLATES}/page.html",
        target,
        sections=content.sections,
        found=content.data,
        charts=content.charts,
        changes=[id for id in content.charts if id.startswith("chart-change-")],
        scope=scope,
        entry=entry,
        requirement=entry.requirement if isinstance(entry, VideoEntry | RecordedVideoEntry) else None,
        modality=source.modality.name,
        warehouse=source.warehouse.name if source.warehouse else None,
        overview=overview,
        before=numbers.baseline,
        provenance=of_build(source, manifests=overview.manifests, newest=overview.captured_until),
        finding=finding,
        screen=screen,
        words=MeasureWords(),
        topics=TOPICS,
        heat_inks=HEAT_INKS,
        clip_counts=tuple(COUNTS.values()),
        always_counted=ALWAYS_COUNTED,
        low_ceiling=LOW_CEILING,
        methods=numbers.methods,
        stages=ENDINGS,
    )
    return ReportSummary(
        build=scope.build,
        baseline=numbers.baseline,
        path=target,
        verdict=finding.sentence,
        direction=finding.direction,
        n_charts=len(content.charts) + (screen.chart is not None),
        n_failures=len(frames.strips),
        n_pictures=sum(bool(strip.rows) for strip in frames.strips),
        size_bytes=len(page),
        sha256=hashlib.sha256(page).hexdigest(),
    )
