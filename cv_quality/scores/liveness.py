"""A set of liveness scores evaluated: APCER by PAI species and the worst, BPCER, at thresholds that are stated.

The definitions are those of `cv_quality.metrics.liveness`; here files become presentations, thresholds are those of the
files, and the results are one frozen record whose `to_dict` is the document that `cvq evaluate --json` prints. FMR and
FNMR are words of verification and do not occur.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import MetricError, ScoreFileError
from cv_quality.metrics.liveness.error_rates import (
    APCER_TARGETS,
    LivenessRates,
    bpcer_at_apcer,
    liveness_curve,
    liveness_rates,
    threshold_caution,
)
from cv_quality.metrics.liveness.presentations import Presentations, Unit, check_presentations
from cv_quality.metrics.results import JsonValue, Result, percent
from cv_quality.metrics.verification import eer
from cv_quality.scores.rows import IS_GENUINE, PRESENTED, SCORE, SECOND_SCORE
from cv_quality.scores.score_set import ScoreSet
from cv_quality.scores.source import Reason
from cv_quality.text import figures

if TYPE_CHECKING:
    import polars as pl

SCHEMA = "cv_quality/liveness-evaluation/1"
NO_RESPONSE: tuple[Reason, ...] = ("no_response", "failure_to_acquire")
"""Why rows of a liveness set were set apart that count as presentations without a response."""
SAME_DATA = "these presentations"


@dataclass(frozen=True, slots=True)
class WorkingPoint(Result):
    """Every rate at one threshold.

    Attributes:
        name: "APCER at most 5 %", "EER", or "given threshold".
        target: highest APCER of the worst species; None where the threshold was not chosen for one.
        chosen_on: the presentations that the threshold was chosen on; None where it was given.
        threshold: in units of the files; None when undefined.
        rates: their threshold in units of the files too; None when undefined.
        status: "undefined" where no threshold can be chosen for the target.
        bpcer_as_seen: BPCER where no species exceeds the target on these very presentations, defined or not.
        reason: why it is undefined.
    """

    name: str
    target: float | None
    chosen_on: str | None
    threshold: float | None
    rates: LivenessRates | None
    status: Literal["ok", "undefined"]
    bpcer_as_seen: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class PooledEer(Result):
    """The equal error rate with all species pooled: what others publish, not what anything should rest on.

    Attributes:
        nearest: the mean of both rates where they are nearest to each other, as some publish it.
        threshold: in units of the files.
    """

    value: float
    nearest: float
    threshold: float


@dataclass(frozen=True, slots=True)
class LivenessPoint(Result):
    """A point of the DET curve; the threshold is in units of the files.

    Attributes:
        apcer: of the worst species.
        by_species: APCER of each species with a response.
    """

    threshold: float
    apcer: float
    bpcer: float
    by_species: dict[str, float]


@dataclass(frozen=True, slots=True)
class GroupRates(Result):
    """Rates of one group, such as a device, a scene or an age group, at the leading point."""

    group: str
    rates: LivenessRates


@dataclass(frozen=True, slots=True)
class LivenessEvaluation(Result):
    """The evaluation of one liveness set; attributes are keys of its document.

    Attributes:
        bona_fide_when: how a score of the files is compared with a threshold, ">=" or "<".
        n_subjects, n_artefacts: None where the files name none.
        unit: what presentations of a species are clustered by.
        n_no_response: bona fide presentations and attacks without a response.
        excluded: rows set apart, by reason, non-responses among them.
        eer: None where it cannot be told.
        points: the threshold that was given, that of the EER of a development set, and those of the APCER targets.
        groups: at the leading point; empty where the files name none.
    """

    name: str
    files: tuple[str, ...]
    format: str
    kind: str
    polarity: str
    bona_fide_when: str
    n_bona_fide: int
    n_attacks: int
    n_species: int
    n_subjects: int | None
    n_artefacts: int | None
    unit: Unit
    n_no_response: int
    excluded: dict[str, int]
    eer: PooledEer | None
    points: tuple[WorkingPoint, ...]
    groups: tuple[GroupRates, ...]
    curve: tuple[LivenessPoint, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the document of `cvq evaluate --json`; its keys are described in docs/liveness.md."""
        return {"schema": SCHEMA, **super(LivenessEvaluation, self).to_dict()}

    @property
    def leading(self) -> WorkingPoint | None:
        """The point that a reader should look at first: the given threshold, else that of the lowest defined target."""
        defined = [point for point in self.points if point.rates is not None]
        given = [point for point in defined if point.target is None]
        return next(iter((*given, *reversed(defined))), None)


