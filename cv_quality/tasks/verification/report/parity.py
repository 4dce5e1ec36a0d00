"""Parity between devices and re-inference, read from the lake: by device model, and which decisions flip and where.

How it is counted is in `cv_quality.tasks.verification.parity`; how it looks in
`cv_quality.tasks.verification.report.parity_charts`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from cv_quality.lake.lake import TableKey
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.reports.curves import HistogramBin, filled_bins
from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.rates import read_rate
from cv_quality.reports.rendering import number
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES, SLICE_SEARCHES
from cv_quality.tasks.verification.counts import WHOLE
from cv_quality.tasks.verification.modality import biometric
from cv_quality.tasks.verification.parity import device_decisions
from cv_quality.tasks.verification.populations import FLIP, MIN_FAILURES
from cv_quality.tasks.verification.report.wording import comparator_of
from cv_quality.tasks.verification.rules import MAX_PARITY_BREAKS_SHARE
from cv_quality.tasks.verification.tables import PARITY
from cv_quality.text import span

if TYPE_CHECKING:
    import polars as pl

PARITY_BINS = 41
"""An odd number, so that no difference at all lies in the middle of a bin."""
REACH_OF_TOLERANCE = 1.5
"""An axis of differences is at least so many tolerances long on either side: what agrees is seen to lie within it."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One row of `parity`: all attempts that the devices decided by matching, or those of one device model."""

    level: str
    n_scores: int
    median_difference: float | None
    largest_difference: float | None
    n_beyond: int
    n_device_only: int
    n_reinferred_only: int
    n_near: int
    n_far: int
    n_far_agreeing: int
    n_derived: int
    n_unscored: int
    n_unscored_accepted: int
    flips: Rate

    @property
    def share_beyond(self) -> float | None:
        return self.n_beyond / self.n_scores if self.n_scores else None


@dataclass(frozen=True, slots=True)
class FlipSlice:
    """A confirmed slice of the flips."""

    condition: str
    sentence: str
    rate: Rate
    rest_rate: float | None


@dataclass(frozen=True, slots=True)
class Parity:
    """What the section shows.

    Attributes:
        tolerance: how far two scores may differ.
        threshold: of the build.
        whole: over all attempts.
        models: the worst device model first: by scores that differ, then by decisions that flip.
        differences: histogram of the device's score minus the re-inferred one, by device model.
        distances: histogram of the re-inferred score minus the threshold, of flips, by "near" and "far".
        conclusion: of the search for slices of the flips.
        slices: of the flips, the first explains most.
        queries: by what they are about.
    """

    tolerance: float
    threshold: float
    whole: Agreement
    models: tuple[Agreement, ...]
    differences: Mapping[str, tuple[HistogramBin, ...]]
    distances: Mapping[str, tuple[HistogramBin, ...]]
    conclusion: str
    slices: tuple[FlipSlice, ...]
    queries: Mapping[str, Query]

    @property
    def is_broken(self) -> bool:
        """Whether rounding does not explain what differs: so many scores, or a flip far from the threshold."""
        return self.whole.n_far > 0 or (self.whole.share_beyond or 0.0) > MAX_PARITY_BREAKS_SHARE

    @property
    def finding(self) -> str:
        """How many decisions flip, and what that means, as far as the interval allows."""
        flips = self.whole.flips
        if flips.value is None:
            return "No decision of a device can be compared: none of these attempts has a re-inferred score."
        of, beyond = f"{flips.denominator:,} decisions of {flips.n_subjects:,} subjects", self._beyond()
        if not flips.numerator:
            bound = f"at most {percent(flips.high)} of decisions flip (95 % interval, clustered by subject)"
            return f"No decision flips: devices and re-inference decide alike on all {of}; {bound}.{beyond}"
        interval = f"95 % interval {span(flips.low, flips.high, words=percent)}, clustered by subject"
        return f"{flips.numerator:,} of {of} flip: {percent(flips.value)} ({interval}). {self._explained()}{beyond}"

    def _beyond(self) -> str:
        whole = self.whole
        share = f"{whole.n_beyond:,} of {whole.n_scores:,} scores ({percent(whole.share_beyond)})"
        return f" {share} differ by more than {number(self.tolerance)}." if whole.n_beyond else ""

    def _explained(self) -> str:
        whole, tolerance, threshold = self.whole, number(self.tolerance), number(self.threshold)
        told = []
        if whole.n_far:
            told.append(
                f"{_lie(whole.n_far)} farther than {tolerance} from the threshold: that is a fault and no rounding, "
                "these devices run another model, preprocessing or threshold."
            )
        if whole.n_far_agreeing:
            told.append(
                f"In {whole.n_far_agreeing:,} of these the two scores agree: the device decided otherwise than by its "
                f"score at {threshold}."
            )
        if whole.n_near:
            told.append(f"{_lie(whole.n_near)} within {tolerance} of the threshold: rounding explains that.")
        return " ".join(told)


