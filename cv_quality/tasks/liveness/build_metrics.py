"""The rates of a build's liveness by PAI species, over all its drops and by condition: the stage `measure_liveness`."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cv_quality.freshness import StageContext
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.liveness.artefacts import artefact_rate, intraclass_correlation
from cv_quality.metrics.liveness.error_rates import NO_RESPONSE as NO_RESPONSE_AT_ALL
from cv_quality.metrics.liveness.presentations import Presentations, check_presentations
from cv_quality.metrics.rates import NO_TRIAL, Rate, clustered_rate
from cv_quality.modality import Dimension, Modality, of_modality
from cv_quality.studies.pad_profiles import ATTACK_METRICS, CountedErrors, count_errors
from cv_quality.tasks.liveness.tables import LIVE, LIVENESS_RATES, NO_RESPONSE, PRESENTATION_OUTCOMES, UNDECIDED
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.verification.dimensions import DEVICE, SUBJECT

if TYPE_CHECKING:
    import polars as pl

Row = dict[str, object]
WHOLE = "all"
SCORES = ("pad_score", "second_pad_score")
"""Of the first and the second detector."""
SERIES = "pai_series"
"""Of artefacts only: those of one series were made alike."""


@dataclass(frozen=True, slots=True)
class LivenessSummary:
    """What was measured of a build: the species that gets through most, and how often."""

    build: str
    presentations: int
    species: int
    rate_rows: int
    worst_species: str
    worst_apcer: float


def liveness_dimensions(modality: Modality) -> tuple[Dimension, ...]:
    """List what a presentation is told apart by: its conditions, its device, who presented."""
    return (*modality.conditions, DEVICE[0], *SUBJECT)


def breakdowns(modality: Modality) -> tuple[str, ...]:
    """List the columns that rates are broken down by: levels of conditions, and the series of artefacts."""
    return (SERIES, *(item.level_column for item in liveness_dimensions(modality) if item.is_counted))


def measure_liveness(context: StageContext) -> LivenessSummary:
    """Measure the presentations of a build's drops, and write `liveness_rates`.

    Raises:
        MissingTable: a drop was not judged.
        MetricError: artefacts contradict species over the build's drops.
    """
    rows = read_outcomes(context.lake, context.build, context.drops, context.modality)
    found = list(_rates(rows, WHOLE, WHOLE))
    for column in breakdowns(context.modality):
        for (level,), of_level in rows.drop_nulls(column).group_by(column):
            found += _rates(of_level, column, str(level))
    found.sort(key=lambda row: [str(row[name]) for name in LIVENESS_RATES.unique])
    n_rows = write_rows(context.lake, LIVENESS_RATES, context.build, _marked(found))
    whole = [
        row for row in found if row["metric"] == "apcer" and row["dimension"] == WHOLE and row["value"] is not None
    ]
    worst = max(whole, key=lambda row: float(str(row["value"])), default={"species": "none", "value": 0.0})
    species = len({row["species"] for row in whole})
    return LivenessSummary(
        context.build, rows.height, species, n_rows, str(worst["species"]), float(str(worst["value"]))
    )


def read_outcomes(lake: Lake, build: str, drops: Sequence[str], modality: Modality) -> "pl.DataFrame":
    """Read what became of the presentations of a build's drops.

    Args:
        lake: to read from.
        build, drops: whose.
        modality: of the build.

    Raises:
        MissingTable: a drop was not judged.
    """
    keys = [TableKey(build=build, drop=drop) for drop in drops]
    return lake.scan(of_modality(PRESENTATION_OUTCOMES, modality), keys).collect()


def presentations_of_rows(rows: "pl.DataFrame", *, score: str | None = None, by: str | None = None) -> Presentations:
    """Turn rows of outcomes into presentations whose score is 1 where they were taken for bona fide, else 0.

    Args:
        rows: of outcomes.
        score: a column that holds their scores instead; those without a response have none.
        by: a column whose levels are groups; None without groups.

    Raises:
        MetricError: artefacts contradict species.
    """
    import polars as pl

    value = (pl.col("outcome") == LIVE).cast(pl.Float64) if score is None else pl.col(score)
    is_answered = pl.col("is_error").is_not_null() if score is None else pl.col("outcome") != NO_RESPONSE
    decided = rows.with_columns(
        score=pl.when(is_answered).then(value),
        person=pl.when("is_attack").then(pl.coalesce("target_subject_id", "subject_id")).otherwise("subject_id"),
    )
    attacks = decided.filter("is_attack")
    artefact = decided["artefact_id"].fill_null("").to_numpy() if attacks["artefact_id"].null_count() == 0 else None
    return check_presentations(
        decided["score"].fill_null(float("nan")).to_numpy(),
        decided["is_attack"].to_numpy(),
        species=decided["pai_species"].fill_null("").to_numpy(),
        artefact=artefact,
        subject=decided["person"].to_numpy(),
        group=None if by is None else decided[by].cast(pl.String).fill_null("").to_numpy(),
    )


def is_zero_effort() -> "pl.Expr":
    """Tell whether a bona fide presentation claimed somebody else than who presents."""
    import polars as pl

    is_other = (pl.col("target_subject_id") != pl.col("subject_id")).fill_null(value=False)
    return ~pl.col("is_attack") & is_other


def passed_system() -> "pl.Expr":
    """Tell whether a presentation passed capture, liveness and the matcher; null where that is not known."""
    import polars as pl

    is_live, is_undecided = pl.col("outcome") == LIVE, pl.col("outcome") == UNDECIDED
    return pl.when(is_live).then("is_device_match").when(is_undecided.not_()).then(statement=False)


def count_rows(rows: "pl.DataFrame", *, by: str | None = None) -> tuple[CountedErrors, ...]:
    """Count the errors of every metric among presentations; what is undecided is in none.

    Args:
        rows: of outcomes.
        by: a column whose levels are groups; None without groups.

    Raises:
        MetricError: artefacts contradict species.
    """
    import polars as pl

    known = rows.filter(pl.col("outcome") != UNDECIDED)
    passed = known.select(passed_system()).to_series()
    # The whole system is told apart from liveness only where what became of every presentation is known.
    is_match = None if passed.null_count() else passed.to_numpy().astype(bool)
    is_impostor = known.select(is_zero_effort()).to_series().to_numpy().astype(bool)
    shown = presentations_of_rows(known, by=by)
    return count_errors(shown, threshold=0.5, is_match=is_match, is_impostor=is_impostor)


def warnings_of(rows: "pl.DataFrame") -> tuple[str, ...]:
    """List what a reader of the rates must know: what stands in for artefacts, and scores that point the other way.

    Args:
        rows: of outcomes.

    Raises:
        MetricError: artefacts contradict species.
    """
    said = list(presentations_of_rows(rows).warnings)
    for score in SCORES:
        people, attacks = (rows.filter(rows["is_attack"] == is_attack)[score].median() for is_attack in (False, True))
        if isinstance(people, float) and isinstance(attacks, float) and people < attacks:
            said.append(
                f"{score} of attacks is higher than that of people, by their medians, where a higher one is to be more "
                "surely bona fide: turn its sign in the drops"
            )
    return tuple(said)


def _rates(rows: "pl.DataFrame", dimension: str, level: str) -> Iterator[Row]:
    """The rates of what was presented; a species without a response is there, and says so."""
    for counted in count_rows(rows):
        if counted.trials.size or counted.metric in ATTACK_METRICS:
            yield {"species": counted.name, "dimension": dimension, "level": level, **_rate(counted)}


def rate_of(counted: CountedErrors) -> Rate:
    """Estimate a rate with its two-sided 95 % interval: by artefact for attacks, by subject for people."""
    if not counted.trials.size:
        return replace(NO_TRIAL, reason=NO_RESPONSE_AT_ALL)
    estimate = artefact_rate if counted.metric in ATTACK_METRICS else clustered_rate
    return estimate(counted.errors, counted.trials, unit=counted.unit)


def _rate(counted: CountedErrors) -> Row:
    rate, upper, icc = rate_of(counted), None, None
    if counted.metric in ATTACK_METRICS and counted.trials.size:
        upper = artefact_rate(counted.errors, counted.trials, side="upper", unit=counted.unit).high
        icc = intraclass_correlation(counted.errors, counted.trials)
    own = asdict(rate)
    return {"metric": counted.metric, **own, "upper": upper, "icc": icc, "unit": counted.unit}


def _marked(rows: list[Row]) -> list[Row]:
    """Say of every row whether its species is the worst of its metric, dimension and level."""
    highest: dict[tuple[object, ...], float] = {}
    for row in rows:
        group = (row["metric"], row["dimension"], row["level"])
        value = -np.inf if row["value"] is None else float(str(row["value"]))
        highest[group] = max(value, highest.get(group, -np.inf))
    return [{**row, "is_worst": row["value"] == highest[row["metric"], row["dimension"], row["level"]]} for row in rows]
