"""Pages of a study: its plan with the curves, and the sheet that its staff prints.

What is shown is computed in `cv_quality.studies`; a page tells its reader no more than he needs.
"""

from collections.abc import Sequence
from pathlib import Path

from cv_quality.metrics.results import percent
from cv_quality.reports.drawing import (
    BASELINE_INK,
    BUILD_INK,
    DASHES,
    FAINT_INK,
    Chart,
    Row,
    log_axis,
    number_axis,
    over,
    specification,
    tips,
)
from cv_quality.reports.provenance import Provenance
from cv_quality.reports.rendering import number, write_page
from cv_quality.studies.analysis import StudyAnalysis
from cv_quality.studies.analysis_words import endpoint_lines, flow_lines, look_words
from cv_quality.studies.assignment import Sheet, sheet_rows
from cv_quality.studies.plan_words import ASSUMPTIONS, endpoint_rows, plan_sentences
from cv_quality.studies.planning import StudyPlan
from cv_quality.studies.protocol import StudyProtocol
from cv_quality.text import figures

SHEET_TITLES = {
    "subject_id": "Subject",
    "stratum": "Stratum",
    "arm": "Build",
    "devices": "Devices, in this order",
    "conditions": "Conditions, in this order",
}


def write_sheet_page(sheet: Sheet, *, protocol: StudyProtocol, provenance: Provenance, target: Path) -> None:
    """Write the sheet for the study's staff to `target`, at once or not at all.

    Args:
        protocol: of the study.
        provenance: what made the page.
    """
    rows = sheet_rows(sheet)
    write_page(
        "reports/templates/study_sheet.html",
        target,
        sheet=sheet,
        protocol=protocol,
        titles=[(name, SHEET_TITLES[name]) for name in (rows[0] if rows else ["subject_id"])],
        rows=rows,
        provenance=provenance,
    )


def write_plan_page(plan: StudyPlan, *, protocol: StudyProtocol, provenance: Provenance, target: Path) -> None:
    """Write the page of a plan to `target`, at once or not at all.

    Args:
        protocol: that is planned.
        provenance: what made the page.
    """
    write_page(
        "reports/templates/study_plan.html",
        target,
        plan=plan,
        protocol=protocol,
        rows=endpoint_rows(plan),
        sentences=plan_sentences(plan),
        charts=plan_charts(plan),
        provenance=provenance,
    )


def write_analysis_page(
    found: StudyAnalysis, explored: Sequence[str], *, protocol: StudyProtocol, provenance: Provenance, target: Path
) -> None:
    """Write the page of an analysis to `target`, at once or not at all.

    Args:
        found: the analysis.
        explored: what was found in the data and decides nothing.
        protocol: of the study.
        provenance: what made the page.
    """
    write_page(
        "reports/templates/study_analysis.html",
        target,
        found=found,
        look=look_words(found.look),
        endpoints=endpoint_lines(found),
        flow=flow_lines(found),
        units=f"{found.unit}s",
        explored=explored,
        protocol=protocol,
        provenance=provenance,
        charts=(),
    )


def plan_charts(plan: StudyPlan) -> tuple[Chart, ...]:
    """Draw what hangs on the size: power, cost, and the size itself on every assumption."""
    if plan.subjects is None:
        return ()
    return (_power_chart(plan), _cost_chart(plan), _sensitivity_chart(plan))