def _lie(count: int) -> str:
    return f"{count:,} {'lies' if count == 1 else 'lie'}"


def read_parity(source: ReportSource) -> Parity | None:
    """Read how far the devices agree; None where they logged neither scores nor decisions of this build.

    Raises:
        MissingTable: the build was not measured, or its slices not searched.
    """
    import polars as pl

    build, order = source.scope.build, ("n_beyond / n_scores DESC", "value DESC", "level")
    rows = source.lake.read(PARITY, TableKey(build=build))
    if rows.is_empty():
        return None
    decisions = device_decisions(
        source.lake, build=build, drops=source.scope.drops, modality=biometric(source.modality)
    )
    threshold = pl.col("decision_threshold")
    shown = decisions.select(
        "device_model", "difference", "is_flip", "is_near", threshold, distance=pl.col("score") - threshold
    ).collect()
    tolerance = comparator_of(source).parity_tolerance
    models = [_agreement(row) for row in rows.filter(dimension="device_model").iter_rows(named=True)]
    own = {"outcome": FLIP.name, "finding": "confirmed"}
    return Parity(
        tolerance=tolerance,
        threshold=float(shown["decision_threshold"][0]),
        whole=_agreement(rows.row(by_predicate=pl.col("dimension") == WHOLE, named=True)),
        models=tuple(sorted(models, key=_worst_first)),
        differences=_differences(shown, tolerance),
        distances=_distances(shown, tolerance),
        conclusion=_conclusion(source),
        slices=tuple(
            map(_slice, source.lake.read(FAILURE_SLICES, TableKey(build=build)).filter(**own).sort("rank").to_dicts())
        ),
        queries={
            "models": rows_query(PARITY, build=build, where={"dimension": (WHOLE, "device_model")}, order=order),
            "slices": rows_query(FAILURE_SLICES, build=build, where={**own}, order=("rank",)),
        },
    )


def _agreement(row: Mapping[str, Any]) -> Agreement:
    copied = (field.name for field in fields(Agreement) if field.name != "flips")
    return Agreement(**{name: row[name] for name in copied}, flips=read_rate(row))


def _worst_first(item: Agreement) -> tuple[float, float, str]:
    return -(item.share_beyond or 0.0), -(item.flips.value or 0.0), item.level


def _slice(row: Mapping[str, Any]) -> FlipSlice:
    return FlipSlice(row["condition"], row["sentence"], read_rate(row, value="rate"), row["rest_rate"])


def _conclusion(source: ReportSource) -> str:
    searches = source.lake.read(SLICE_SEARCHES, TableKey(build=source.scope.build)).filter(outcome=FLIP.name)
    if searches.is_empty():
        return f"Slices of the flips are searched where at least {MIN_FAILURES} decisions flip."
    return str(searches["conclusion"].item())


def _differences(decisions: "pl.DataFrame", tolerance: float) -> dict[str, tuple[HistogramBin, ...]]:
    """Bin the differences of each device model over one axis."""
    rows = decisions.drop_nulls("difference").sort("device_model")
    groups = rows.group_by("device_model", maintain_order=True)
    return _binned({str(model): own["difference"] for (model,), own in groups}, tolerance)


def _distances(decisions: "pl.DataFrame", tolerance: float) -> dict[str, tuple[HistogramBin, ...]]:
    """Bin how far from the threshold the re-inferred scores of flips lie."""
    flips = decisions.filter("is_flip")
    return _binned({name: flips.filter(is_near=name == "near")["distance"] for name in ("near", "far")}, tolerance)


def _binned(parts: "Mapping[str, pl.Series]", tolerance: float) -> dict[str, tuple[HistogramBin, ...]]:
    """Histograms over one axis, 0 in its middle and wide enough for what may differ; parts without a value go."""
    import numpy as np

    values = {name: part.to_numpy() for name, part in parts.items() if part.len()}
    reach = max([REACH_OF_TOLERANCE * tolerance, *(float(np.abs(part).max()) for part in values.values())])
    edges = np.linspace(-reach, reach, PARITY_BINS + 1)
    return {name: filled_bins(edges, np.histogram(part, edges)[0]) for name, part in values.items()}
