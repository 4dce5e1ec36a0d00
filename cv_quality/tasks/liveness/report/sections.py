"""The sections of the page of a liveness build, in its order: rates by species, what lets attacks through, the data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cv_quality.lake.lake import TableKey
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.reports.data_quality import DATA_QUALITY
from cv_quality.reports.drawing import (
    BUILD_INK,
    FAINT_INK,
    Chart,
    Row,
    level_axis,
    number_axis,
    over,
    rate_row,
    specification,
    tips,
)
from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.rates import read_rate
from cv_quality.reports.section import ReportSource, Section
from cv_quality.tasks.liveness.build_metrics import WHOLE, read_outcomes, warnings_of
from cv_quality.tasks.liveness.report.explained import AGREEMENT, EXPLAINED
from cv_quality.tasks.liveness.report.root_causes import read_root_causes
from cv_quality.tasks.liveness.report.system import ASKED_RELEASE, POLICIES, PROFILES, SYSTEM
from cv_quality.tasks.liveness.tables import LIVENESS_RATES
from cv_quality.tasks.root_causes.report.charts import cause_charts

TEMPLATES = "tasks/liveness/report/templates"


@dataclass(frozen=True, slots=True)
class SpeciesLine:
    """One rate of one species, or of all bona fide presentations."""

    metric: str
    species: str
    dimension: str
    level: str
    rate: Rate
    upper: float | None
    icc: float | None
    unit: str
    is_worst: bool


@dataclass(frozen=True, slots=True)
class LivenessNumbers:
    """Rates of a build: over all, and of the worst species and of bona fide presentations by condition.

    Attributes:
        warnings: what a reader of the bounds must know.
    """

    lines: tuple[SpeciesLine, ...]
    by_condition: tuple[SpeciesLine, ...]
    query: Query
    warnings: tuple[str, ...] = ()

    def of(self, metric: str) -> tuple[SpeciesLine, ...]:
        """The lines of one metric over all, the highest first."""
        found = [line for line in self.lines if line.metric == metric]
        return tuple(sorted(found, key=lambda line: (-(line.rate.value or 0.0), line.species)))

    @property
    def worst(self) -> SpeciesLine | None:
        """The species with the highest APCER; None where no attack got a response."""
        return next((line for line in self.of("apcer") if line.rate.value is not None), None)


def read_numbers(source: ReportSource) -> LivenessNumbers:
    """Read the rates of the build."""
    rows = source.lake.read(LIVENESS_RATES, TableKey(build=source.scope.build))
    lines = tuple(_line(row) for row in rows.iter_rows(named=True))
    by_condition = tuple(
        line for line in lines if line.dimension != WHOLE and line.metric in ("apcer", "bpcer") and line.is_worst
    )
    outcomes = read_outcomes(source.lake, source.scope.build, source.scope.drops, source.modality)
    return LivenessNumbers(
        tuple(line for line in lines if line.dimension == WHOLE),
        by_condition,
        rows_query(LIVENESS_RATES, build=source.scope.build, where={"dimension": WHOLE}, order=("metric", "species")),
        warnings_of(outcomes),
    )


def _line(row: dict[str, Any]) -> SpeciesLine:
    return SpeciesLine(
        metric=str(row["metric"]),
        species=str(row["species"]),
        dimension=str(row["dimension"]),
        level=str(row["level"]),
        rate=read_rate(row),
        upper=row["upper"],
        icc=row["icc"],
        unit=str(row["unit"]),
        is_worst=bool(row["is_worst"]),
    )


def species_charts(data: LivenessNumbers, source: ReportSource) -> Iterable[Chart]:  # noqa: ARG001 - as sections are drawn
    """APCER of each species with its interval, the worst first."""
    import altair as alt

    lines = [line for line in data.of("apcer") if line.rate.has_interval]
    if not lines:
        return
    rows: list[Row] = [
        rate_row(line.rate)
        | {
            "level": line.species,
            "ink": FAINT_INK if line.rate.reason else BUILD_INK,
            "shown": percent(line.rate.value),
        }
        for line in lines
    ]
    y, ink = level_axis([line.species for line in lines]), alt.Color("ink:N", scale=None, legend=None)
    ends = [0.0, *(end for line in lines for end in (line.rate.low, line.rate.high) if end is not None)]
    axis = number_axis(ends, words=percent)
    tip = tips({"level": "species", "shown": "APCER", "interval": "95 % interval", "counts": "presentations"})
    low = alt.X("low:Q", title="APCER", axis=axis, scale=alt.Scale(domain=[0, max(ends)]))
    bars = over(rows).mark_rule(strokeWidth=2).encode(x=low, x2="high:Q", y=y, color=ink)
    dots = over(rows).mark_point(size=80, filled=True, opacity=1).encode(x="value:Q", y=y, color=ink, tooltip=tip)
    title = "APCER of each species"
    told = "; ".join(f"{line.species} {percent(line.rate.value)}" for line in lines)
    spec = specification(alt.layer(bars, dots), height=40 + 26 * len(rows), alt_text=title)
    yield Chart("chart-species", title, f"{title}, with 95 % intervals: {told}.", spec)


NUMBERS = Section(
    "numbers", "Rates by species", read_numbers, f"{TEMPLATES}/numbers.html", species_charts, link="Rates"
)
CAUSES = Section(
    "why",
    "What lets attacks through",
    read_root_causes,
    "tasks/root_causes/report/templates/root_causes.html",
    cause_charts,
    link="Why",
)
SECTIONS: tuple[Section[Any], ...] = (
    *(ASKED_RELEASE, NUMBERS, SYSTEM, POLICIES, PROFILES),
    *(CAUSES, EXPLAINED, AGREEMENT, DATA_QUALITY),
)
