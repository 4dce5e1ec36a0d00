"""Attacks within a set of comparisons: what passes the matcher, by PAI species, and one cost of all three errors.

Where a system decides on one score, zero-effort impostors and attacks meet the same threshold. Attacks count neither as
genuine nor as impostor comparisons: they give IAPAR and RIAPAR. Sets of bona fide presentations and attacks, without
comparisons, are evaluated in `cv_quality.scores.liveness`.
"""

from dataclasses import dataclass, replace

import numpy as np

from cv_quality.metrics.liveness.presentations import check_presentations
from cv_quality.metrics.liveness.system import SystemAttackRate, system_attack_rates
from cv_quality.metrics.liveness.tandem_cost import ADcf, TandemWeights, a_dcf
from cv_quality.metrics.results import Result
from cv_quality.scores.rows import IS_GENUINE, SCORE
from cv_quality.scores.score_set import ScoreSet


@dataclass(frozen=True, slots=True)
class AttackedSystem(Result):
    """What attacks make of a system that decides on one score.

    Attributes:
        threshold: in units of the files, of the rates; None without one, and `species` is then empty.
        frr: genuine comparisons that are rejected there, failures to acquire among them.
        species: IAPAR and RIAPAR of each.
        a_dcf: the smallest cost of misses, impostors and attacks over all thresholds, its own in units of the files.
        warnings: what a reader must know.
    """

    threshold: float | None
    frr: float | None
    species: tuple[SystemAttackRate, ...]
    a_dcf: ADcf
    warnings: tuple[str, ...]


def attacked_system(
    scores: ScoreSet, *, threshold: float | None, weights: TandemWeights | None = None
) -> AttackedSystem | None:
    """Evaluate the attacks of a verification set; None where it has none.

    Args:
        scores: with genuine and impostor comparisons.
        threshold: in units of the files, at which to give IAPAR; None leaves it out.
        weights: of the a-DCF; those of its public code by default.

    Raises:
        MetricError: artefacts and species contradict each other.
    """
    attacks = scores.attacks
    if attacks.is_empty():
        return None
    cost = a_dcf(scores.genuine, scores.impostor, attacks[SCORE].to_numpy(), weights=weights)
    cost = replace(cost, threshold=scores.in_file_units(cost.threshold))
    named = {"artefact": "artefact", "subject": "subject"}
    if "subject" not in attacks.columns and "subject_a" in attacks.columns:
        named["subject"] = "subject_a"
    known = {
        name: attacks[column].fill_null("").to_numpy()
        for name, column in named.items()
        if column in attacks.columns and attacks[column].null_count() < len(attacks)
    }
    values = attacks[SCORE].cast(float).to_numpy()
    shown = check_presentations(values, np.ones(len(values), bool), species=attacks["species"].to_numpy(), **known)
    if threshold is None:
        return AttackedSystem(None, None, (), cost, shown.warnings)
    inside = scores.in_file_units(threshold)
    failed = scores.excluded.filter(scores.excluded["reason"] == "failure_to_acquire")
    n_failed = int((failed[IS_GENUINE].fill_null(False) & failed["species"].is_null()).sum())
    missed = int(np.count_nonzero(scores.genuine < inside))
    frr = (missed + n_failed) / (scores.n_genuine + n_failed)
    species = system_attack_rates(shown, values >= inside, frr=frr)
    return AttackedSystem(threshold, frr, species, cost, shown.warnings)