def evaluate_liveness(
    scores: ScoreSet,
    *,
    name: str | None = None,
    devel: ScoreSet | None = None,
    apcer_targets: Sequence[float] = APCER_TARGETS,
    threshold: float | None = None,
) -> LivenessEvaluation:
    """Evaluate one set of liveness scores.

    Args:
        scores, name: the set and its name, by default its files.
        devel: another set on which thresholds are chosen; without it they are chosen on the set itself, which flatters.
        apcer_targets: highest APCERs of the worst species.
        threshold: in units of the files, at which to give rates as well.

    Raises:
        MetricError: a class has no response, a target is out of range, or artefacts contradict species.
        ScoreFileError: the set is not one of liveness, or the development set's scores point the other way.
    """
    shown = presentations_of(scores)
    targets = sorted(set(apcer_targets), reverse=True)
    points = _points(shown, scores, devel, targets, threshold)
    curve = liveness_curve(shown)
    found = LivenessEvaluation(
        name=name or " + ".join(scores.sources),
        files=scores.sources,
        format=scores.format,
        kind=scores.kind,
        polarity=f"{scores.polarity} ({scores.polarity_source})",
        bona_fide_when="<" if scores.is_negated else ">=",
        n_bona_fide=int(np.count_nonzero(~shown.is_attack)),
        n_attacks=int(np.count_nonzero(shown.is_attack)),
        n_species=len(shown.species_names),
        n_subjects=_distinct(scores, "subject"),
        n_artefacts=_distinct(scores, "artefact"),
        unit=shown.attack_unit,
        n_no_response=int(np.count_nonzero(~shown.has_response)),
        excluded=scores.excluded_by_reason(),
        eer=_eer(shown, scores),
        points=tuple(points),
        groups=(),
        curve=tuple(
            LivenessPoint(
                threshold=in_file_units(scores, float(curve.thresholds[at])),
                apcer=float(curve.apcer[at]),
                bpcer=float(curve.bpcer[at]),
                by_species={name: float(values[at]) for name, values in curve.by_species.items()},
            )
            for at in range(len(curve.thresholds))
        ),
        notes=scores.notes,
        warnings=(*scores.warnings, *shown.warnings),
    )
    groups = _groups(shown, scores, found.leading)
    return replace(found, groups=groups, warnings=(*found.warnings, *_cautions(found, shown, scores)))


def _points(
    shown: Presentations, scores: ScoreSet, devel: ScoreSet | None, targets: Sequence[float], threshold: float | None
) -> list[WorkingPoint]:
    """Every working point: as given, at the EER of the development set, and for each target."""
    if devel is not None:
        require_one_polarity(scores, devel)
    given = [] if threshold is None else [_given(shown, scores, threshold)]
    if devel is None:
        return [*given, *(_at_target(shown, shown, scores, SAME_DATA, target) for target in targets)]
    chosen_on, where = presentations_of(devel), ", ".join(Path(source).name for source in devel.sources)
    at_targets = (_at_target(shown, chosen_on, scores, where, target) for target in targets)
    return [*given, _at_eer(shown, chosen_on, scores, where), *at_targets]


def second_scores_of(scores: ScoreSet) -> NDArray[np.float64] | None:
    """Read the scores of a second detector in the order of `presentations_of`, NaN where it gave none.

    Returns:
        None where the files hold one score.
    """
    if SECOND_SCORE not in scores.rows.columns:
        return None
    n_silent = len(_silent(scores))
    answered = scores.rows[SECOND_SCORE].fill_null(float("nan")).to_numpy()
    return np.concatenate([answered, np.full(n_silent, np.nan)])


def _silent(scores: ScoreSet) -> "pl.DataFrame":
    """The rows set apart that count as presentations without a response."""
    import polars as pl

    return scores.excluded.filter(pl.col("reason").is_in(NO_RESPONSE) & pl.col(IS_GENUINE).is_not_null())


def require_one_polarity(scores: ScoreSet, devel: ScoreSet) -> None:
    """Refuse a development set whose scores point the other way.

    Raises:
        ScoreFileError: they do.
    """
    if devel.is_negated != scores.is_negated:
        raise ScoreFileError(
            f"{', '.join(devel.sources)}: higher is {devel.polarity} here and {scores.polarity} in "
            f"{', '.join(scores.sources)}; declare the polarity of both"
        )


def presentations_of(scores: ScoreSet) -> Presentations:
    """Turn a liveness set into checked presentations; rows set apart without a response are among them.

    Raises:
        ScoreFileError: the set is one of verification.
        MetricError: species, artefacts and classes contradict each other.
    """
    import polars as pl

    if scores.kind != "liveness":
        raise ScoreFileError(f"{', '.join(scores.sources)}: holds comparisons, not bona fide presentations and attacks")
    silent = _silent(scores)
    known = [name for name in PRESENTED if name in scores.rows.columns]
    columns = [IS_GENUINE, *known]
    rows = pl.concat(
        [
            scores.rows.select(pl.col(SCORE).cast(pl.Float64), *columns),
            silent.select(pl.lit(float("nan")).alias(SCORE), *columns),
        ]
    ).with_columns(pl.col(name).fill_null("") for name in known)
    given = {name: rows[name].to_numpy() for name in known}
    if "artefact" in given and not (rows["artefact"] != "").any():
        del given["artefact"]
    return check_presentations(rows[SCORE].to_numpy(), ~rows[IS_GENUINE].to_numpy(), **given)


