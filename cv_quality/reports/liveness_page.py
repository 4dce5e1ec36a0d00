"""One self-contained HTML page for sets of liveness scores: the worst species first, every species with its bound.

Numbers are those of `cv_quality.scores.liveness`; here they are put into words, rows and drawings. The page names no
subject and shows no presentation; the same sets give the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cv_quality.metrics.liveness.error_rates import SpeciesRate
from cv_quality.metrics.results import percent
from cv_quality.reports.drawing import (
    BUILD_INK,
    FAINT_INK,
    Chart,
    Row,
    level_axis,
    log_axis,
    number_axis,
    over,
    specification,
    tips,
)
from cv_quality.reports.evaluation_page import short_names
from cv_quality.reports.liveness_policies import policy_rows
from cv_quality.reports.rates import method_names
from cv_quality.reports.rendering import number, write_page
from cv_quality.scores.liveness import SAME_DATA, LivenessEvaluation, WorkingPoint
from cv_quality.studies.pad_policies import ComparedPolicies
from cv_quality.studies.pad_profiles import ProfileAnswer
from cv_quality.text import span

LINES = 8
"""Species that the curve draws beside the worst of each threshold: those with the highest APCER."""


@dataclass(frozen=True, slots=True)
class LivenessView:
    """One set on the page.

    Attributes:
        finding: its result in a sentence.
        species: of the leading point, the highest APCER first.
        curve, rates: drawings; None where there is nothing to draw.
    """

    id: str
    evaluation: LivenessEvaluation
    answered: ProfileAnswer | None
    files: tuple[str, ...]
    finding: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    species: tuple[SpeciesRate, ...]
    curve: Chart | None
    rates: Chart | None
    methods: tuple[str, ...]
    policies: tuple[dict[str, object], ...]
    has_devel: bool


@dataclass(frozen=True, slots=True)
class AnsweredLiveness:
    """A liveness set evaluated.

    Attributes:
        profile: its answers, where one was asked.
        policies: two detectors at each APCER target, where files hold two scores.
    """

    evaluation: LivenessEvaluation
    profile: ProfileAnswer | None = None
    policies: tuple[ComparedPolicies, ...] = ()


def write_liveness_page(evaluated: Sequence[AnsweredLiveness], *, target: Path) -> None:
    """Write one page about all sets to `target`, at once or not at all.

    Args:
        evaluated: each set.
    """
    short = short_names([file for one in evaluated for file in one.evaluation.files])
    views = [_view(one, number=at, short=short) for at, one in enumerate(evaluated, 1)]
    title = evaluated[0].evaluation.name if len(evaluated) == 1 else f"{len(evaluated)} sets of liveness scores"
    write_page("reports/templates/liveness.html", target, title=title, views=views)


def _view(one: AnsweredLiveness, *, number: int, short: dict[str, str]) -> LivenessView:
    found = one.evaluation
    point, id_ = found.leading, f"set-{number}"
    species = () if point is None or point.rates is None else point.rates.species
    ordered = tuple(sorted(species, key=lambda one: (-(one.rate.value or 0.0), one.species)))
    methods = [rate.method for one in species for rate in (one.rate, one.upper)]
    if point is not None and point.rates is not None:
        methods.append(point.rates.bpcer.method)
    return LivenessView(
        id=id_,
        evaluation=found,
        answered=one.profile,
        files=tuple(short[file] for file in found.files),
        finding=finding(point),
        warnings=tuple(_told(text, short) for text in found.warnings),
        notes=tuple(_told(text, short) for text in found.notes),
        species=ordered,
        curve=_curve_chart(found, ordered, id=f"{id_}-curve"),
        rates=_rates_chart(ordered, id=f"{id_}-species") if ordered else None,
        methods=tuple(method_names(methods)),
        policies=tuple(policy_rows(one.policies)),
        has_devel=any(one.chosen_on not in (None, SAME_DATA) for one in found.points),
    )


def finding(point: WorkingPoint | None) -> str:
    """Say what gets through, what is kept out with it, and how sure that is."""
    if point is None or point.rates is None:
        return "No working point: no threshold was given, and the presentations are too few for an APCER target"
    rates, worst = point.rates, point.rates.worst
    if worst is None:
        return "No attack got a response"
    bpcer = "unknown" if rates.bpcer.value is None else percent(rates.bpcer.value)
    few = "" if worst.is_sufficient else "; some species have too few artefacts for a verdict"
    return (
        f"At threshold {number(point.threshold)} ({point.name}) the worst species, {worst.species}, is taken for bona "
        f"fide in {percent(worst.value)} of its presentations (95 % bounds of the worst of all: "
        f"{span(worst.low, worst.high, words=percent)}), and {bpcer} of bona fide presentations are rejected{few}"
    )


def _told(text: str, short: dict[str, str]) -> str:
    for file in sorted(short, key=len, reverse=True):
        text = text.replace(file, short[file])
    return text


def _curve_chart(found: LivenessEvaluation, species: Sequence[SpeciesRate], *, id: str) -> Chart | None:
    """BPCER against APCER on logarithmic axes: the worst species at each threshold, and species by themselves."""
    import altair as alt

    names = [one.species for one in species[:LINES]]
    rows = [
        _curve_row(name, apcer, point.bpcer, point.threshold)
        for point in found.curve
        for name, apcer in (("worst species", point.apcer), *((one, point.by_species.get(one)) for one in names))
        if apcer and point.bpcer
    ]
    worst = [row for row in rows if row["species"] == "worst species"]
    if not worst:
        return None
    x = alt.X("apcer:Q", scale=alt.Scale(type="log", nice=False), title="APCER", axis=log_axis())
    y = alt.Y("bpcer:Q", scale=alt.Scale(type="log", nice=False), title="BPCER", axis=log_axis())
    shown = tips({"species": "species", "apcer_words": "APCER", "bpcer_words": "BPCER", "threshold": "threshold"})
    others = [row for row in rows if row["species"] != "worst species"]
    thin = over(others).mark_line(strokeWidth=1.2, color=FAINT_INK).encode(x=x, y=y, detail="species:N", order="at:Q")
    thick = over(worst).mark_line(strokeWidth=2.4, color=BUILD_INK).encode(x=x, y=y, order="at:Q")
    hover = over(rows).mark_point(size=60, opacity=0).encode(x=x, y=y, tooltip=shown)
    title = "BPCER against APCER"
    alt_text = (
        f"{title} of {found.name}, on logarithmic axes: the worst species and {len(names)} species by themselves."
    )
    return Chart(id, title, alt_text, specification(alt.layer(thin, thick, hover), height=330, alt_text=title))


def _curve_row(species: str, apcer: float, bpcer: float, threshold: float) -> Row:
    return {
        "species": species,
        "apcer": apcer,
        "bpcer": bpcer,
        "at": bpcer,
        "apcer_words": percent(apcer),
        "bpcer_words": percent(bpcer),
        "threshold": number(threshold),
    }


def _rates_chart(species: Sequence[SpeciesRate], *, id: str) -> Chart:
    """APCER of each species with its interval; species with too few artefacts in a faint ink."""
    import altair as alt

    known = [one for one in species if one.rate.value is not None]
    rows: list[Row] = [
        {
            "level": one.species,
            "value": one.rate.value,
            "low": one.rate.low,
            "high": one.rate.high,
            "ink": FAINT_INK if one.rate.reason else BUILD_INK,
            "words": percent(one.rate.value),
            "interval": span(one.rate.low, one.rate.high, words=percent),
            "counts": f"{one.rate.numerator:,} / {one.rate.denominator:,}, {one.n_artefacts:,} {one.unit}s",
        }
        for one in known
    ]
    y = level_axis([one.species for one in known])
    ends = [value for one in known for value in (one.rate.low, one.rate.high) if value is not None]
    axis = number_axis([0.0, *ends], count=5, words=percent)
    x = alt.X("value:Q", title="APCER", scale=alt.Scale(domain=[0, max(ends, default=1.0)]), axis=axis)
    ink = alt.Color("ink:N", scale=None, legend=None)
    bars = over(rows).mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=ink)
    shown = tips({"level": "species", "words": "APCER", "interval": "95 % interval", "counts": "presentations"})
    dots = over(rows).mark_point(size=80, filled=True, opacity=1).encode(x=x, y=y, color=ink, tooltip=shown)
    title = "APCER of each species"
    told = "; ".join(f"{row['level']} {row['words']} ({row['interval']})" for row in rows)
    height = 40 + 26 * len(rows)
    return Chart(id, title, f"{title}: {told}.", specification(alt.layer(bars, dots), height=height, alt_text=title))
