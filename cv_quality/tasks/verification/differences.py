"""How a model differs from another in every rate that a build reports: paired by subject, thresholds estimated.

Two models that scored the same attempts share what their subjects make of them; two builds with drops of their own
share the subjects that both met. How a difference is bounded is in `cv_quality.studies.comparison`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.dyadic import Errors
from cv_quality.metrics.operating_points import EXACT, OperatingPoint, both_classes, point_at_threshold, point_of_eer
from cv_quality.metrics.point_intervals import NOT_ACCOUNTED, BuildScores
from cv_quality.metrics.rates import LEVEL
from cv_quality.metrics.trials import ListedTrials, Trials
from cv_quality.metrics.verification import FMR_TARGETS, ErrorRates, allowed_false_matches
from cv_quality.reports.rates import read_rate
from cv_quality.studies.comparison import (
    Difference,
    compare_eer,
    compare_fmr,
    compare_fnmr_at_fmr,
    compare_pair_rates,
    compare_quantiles,
    compare_rates,
    undefined_difference,
)
from cv_quality.studies.policy import Evidence
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.verification.build_metrics import BETWEEN_SUBJECTS, COUNTS, GROUP, WHO
from cv_quality.tasks.verification.build_scores import read_build_scores, read_families
from cv_quality.tasks.verification.counts import WHOLE
from cv_quality.tasks.verification.modality import Comparator
from cv_quality.tasks.verification.samples import BONA_FIDE
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    DIFFERENCES,
    INTERVALS,
    METRIC_COUNTS,
    OPERATING_POINTS,
)

if TYPE_CHECKING:
    import polars as pl

FMR_AT_THRESHOLD = "fmr_at_threshold"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are compared.

    Attributes:
        build: whose drops were paired.
        model: whose model scored them.
        drops: the drops.
        comparator, threshold: of the model, the threshold native; None where it is unknown.
    """

    build: str
    model: str
    drops: Sequence[str]
    comparator: Comparator
    threshold: float | None


@dataclass(frozen=True, slots=True)
class ComparedRate:
    """A rate of two sides and their difference.

    Attributes:
        metric: "fnmr_at_fmr", "eer", "fmr_at_threshold" over all cross-subject pairs, or a metric of attempts.
        fmr_target: the highest FMR allowed, of "fnmr_at_fmr".
        dimension, level: what attempts were counted by; "all" of the whole.
    """

    metric: str
    fmr_target: float | None
    dimension: str
    level: str
    difference: Difference

    def row(self) -> dict[str, Any]:
        """Give the columns of the table of differences."""
        found = asdict(self.difference)
        values = {"value": found.pop("candidate"), "baseline_value": found.pop("reference")}
        values["difference"] = self.difference.value
        return (
            {name: getattr(self, name) for name in ("fmr_target", "dimension", "level")}
            | {name: found[name] for name in found if name not in ("metric", "value", "level")}
            | values
            | {"metric": self.metric}
        )


def compare_sides(
    lake: Lake,
    reference: Side,
    candidate: Side,
    *,
    fmr_targets: Sequence[float] = FMR_TARGETS,
    no_pairs: str = "",
    scores: Mapping[str, BuildScores] | None = None,
) -> list[ComparedRate]:
    """Compare every rate of two sides; the candidate's less the reference's.

    Args:
        lake: with the comparisons, counts and impostor pairs of both.
        reference, candidate: the sides.
        fmr_targets: at which FNMR is compared.
        no_pairs: why there are no cross-subject pairs, where that is known beforehand.
        scores: of both sides by model, where they were read already.

    Raises:
        MissingTable: a drop is not compared and counted, or impostor pairs are not counted.
    """
    family_of = read_families(lake, drops=sorted({*reference.drops, *candidate.drops}))
    attempts = list(_attempt_rates(lake, reference, candidate, family_of))
    if no_pairs:
        return attempts
    known = scores or {}
    one, other = (known.get(side.model) or _scores(lake, side, family_of) for side in (reference, candidate))
    if one.subjects != other.subjects:
        everyone = sorted({*one.subjects, *other.subjects})
        one, other = (_scores(lake, side, family_of, everyone) for side in (reference, candidate))
    return [*_pair_rates((reference, candidate), (one, other), fmr_targets), *attempts]