def in_file_units(scores: ScoreSet, threshold: float) -> float:
    """Convert a threshold at and above which a presentation is bona fide to units of the files, or back.

    Where high scores of the files are those of attacks, a presentation is an attack at the threshold and above: a score
    that equals it is one, so the threshold lies just above the highest score that is taken for bona fide.
    """
    if not scores.is_negated:
        return threshold
    return -threshold if np.isinf(threshold) else float(np.nextafter(-threshold, np.inf))


def _rates(shown: Presentations, scores: ScoreSet, inside: float) -> LivenessRates:
    return replace(liveness_rates(shown, threshold=inside), threshold=in_file_units(scores, inside))


def _given(shown: Presentations, scores: ScoreSet, threshold: float) -> WorkingPoint:
    rates = replace(liveness_rates(shown, threshold=in_file_units(scores, threshold)), threshold=threshold)
    return WorkingPoint("given threshold", None, None, threshold, rates, "ok", None, None)


def _at_eer(shown: Presentations, devel: Presentations, scores: ScoreSet, where: str) -> WorkingPoint:
    rates = _rates(shown, scores, eer(devel.bona_fide, devel.attacks()).rates.threshold)
    return WorkingPoint("EER", None, where, rates.threshold, rates, "ok", None, None)


def _at_target(shown: Presentations, devel: Presentations, scores: ScoreSet, where: str, target: float) -> WorkingPoint:
    chosen = bpcer_at_apcer(devel, target=target)
    name, seen = f"APCER at most {percent(target)}", chosen.bpcer_as_seen if where == SAME_DATA else None
    if chosen.threshold is None:
        return WorkingPoint(name, target, where, None, None, "undefined", seen, chosen.reason)
    rates = _rates(shown, scores, chosen.threshold)
    return WorkingPoint(name, target, where, rates.threshold, rates, "ok", seen, None)


def _groups(shown: Presentations, scores: ScoreSet, point: WorkingPoint | None) -> tuple[GroupRates, ...]:
    if point is None or point.threshold is None:
        return ()
    inside = in_file_units(scores, point.threshold)
    return tuple(GroupRates(name, _rates(shown.where(shown.group == name), scores, inside)) for name in shown.groups)


def _eer(shown: Presentations, scores: ScoreSet) -> PooledEer | None:
    try:
        found = eer(shown.bona_fide, shown.attacks())
    except MetricError:
        return None
    return PooledEer(found.value, found.nearest, in_file_units(scores, found.rates.threshold))


def _distinct(scores: ScoreSet, column: str) -> int | None:
    if column not in scores.rows.columns:
        return None
    return int(scores.rows[column].drop_nulls().n_unique())


def _cautions(found: LivenessEvaluation, shown: Presentations, scores: ScoreSet) -> tuple[str, ...]:
    """What pooling hides, which thresholds flatter, and which species say little."""
    said = []
    point = found.leading
    if point is not None and point.rates is not None and point.rates.worst is not None and found.n_species > 1:
        accepted = sum(one.rate.numerator for one in point.rates.species)
        tried = sum(one.rate.denominator for one in point.rates.species)
        worst = point.rates.worst
        said.append(
            f"pooled over species {percent(accepted / tried)} of attacks are accepted at "
            f"{figures(point.rates.threshold)}, of {worst.species} {percent(worst.value)}: the worst species counts"
        )
    if any(one.chosen_on == SAME_DATA for one in found.points):
        said.append(
            "thresholds for an APCER are chosen on the presentations that they are judged on, so BPCER there is "
            "optimistic; give a development set"
        )
    few = [one.species for one in point.rates.species if one.rate.reason] if point and point.rates else []
    if few:
        said.append(f"insufficient for a verdict: {', '.join(few)} (too few {found.unit}s, or no response)")
    if (reversed_second := _second_points_away(shown, scores)) is not None:
        said.append(reversed_second)
    if found.eer is not None and found.eer.value > 0.5:
        said.append(f"EER {figures(found.eer.value)} exceeds 0.5: the scores look reversed; declare their polarity")
    said += [_unseen(shown, scores, one) for one in found.points if one.threshold is not None]
    return tuple(dict.fromkeys(text for text in said if text))


def _second_points_away(shown: Presentations, scores: ScoreSet) -> str | None:
    """Warn where the second scores of attacks are the higher ones, by their medians."""
    second = second_scores_of(scores)
    if second is None:
        return None
    people, attacks = (second[of & ~np.isnan(second)] for of in (~shown.is_attack, shown.is_attack))
    if not people.size or not attacks.size or np.median(people) >= np.median(attacks):
        return None
    return "the second scores point the other way than the first: turn their sign, or policies of both mean nothing"


def _unseen(shown: Presentations, scores: ScoreSet, point: WorkingPoint) -> str:
    """Warn of a threshold near which the scores cannot tell what happens."""
    if point.threshold is None:
        return ""
    caution = threshold_caution(shown, shown.scores - in_file_units(scores, point.threshold))
    return f"{point.name}, {figures(point.threshold)}: {caution}" if caution else ""
