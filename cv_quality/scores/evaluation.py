"""One score set evaluated: operating points, equal error rate, separation and curve, each rate with its interval.

The definitions are those of `cv_quality.metrics`; here their results are collected into one frozen record, whose
`to_dict` is the document that `cvq evaluate --json` prints. How files become a score set is in
`cv_quality.scores.reading`, the intervals are in `cv_quality.scores.uncertainty`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cv_quality.errors import MetricError
from cv_quality.metrics.detection_cost import VOXSRC_AND_SRE, CostWeights, MinDcf, min_dcf
from cv_quality.metrics.differentials import Differentials
from cv_quality.metrics.quality import ErrorVersusReject, error_versus_reject
from cv_quality.metrics.rates import EXPECTED_ERRORS_NEEDED, Rate
from cv_quality.metrics.results import JsonValue, Result
from cv_quality.metrics.separation import Separation, separation
from cv_quality.metrics.verification import FMR_TARGETS, ErrorRates, eer, fnmr_at_fmr, rates_at, too_few_trials
from cv_quality.scores.attacks import AttackedSystem, attacked_system
from cv_quality.scores.extrapolation import TailExtrapolation, extrapolate
from cv_quality.scores.groups import group_differentials
from cv_quality.scores.score_set import ScoreSet
from cv_quality.scores.uncertainty import Uncertainty, uncertainty_of
from cv_quality.text import figures

SCHEMA = "cv_quality/evaluation/1"
CURVE_POINTS = 120
STEPS = ("subjects", "operating points", "equal error rate", "curve", "groups", "extrapolation")
"""What an evaluation goes through, in order; a caller is told before each."""
Status = Literal["ok", "insufficient", "undefined"]


@dataclass(frozen=True, slots=True)
class Point(Result):
    """Both rates at one threshold.

    Attributes:
        fmr_target: the highest FMR allowed; None for a threshold that was given.
        threshold: in units of the files; None when undefined.
        threshold_low, threshold_high: bounds of an estimated threshold, in units of the files.
        fmr: with its interval at this threshold.
        fnmr: with its interval, which holds the threshold's uncertainty where that was chosen for an FMR.
        status: "undefined" with fewer than 1 / fmr_target impostor comparisons; "insufficient" where the comparisons
            are too few for the FMR, whatever they score: fewer than five false matches may set the threshold, or none
            would still allow it; at a given threshold, where a rate rests on fewer than five errors; else "ok".
        reason: why the status is not "ok".
    """

    fmr_target: float | None
    threshold: float | None
    threshold_low: float | None
    threshold_high: float | None
    fmr: Rate | None
    fnmr: Rate | None
    status: Status
    reason: str | None


@dataclass(frozen=True, slots=True)
class CrossingPoint(Result):
    """The equal error rate.

    Attributes:
        nearest: the mean of both rates where they are nearest to each other, as some publish it; it differs from
            `value` where ties make the rates jump.
        low, high: of `value`; None where they cannot be told, and `reason` says why.
        threshold: in units of the files.
    """

    value: float
    nearest: float
    low: float | None
    high: float | None
    threshold: float
    method: str | None
    n_effective: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class CurvePoint(Result):
    """A point of the DET curve with the band of its FNMR; the threshold is in units of the files."""

    threshold: float
    fmr: float
    fnmr: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Evaluation(Result):
    """The evaluation of one score set; attributes are keys of its document.

    Attributes:
        accept_when: how a score of the files is compared with a threshold, ">=" or "<=".
        n_subjects: None where the files name none.
        n_failed_enrolments: subjects set apart as failed enrolments; None where the files cannot tell.
        excluded: rows set apart, by reason.
        fixed: both rates at a threshold that was given; None without one.
        min_dcf: the smallest detection cost at each prior and pair of costs, thresholds in units of the files.
        erc: error versus reject, by the lower quality of the two samples, at the threshold of the lowest FMR target
            whose status is "ok"; None where the files hold no qualities, or no such target.
        differentials: rates by group at that threshold, in units of the files; None without it, groups or subjects.
        attacks: what attacks among the comparisons make of the system, at the threshold that was given, else at that of
            the lowest FMR target whose status is "ok"; None without attacks.
        beyond: extrapolated thresholds of the targets that are undefined; None without any, or with too few scores.
    """

    name: str
    files: tuple[str, ...]
    format: str
    kind: str
    polarity: str
    accept_when: str
    n_genuine: int
    n_impostor: int
    n_subjects: int | None
    n_failed_enrolments: int | None
    n_attacks: int
    excluded: dict[str, int]
    eer: CrossingPoint
    operating_points: tuple[Point, ...]
    fixed: Point | None
    min_dcf: tuple[MinDcf, ...]
    separation: Separation
    curve: tuple[CurvePoint, ...]
    erc: ErrorVersusReject | None
    attacks: AttackedSystem | None
    beyond: TailExtrapolation | None
    differentials: Differentials | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the document of `cvq evaluate --json`; its keys are described in docs/statistics.md."""
        return {"schema": SCHEMA, **super(Evaluation, self).to_dict()}