def write_differences(
    lake: Lake,
    build: str,
    sides: Sequence[Side],
    *,
    no_pairs: str = "",
    scores: Mapping[str, BuildScores] | None = None,
) -> int:
    """Write `differences` of a build; without a baseline there is none. Returns the number of rows.

    Args:
        lake: read and written.
        build: whose drops both models scored.
        sides: the build's own model and, where it has one, its baseline's.
        no_pairs: why there are no cross-subject pairs, where that is known beforehand.
        scores: of both sides by model, where they were read already.

    Raises:
        MissingTable: as `compare_sides`.
    """
    rows = []
    if len(sides) == 2:
        candidate, reference = sides
        found = compare_sides(lake, reference, candidate, no_pairs=no_pairs, scores=scores)
        rows = [{"baseline_build_id": reference.model, **item.row()} for item in found]
    return write_rows(lake, DIFFERENCES, build, rows)


def read_evidence(lake: Lake, build: str) -> list[Evidence]:
    """Read everything that a release policy may ask of a build: its rates, and their differences from the baseline."""
    from cv_quality.tasks.verification.report.data import point_rate

    key, found = TableKey(build=build), dict[tuple[str, float | None, str, str], Evidence]()
    for row in lake.read(INTERVALS, key).iter_rows(named=True):
        if row["model_build_id"] == build:
            group = row["metric"], None, row["dimension"], row["level"]
            found[group] = Evidence(*group, rate=read_rate(row))
    for row in lake.read(OPERATING_POINTS, key).iter_rows(named=True):
        metric = {"decision_threshold": FMR_AT_THRESHOLD}.get(row["point"], row["point"])
        name = {"fnmr_at_fmr": "fnmr", FMR_AT_THRESHOLD: "fmr"}.get(metric, metric)
        if row["model_build_id"] == build:
            group = metric, row["fmr_target"], WHOLE, WHOLE
            found[group] = Evidence(*group, rate=point_rate(row, name))
    for row in lake.read(DIFFERENCES, key).iter_rows(named=True):
        group = row["metric"], row["fmr_target"], row["dimension"], row["level"]
        difference = Difference(
            metric=row["metric"],
            reference=row["baseline_value"],
            candidate=row["value"],
            value=row["difference"],
            level=LEVEL,
            **{name: row[name] for name in _SHARED},
        )
        found[group] = replace(found.get(group) or Evidence(*group), difference=difference)
    return list(found.values())


def evidence_of(rates: Iterable[ComparedRate]) -> list[Evidence]:
    """Give compared rates as a release policy asks for them."""
    return [
        Evidence(item.metric, item.fmr_target, item.dimension, item.level, difference=item.difference) for item in rates
    ]


def latency_evidence(lake: Lake, reference: Side, candidate: Side) -> list[Evidence]:
    """Compare the percentiles of the latency that devices logged, families as units; none where none was logged."""
    sides = [_latencies(lake, side) for side in (reference, candidate)]
    if any(rows.is_empty() for rows in sides):
        return []
    names = sorted({name for rows in sides for name in rows["subject_id"]})
    codes = family_codes(names, read_families(lake, drops=sorted({*reference.drops, *candidate.drops})))
    one, other = (_by_family(rows, names, codes) for rows in sides)
    found = []
    for metric, quantile in LATENCIES.items():
        difference = compare_quantiles(metric, one, other, quantile=quantile)
        found.append(Evidence(metric, None, WHOLE, WHOLE, difference=difference))
    return found