def _power_chart(plan: StudyPlan) -> Chart:
    import altair as alt

    names = list(dict.fromkeys(point.endpoint for point in plan.curve))
    rows: list[Row] = [
        {
            "endpoint": point.endpoint,
            "subjects": point.subjects,
            "power": point.power,
            "subjects_words": figures(point.subjects),
            "power_words": percent(point.power),
        }
        for point in plan.curve
    ]
    shown = tips({"endpoint": "endpoint", "subjects_words": "subjects that complete", "power_words": "power"})
    sizes = [point.subjects for point in plan.curve]
    x = alt.X(
        "subjects:Q",
        scale=alt.Scale(type="log", domain=[min(sizes), max(sizes)], nice=False),
        title="subjects that complete",
        axis=log_axis(powers=range(8), words=number),
    )
    y = alt.Y("power:Q", title="power", scale=alt.Scale(domain=[0, 1]), axis=number_axis([0, 1]))
    dash = alt.StrokeDash(
        "endpoint:N", scale=alt.Scale(domain=names, range=[list(DASHES[i % len(DASHES)]) for i in range(len(names))])
    )
    line = over(rows).mark_line(strokeWidth=2.2, color=BUILD_INK).encode(x=x, y=y, strokeDash=dash)
    hover = over(rows).mark_point(size=60, opacity=0).encode(x=x, y=y, tooltip=shown)
    rule = over([{"subjects": plan.subjects}]).mark_rule(color=FAINT_INK, strokeWidth=1.5).encode(x="subjects:Q")
    words = f"Power against subjects for {', '.join(names)}; a vertical line at the plan’s {figures(plan.subjects)}."
    spec = specification(alt.layer(rule, line, hover), height=280, alt_text="Power against subjects")
    return Chart("chart-power", "Power", words, spec)


def _cost_chart(plan: StudyPlan) -> Chart:
    import altair as alt

    rows: list[Row] = [
        {
            "attempts": point.attempts_per_subject,
            "cost": point.cost,
            "attempts_words": figures(point.attempts_per_subject),
            "enrolled_words": figures(point.enrolled),
            "cost_words": figures(point.cost),
        }
        for point in plan.costs
    ]
    shown = tips({"attempts_words": "attempts of a subject", "enrolled_words": "enrolled", "cost_words": "cost"})
    counts = [point.attempts_per_subject for point in plan.costs]
    x = alt.X("attempts:Q", title="attempts of a subject", axis=number_axis([0, *counts], words=number))
    costs = [0, *(point.cost for point in plan.costs)]
    y = alt.Y("cost:Q", title="cost", axis=number_axis(costs, words=number))
    line = over(rows).mark_line(
        strokeWidth=2.2, color=BUILD_INK, point={"color": BUILD_INK, "size": 45, "filled": True}
    )
    cheapest = min(plan.costs, key=lambda point: point.cost)
    words = f"Cost against attempts of a subject; least at {cheapest.attempts_per_subject} attempts."
    spec = specification(line.encode(x=x, y=y, tooltip=shown), height=240, alt_text="Cost against attempts")
    return Chart("chart-cost", "Cost", words, spec)


def _sensitivity_chart(plan: StudyPlan) -> Chart:
    import altair as alt

    points = [item for item in plan.sensitivity if item.enrolled is not None]
    order = [f"{ASSUMPTIONS[item.assumption]} {figures(item.value)}" for item in points]
    rows: list[Row] = [
        {
            "level": words,
            "enrolled": item.enrolled,
            "enrolled_words": figures(item.enrolled),
            "kind": "assumed" if item.is_assumed else "otherwise",
        }
        for words, item in zip(order, points, strict=True)
    ]
    axis = number_axis([0, *(item.enrolled for item in points)], words=number)
    x = alt.X("enrolled:Q", title="subjects to enrol", axis=axis, scale=alt.Scale(zero=True))
    ink = alt.Color(
        "kind:N", scale=alt.Scale(domain=["assumed", "otherwise"], range=[BUILD_INK, BASELINE_INK]), legend=None
    )
    y = alt.Y("level:N", sort=order, title=None, axis=alt.Axis(labelLimit=260, ticks=False, domain=False))
    shown = tips({"level": "assumption", "enrolled_words": "subjects to enrol"})
    dots = over(rows).mark_point(filled=True, size=80, opacity=1).encode(x=x, y=y, color=ink, tooltip=shown)
    words = "Subjects to enrol if one assumption is changed; the assumed values in another colour."
    spec = specification(dots, height=19 * len(order), alt_text="Subjects to enrol by assumption")
    return Chart("chart-sensitivity", "What hangs on the assumptions", words, spec)
