"""What a search or an attribution found, as the rows of a table in the terminal. The full documents are `to_dict`."""

from cv_quality.error_analysis.attribution import AttributedPart, Attribution
from cv_quality.error_analysis.slice_report import Kind, SliceReport, figure
from cv_quality.metrics.results import percent
from cv_quality.text import figures, signed


def slice_rows(found: SliceReport) -> list[dict[str, object]]:
    """List the confirmed slices, best first."""
    return [
        {
            "slice": item.where.sentence(),
            "rate" if found.kind == "rate" else "mean": f"{figure(item.rate, found.kind)} "
            f"({figure(item.low, found.kind)} to {figure(item.high, found.kind)})",
            "elsewhere": figure(item.rest_rate, found.kind),
            "rows": figures(item.support),
            "subjects": "" if found.n_subjects is None else figures(item.subjects),
            "p": figures(item.p_adjusted),
            "of all failures": percent(item.share_of_failures),
            "splits": f"{round(item.stability * found.n_splits)} of {found.n_splits}",
        }
        for item in found.slices
    ]


def part_rows(found: Attribution) -> list[dict[str, object]]:
    """List the parts of the change, the whole last."""
    return [*(_part(item, item.condition, found.kind) for item in found.parts), _part(found, "all rows", found.kind)]


def _part(item: AttributedPart | Attribution, name: str, kind: Kind) -> dict[str, object]:
    before, after, bounds = item.rate_before, item.rate_after, ""
    if item.change_low is not None and item.change_high is not None:
        bounds = f" ({_points(item.change_low, kind)} to {_points(item.change_high, kind)})"
    return {
        "part": name,
        "rate before": "no row" if before is None else figure(before, kind),
        "rate after": "no row" if after is None else figure(after, kind),
        "more frequent (mix)": _points(item.mix, kind),
        "fails more (rate)": _points(item.rate, kind),
        "change": _points(item.change, kind) + bounds,
    }


def _points(value: float, kind: Kind) -> str:
    return f"{signed(100 * value)} pp" if kind == "rate" else signed(value)