def device_latencies(
    lake: Lake, side: Side, names: Sequence[str], codes: NDArray[np.int64], *, at: tuple[str, str] = (WHOLE, WHOLE)
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read the latencies in ms that a side's devices logged of genuine people's attempts, each with a code.

    Args:
        lake: with the side's outcomes.
        side: whose attempts.
        names: subjects, sorted; what others did is left out.
        codes: of each name, such as that of its family.
        at: the column of a condition and its level; "all" of every attempt.
    """
    return _by_family(_latencies(lake, side, at), names, codes)


def family_codes(names: Sequence[str], family_of: Mapping[str, str]) -> NDArray[np.int64]:
    """Number the families of subjects; one without a family stands for itself.

    Args:
        names: of the subjects.
        family_of: as `read_families` gives it.
    """
    found = np.unique([family_of.get(name, name) for name in names], return_inverse=True)[1]
    return found.astype(np.int64)


def _latencies(lake: Lake, side: Side, at: tuple[str, str] = (WHOLE, WHOLE)) -> "pl.DataFrame":
    import polars as pl

    rows = lake.scan(ATTEMPT_OUTCOMES, [TableKey(build=side.model, drop=drop) for drop in side.drops])
    is_told = pl.col("device_latency_ms").is_finite() & (pl.col("presentation") == BONA_FIDE)
    dimension, level = at
    is_there = True if dimension == WHOLE else pl.col(dimension).cast(pl.String) == level
    return rows.filter(is_told, is_there).select("subject_id", "device_latency_ms").collect()


def _by_family(
    rows: "pl.DataFrame", names: Sequence[str], codes: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    import polars as pl

    rows = rows.filter(pl.col("subject_id").is_in(names))
    people = rows["subject_id"].cast(pl.Enum(names)).to_physical().to_numpy()
    return rows["device_latency_ms"].to_numpy(), codes[people.astype(np.int64)]


LATENCIES = {"latency_p50_ms": 0.5, "latency_p95_ms": 0.95}
_SHARED = ("standard_error", "raised", "df", "low", "high", "n_subjects", "n_shared", "method", "reason")


def _scores(lake: Lake, side: Side, family_of: Mapping[str, str], subjects: Sequence[str] = ()) -> BuildScores:
    return read_build_scores(
        lake,
        build=side.build,
        model_build=side.model,
        drops=side.drops,
        comparator=side.comparator,
        family_of=family_of,
        subjects=subjects,
    )


def _pair_rates(
    sides: tuple[Side, Side], scores: tuple[BuildScores, BuildScores], fmr_targets: Sequence[float]
) -> Iterator[ComparedRate]:
    """The rates over all cross-subject pairs."""

    def whole(metric: str, difference: Difference, target: float | None = None) -> ComparedRate:
        return ComparedRate(metric, target, WHOLE, WHOLE, difference)

    clustered = tuple(side.clustered for side in scores)
    if clustered[0] is None or clustered[1] is None:
        missing = undefined_difference("fnmr_at_fmr", NOT_ACCOUNTED)
        yield from (whole("fnmr_at_fmr", missing, target) for target in fmr_targets)
        yield from (whole(metric, missing) for metric in ("eer", FMR_AT_THRESHOLD))
        return
    one, other = clustered[0], clustered[1]
    for target in fmr_targets:
        yield whole("fnmr_at_fmr", _at_fmr(one, other, target), target)
    classes = [both_classes(side.genuine_scores, side.counts) for side in scores]
    crossing = [point_of_eer(part) for part in classes]
    yield whole("eer", _at_points("eer", (one, other), crossing))
    oriented = [None if side.threshold is None else side.comparator.oriented(side.threshold) for side in sides]
    decided = [
        None if threshold is None else point_at_threshold(part, threshold=threshold)
        for part, threshold in zip(classes, oriented, strict=True)
    ]
    yield whole(FMR_AT_THRESHOLD, _at_points(FMR_AT_THRESHOLD, (one, other), decided))


def _at_fmr(one: ClusteredScores, other: ClusteredScores, fmr: float) -> Difference:
    is_reached = all(
        side.is_complete or allowed_false_matches(side.trials.n, fmr=fmr) < len(side.impostor) for side in (one, other)
    )
    if is_reached:
        return compare_fnmr_at_fmr(one, other, fmr=fmr)
    return undefined_difference(f"fnmr at FMR {fmr:g}", "the exact tail ends above this FMR")


def _at_points(
    metric: str, scores: tuple[ClusteredScores, ClusteredScores], points: Sequence[OperatingPoint | None]
) -> Difference:
    rates: list[ErrorRates] = []
    for point in points:
        if point is None or point.rates is None:
            return undefined_difference(metric, (point.reason if point else None) or "no decision threshold")
        if point.method != EXACT:
            return undefined_difference(metric, "the exact tail ends above this threshold")
        rates.append(point.rates)
    if any(found.n_false_matches > len(side.impostor) for found, side in zip(rates, scores, strict=True)):
        return undefined_difference(metric, "the exact tail ends above this threshold")
    compare = compare_eer if metric == "eer" else compare_fmr
    return compare(*scores, rates=(rates[0], rates[1]))


def _attempt_rates(
    lake: Lake, reference: Side, candidate: Side, family_of: Mapping[str, str]
) -> Iterator[ComparedRate]:
    """The rates of attempts, whole and by level, paired by subject or family."""
    one, other = (counts_of(lake, side) for side in (reference, candidate))
    for group in sorted(one.keys() | other.keys()):
        metric, dimension, level = group
        sides = one.get(group), other.get(group)
        names = sorted({name for side in sides if side is not None for name in (*side[WHO[0]], *side[WHO[1]])})
        codes = {name: code for code, name in enumerate(names)}
        families = family_codes(names, family_of)
        yield ComparedRate(metric, None, dimension, level, compare_counts(metric, sides, codes, families))


def counts_of(lake: Lake, side: Side) -> "dict[tuple[str, str, str], pl.DataFrame]":
    """Read errors and trials of a side by both subjects, for each metric and level."""
    import polars as pl

    rows = lake.scan(METRIC_COUNTS, [TableKey(build=side.model, drop=drop) for drop in side.drops])
    rows = rows.group_by(*GROUP, *WHO).agg(pl.col(*COUNTS).sum()).sort(*GROUP, *WHO)
    parts = rows.collect().partition_by(*GROUP, as_dict=True, include_key=False)
    return {(str(metric), str(dimension), str(level)): part for (metric, dimension, level), part in parts.items()}


def compare_counts(
    metric: str, sides: "Sequence[pl.DataFrame | None]", codes: Mapping[str, int], families: NDArray[np.int64]
) -> Difference:
    """Compare errors and trials of two sides, paired by family or, between two subjects, by both.

    Args:
        metric: whose trials they are.
        sides: errors and trials by both subjects, the reference first; None where a side has none.
        codes: of every subject.
        families: of each code; its own for a subject who stands for himself.
    """
    if metric in BETWEEN_SUBJECTS:
        one, other = (_between(side, codes, families) for side in sides)
        return compare_pair_rates(metric, one, other)
    before, after = (_own(side, codes, families) for side in sides)
    return compare_rates(metric, before, after)


def _own(
    counts: "pl.DataFrame | None", codes: Mapping[str, int], families: NDArray[np.int64]
) -> tuple[ArrayLike, ArrayLike]:
    """Errors and trials of each family, of trials that belong to one subject."""
    size = int(families.max()) + 1 if len(families) else 0
    if counts is None:
        return np.zeros(size), np.zeros(size)
    of_rows = families[np.array([codes[name] for name in counts[WHO[0]]], np.int64)]
    errors, trials = (np.bincount(of_rows, counts[name].to_numpy(), size) for name in COUNTS)
    return errors, trials


def _between(
    counts: "pl.DataFrame | None", codes: Mapping[str, int], families: NDArray[np.int64]
) -> tuple[Errors, Trials]:
    """Errors and trials between subjects, clustered by family."""
    one, other, errors, trials = ([] if counts is None else counts[name].to_list() for name in (*WHO, *COUNTS))
    pair = [np.array([codes[name] for name in names], np.int64) for names in (one, other)]
    listed = ListedTrials.of(*(np.repeat(who, trials) for who in pair), n_subjects=len(codes))
    erring = families[np.repeat(pair[0], errors)], families[np.repeat(pair[1], errors)]
    return erring, listed.clustered(families)
