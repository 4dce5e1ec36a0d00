"""Small pictures for people who watch a run: one PNG, no page. The report's own charts are in `charts`."""

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.reports.drawing import over
from cv_quality.tasks.verification.modality import Comparator
from cv_quality.tasks.verification.report.curves import score_axis
from cv_quality.tasks.verification.tables import COMPARISONS

BINS = 40


def score_histogram(
    lake: Lake, *, build: str, drop: str, comparator: Comparator, decision_threshold: float | None
) -> bytes:
    """Draw the genuine and impostor scores of one build on one drop as a PNG, the decision threshold marked.

    Args:
        comparator: whose scores they are.
        decision_threshold: the build's, as its entry has it; None where it is unknown.

    Raises:
        MissingTable: the drop has not been compared under that build.
    """
    import altair as alt
    import polars as pl
    import vl_convert

    rows = lake.read(COMPARISONS, TableKey(build=build, drop=drop), columns=["is_genuine", "score"]).drop_nulls("score")
    low, high = score_axis(comparator, [rows["score"].to_numpy()])
    width = (high - low) / BINS
    binned = (
        rows.with_columns(
            score=(((pl.col("score") - low) / width).floor().clip(0, BINS - 1) + 0.5) * width + low,
            comparison=pl.when("is_genuine").then(pl.lit("genuine")).otherwise(pl.lit("impostor")),
        )
        .group_by("comparison", "score")
        .len("comparisons")
        .sort("comparison", "score")
    )
    bars = over(binned.to_dicts()).mark_bar(opacity=0.6, width=320 / BINS)
    bars = bars.encode(
        x=alt.X("score:Q", scale=alt.Scale(domain=[low, high], nice=False), title="score"),
        y=alt.Y("comparisons:Q", stack=None, title=None),
        color=alt.Color("comparison:N", scale=alt.Scale(range=["#0b6e99", "#c2571a"]), title=None),
    )
    marked = [] if decision_threshold is None else [{"score": decision_threshold}]
    rule = over(marked).mark_rule(strokeDash=[4, 3]).encode(x="score:Q")
    spec = (bars + rule).properties(width=360, height=140).to_dict()
    return bytes(vl_convert.vegalite_to_png(spec, scale=1.5))
