"""Small pictures for people who watch a run: one PNG, no page. The page's own charts are in `charts`."""

from cv_quality.freshness import StageContext
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.reports.drawing import over
from cv_quality.tasks.video.tables import FRAME_SCORES

CLIPS_DRAWN = 24
WIDTH_PX, BAR_PX = 360, 15


def quality_by_clip(context: StageContext) -> bytes:
    """Draw the clips of one drop as a PNG: the quality of their frames, or their latency where nothing has a truth."""
    return draw_clips(context.lake, build=context.build, drop=context.drop)


def draw_clips(lake: Lake, *, build: str, drop: str) -> bytes:
    """Draw the quality of every clip, 1 - loss: its mean, and from the worst tenth of its frames to the best.

    Of a drop without a truth it is the latency, so far as it is logged. The worst clips come first.

    Args:
        lake: to read from.
        build: whose model scored the frames.
        drop: whose frames they are.

    Raises:
        MissingTable: the drop has not been scored under that build.
    """
    import altair as alt
    import polars as pl
    import vl_convert

    columns = ["stream_id", "loss", "latency_ms"]
    rows = lake.read(FRAME_SCORES, TableKey(build=build, drop=drop), columns=columns)
    is_scored = rows["loss"].count() > 0
    value, title = (1 - pl.col("loss"), "quality of frames") if is_scored else (pl.col("latency_ms"), "latency in ms")
    clips = (
        rows.group_by("stream_id")
        .agg(
            value.mean().alias("mean"),
            value.quantile(0.1, "nearest").alias("low"),
            value.quantile(0.9, "nearest").alias("high"),
        )
        .drop_nulls()
        .sort("mean", "stream_id", descending=[not is_scored, False])
        .head(CLIPS_DRAWN)
    )
    order = clips["stream_id"].to_list()
    y = alt.Y("stream_id:N", sort=order, title=None, axis=alt.Axis(labelLimit=120, ticks=False, domain=False))
    scale = alt.Scale(domain=[0, 1]) if is_scored else alt.Scale(zero=True)
    base = over(clips.to_dicts()).encode(y=y)
    spans = base.mark_bar(height=5, color="#c9d4dd").encode(x=alt.X("low:Q", scale=scale, title=title), x2="high:Q")
    dots = base.mark_point(size=45, filled=True, opacity=1, color="#b8480a").encode(x=alt.X("mean:Q", scale=scale))
    height = max(BAR_PX * len(order), 2 * BAR_PX)
    spec = (spans + dots).properties(width=WIDTH_PX, height=height).to_dict()
    return bytes(vl_convert.vegalite_to_png(spec, scale=1.5))
