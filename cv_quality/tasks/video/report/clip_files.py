"""What the clips of a build's drops are like: pictures missing, repeated, frozen, quarantined, and where flow fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cv_quality.lake.lake import TableKey
from cv_quality.reports.queries import Query, any_of, literal
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.video.report.data import frame_scores
from cv_quality.tasks.video.tables import CLIP_FILES, CLIP_SPANS

CLIPS_SHOWN = 40
LOW_CEILING = 0.8
"""TC of the truth below which the flow, and not the output, decides most of TC; DAVIS clips have .70 to .98."""
COUNTS = {
    "n_quarantined": "quarantined",
    "n_dropped": "dropped",
    "n_repeated": "repeated",
    "n_frozen": "frozen",
    "n_untimed": "without a time",
    "n_backward": "back in time",
    "n_off_grid": "off the grid",
    "n_missing": "without a picture",
    "n_bad_truth": "unusable truth",
}
"""What is counted of a clip's pictures, beside those decoded."""
ALWAYS_COUNTED = 4
"""So many of them are shown also where there is none."""


@dataclass(frozen=True, slots=True)
class ClipFile:
    """One clip as it was delivered; `counts` are in the order of `COUNTS`."""

    drop_id: str
    stream_id: str
    status: str
    codec: str | None
    size: str | None
    rate_hz: float | None
    rate_drift: float | None
    n_frames: int
    n_freezes: int
    frozen_s: float
    counts: tuple[int, ...]
    reason: str | None

    @property
    def is_plain(self) -> bool:
        return self.status == "ok" and not any(self.counts) and self.reason is None


@dataclass(frozen=True, slots=True)
class QuarantinedSpans:
    """Spans of clips that are quarantined for one reason."""

    code: str
    n_spans: int
    n_frames: int
    n_clips: int
    example: str


@dataclass(frozen=True, slots=True)
class FlowFailure:
    """A clip whose truth, warped by flow, does not even agree with itself."""

    drop_id: str
    stream_id: str
    ceiling: float


@dataclass(frozen=True, slots=True)
class ClipQuality:
    """All of it; `shown` are those with anything the matter, cut at CLIPS_SHOWN.

    Attributes:
        totals: of all clips, in the order of `COUNTS`.
        has_ceiling: whether TC of the truth is known of any clip.
    """

    n_clips: int
    n_frames: int
    totals: tuple[int, ...]
    n_marked: int
    shown: tuple[ClipFile, ...]
    quarantined: tuple[QuarantinedSpans, ...]
    flow_failures: tuple[FlowFailure, ...]
    has_ceiling: bool
    query: Query


def read_clip_quality(source: ReportSource) -> ClipQuality:
    """Read what the clips of the build's drops are like."""
    keys = [TableKey(drop=drop) for drop in source.scope.drops]
    files = source.lake.scan(CLIP_FILES, keys).sort("drop_id", "stream_id").collect().to_dicts()
    clips = [_clip_file(row) for row in files]
    marked = [clip for clip in clips if not clip.is_plain]
    ceilings = _ceilings(source)
    return ClipQuality(
        n_clips=len(clips),
        n_frames=sum(clip.n_frames for clip in clips),
        totals=tuple(sum(row[name] for row in files) for name in COUNTS),
        n_marked=len(marked),
        shown=tuple(marked[:CLIPS_SHOWN]),
        quarantined=_quarantined(source, keys),
        flow_failures=tuple(item for item in ceilings if item.ceiling < LOW_CEILING),
        has_ceiling=bool(ceilings),
        query=_query(source),
    )


def _clip_file(row: Mapping[str, Any]) -> ClipFile:
    copied = ("drop_id", "stream_id", "status", "codec", "rate_hz", "rate_drift", "n_frames", "n_freezes", "frozen_s")
    size = f"{row['width_px']} × {row['height_px']}" if row["width_px"] and row["height_px"] else None
    turned = f", turned by {row['rotation_deg']}°" if row["rotation_deg"] else ""
    return ClipFile(
        **{name: row[name] for name in copied},
        size=f"{size}{turned}" if size else None,
        counts=tuple(row[name] for name in COUNTS),
        reason=row["reason"],
    )


def _quarantined(source: ReportSource, keys: list[TableKey]) -> tuple[QuarantinedSpans, ...]:
    import polars as pl

    rows = (
        source.lake.scan(CLIP_SPANS, keys)
        .filter(kind="quarantined")
        .with_columns(code=pl.col("code").fill_null("no reason"))
        .sort("drop_id", "stream_id", "first_frame")
        .group_by("code")
        .agg(
            pl.len().alias("n_spans"),
            pl.col("n_frames").sum(),
            pl.struct("drop_id", "stream_id").n_unique().alias("n_clips"),
            pl.col("detail").first().alias("example"),
        )
        .sort("n_frames", "code", descending=[True, False])
        .collect()
    )
    return tuple(QuarantinedSpans(**row) for row in rows.to_dicts())


def _ceilings(source: ReportSource) -> list[FlowFailure]:
    """TC of every clip's truth, as a mean over its frames, the lowest first."""
    import polars as pl

    rows = (
        frame_scores(source, source.scope.build)
        .group_by("drop_id", "stream_id")
        .agg(pl.col("tc_ceiling").mean())
        .drop_nulls("tc_ceiling")
        .sort("tc_ceiling", "drop_id", "stream_id")
        .collect()
    )
    return [FlowFailure(*row) for row in rows.iter_rows()]


def _query(source: ReportSource) -> Query:
    where = f"WHERE drop_id IN {any_of(source.scope.drops)}\nORDER BY drop_id, stream_id;"
    columns = f"SELECT drop_id, stream_id, status, codec, n_frames, {', '.join(COUNTS)}"
    return Query(
        warehouse=f"{columns}\nFROM fct_{CLIP_FILES.name}\n{where}",
        lake=f"{columns}\nFROM read_parquet({literal(f'{CLIP_FILES.name}/*.parquet')})\n{where}",
    )