def evaluate(
    scores: ScoreSet,
    *,
    name: str | None = None,
    fmr_targets: Sequence[float] = FMR_TARGETS,
    threshold: float | None = None,
    weights: Sequence[CostWeights] = VOXSRC_AND_SRE,
    replicates: int = 1000,
    seed: int = 0,
    starting: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Evaluate one score set.

    Args:
        scores, name: the score set and its name, by default its files.
        fmr_targets, threshold: highest FMRs allowed, and a threshold in units of the files, at which to give rates.
        weights, replicates, seed: of the detection costs; of the bootstrap of extrapolations; of everything random.
        starting: called with the name of each of STEPS before it.

    Raises:
        MetricError: a class has no comparison, or a target is not above 0 and at most 1.
    """
    starting("subjects")
    targets, uncertainty = _checked(fmr_targets), uncertainty_of(scores, seed=seed)
    starting("operating points")
    points = tuple(_at_target(scores, uncertainty, fmr=target) for target in targets)
    apart = separation(uncertainty.genuine, uncertainty.impostor)
    starting("equal error rate")
    crossing = _crossing(scores, uncertainty)
    starting("curve")
    curve = _curve(scores, uncertainty)
    firm = next((point.threshold for point in reversed(points) if point.status == "ok"), None)
    starting("groups")
    differences, about_groups = group_differentials(scores, uncertainty, threshold=firm)
    attacks = attacked_system(scores, threshold=firm if threshold is None else threshold)
    starting("extrapolation")
    return Evaluation(
        name=name or " + ".join(scores.sources),
        files=scores.sources,
        format=scores.format,
        kind=scores.kind,
        polarity=f"{scores.polarity} ({scores.polarity_source})",
        accept_when="<=" if scores.is_negated else ">=",
        n_genuine=uncertainty.genuine.n,
        n_impostor=uncertainty.impostor.n,
        n_subjects=uncertainty.n_subjects,
        n_failed_enrolments=scores.n_failed_enrolments,
        n_attacks=len(scores.attacks),
        excluded=scores.excluded_by_reason(),
        eer=crossing,
        operating_points=points,
        fixed=None if threshold is None else _at_threshold(scores, uncertainty, threshold=threshold),
        min_dcf=tuple(_cost(scores, uncertainty, weights=each) for each in weights),
        separation=apart,
        curve=curve,
        erc=_erc(scores, threshold=firm),
        attacks=attacks,
        beyond=extrapolate(scores, uncertainty, targets=targets, replicates=replicates, seed=seed),
        differentials=differences,
        notes=(*scores.notes, *uncertainty.notes, *apart.warnings),
        warnings=(
            *scores.warnings,
            *uncertainty.warnings,
            *about_groups,
            *_doubts(crossing),
            *(attacks.warnings if attacks else ()),
        ),
    )


def _checked(fmr_targets: Sequence[float]) -> list[float]:
    for target in fmr_targets:
        if not 0 < target <= 1:
            raise MetricError(f"an FMR target lies above 0 and up to 1, found {target:g}: 1e-3 means one in a thousand")
    return sorted(set(fmr_targets), reverse=True)


def _doubts(crossing: CrossingPoint) -> tuple[str, ...]:
    if crossing.value <= 0.5:
        return ()
    return (f"EER {figures(crossing.value)} exceeds 0.5: the scores look reversed; declare their polarity",)


def _at_target(scores: ScoreSet, uncertainty: Uncertainty, *, fmr: float) -> Point:
    found = fnmr_at_fmr(uncertainty.genuine, uncertainty.impostor, fmr=fmr)
    if found.rates is None:
        return Point(fmr, None, None, None, None, None, "undefined", found.reason)
    bounds = uncertainty.fnmr_at_fmr(found.rates, fmr=fmr)
    reason, expected = bounds.fnmr.reason, fmr * uncertainty.impostor.n
    if expected < EXPECTED_ERRORS_NEEDED - 1e-9:
        reason = f"at most {int(expected + 1e-9)} false matches set the threshold, {EXPECTED_ERRORS_NEEDED:g} needed"
    ends = [None if end is None else scores.in_file_units(end) for end in (bounds.threshold_low, bounds.threshold_high)]
    return Point(
        fmr_target=fmr,
        threshold=scores.in_file_units(found.rates.threshold),
        threshold_low=ends[scores.is_negated],
        threshold_high=ends[not scores.is_negated],
        fmr=uncertainty.fmr(found.rates.threshold),
        fnmr=bounds.fnmr,
        status="ok" if reason is None else "insufficient",
        reason=reason,
    )


def _at_threshold(scores: ScoreSet, uncertainty: Uncertainty, *, threshold: float) -> Point:
    inside = scores.in_file_units(threshold)
    rates = rates_at(uncertainty.genuine, uncertainty.impostor, threshold=inside)
    fmr, fnmr = uncertainty.fmr(inside), uncertainty.fnmr(rates)
    reason = fnmr.reason or fmr.reason
    status: Status = "ok" if reason is None else "insufficient"
    return Point(None, threshold, None, None, fmr, fnmr, status, reason)


def _crossing(scores: ScoreSet, uncertainty: Uncertainty) -> CrossingPoint:
    found = uncertainty.eer()
    return CrossingPoint(
        value=found.value,
        nearest=eer(uncertainty.genuine, uncertainty.impostor).nearest,
        low=found.low,
        high=found.high,
        threshold=scores.in_file_units(found.threshold),
        method=found.method,
        n_effective=found.n_effective,
        reason=found.reason,
    )


def _cost(scores: ScoreSet, uncertainty: Uncertainty, *, weights: CostWeights) -> MinDcf:
    found = min_dcf(uncertainty.genuine, uncertainty.impostor, weights=weights)
    return replace(found, threshold=scores.in_file_units(found.threshold))


def _erc(scores: ScoreSet, *, threshold: float | None) -> ErrorVersusReject | None:
    if not scores.has_qualities or threshold is None:
        return None
    import polars as pl

    genuine = scores.rows.filter(pl.col("is_genuine"))
    lower = genuine.select(pl.min_horizontal("quality_a", "quality_b")).to_series()
    curve = error_versus_reject(genuine["score"], lower, threshold=scores.in_file_units(threshold))
    return replace(curve, threshold=threshold)


def _curve(scores: ScoreSet, uncertainty: Uncertainty) -> tuple[CurvePoint, ...]:
    """The curve at FMRs evenly spread on a logarithmic axis, down to one false match; equal thresholds once."""
    targets = np.logspace(0.0, -np.log10(uncertainty.impostor.n), CURVE_POINTS)
    found: dict[float, tuple[float, ErrorRates]] = {}
    for target in targets[::-1]:
        fmr = max(float(target), 1 / uncertainty.impostor.n)
        rates = fnmr_at_fmr(uncertainty.genuine, uncertainty.impostor, fmr=fmr).rates
        if rates is not None and too_few_trials(uncertainty.impostor.n, fmr=fmr) is None:
            found[rates.threshold] = (fmr, rates)
    chosen = list(found.values())[::-1]
    bands = uncertainty.bands([fmr for fmr, _ in chosen])
    return tuple(
        CurvePoint(
            threshold=scores.in_file_units(rates.threshold),
            fmr=rates.fmr,
            fnmr=rates.fnmr,
            low=None if low is None else min(low, rates.fnmr),
            high=None if high is None else max(high, rates.fnmr),
        )
        for (_, rates), (low, high) in zip(chosen, bands, strict=True)
    )
