"""The polarity of scores: declared by the caller or the file, or detected from the area under the ROC.

Below one half the scores of genuine comparisons are the lower ones: distances, or scores of an attack. The decision is
always reported; too close to one half none is made, and similarity is assumed with a warning.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cv_quality.metrics.results import area_words
from cv_quality.metrics.separation import auc
from cv_quality.scores.source import Polarity, PolaritySource

SURE = 3.0
"""Standard errors from one half that a detected polarity needs: by chance one set in 370 is so far off."""
CLOSE = 0.02
"""An area within this of one half tells nothing that is worth turning signs for, however many scores there are."""
MEANING: dict[Polarity, str] = {
    "similarity": "higher is more alike",
    "distance": "lower is more alike",
    "attack": "higher is more surely an attack",
}


@dataclass(frozen=True, slots=True)
class PolarityDecision:
    """A polarity, how it was found, and what to say of it."""

    polarity: Polarity
    source: PolaritySource
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def decide_polarity(
    genuine: ArrayLike, impostor: ArrayLike, *, declared: Polarity | None, is_liveness: bool
) -> PolarityDecision:
    """Decide the polarity of scores as the files hold them.

    Args:
        genuine: scores of genuine comparisons, or of bona fide samples; shape (n,).
        impostor: scores of impostor comparisons, or of attacks; shape (m,).
        declared: what the caller or the file says; it counts, but scores that contradict it are a warning.
        is_liveness: whether reversed scores mean "higher is more surely an attack", not distances.
    """
    reverse: Polarity = "attack" if is_liveness else "distance"
    n, m = np.size(genuine), np.size(impostor)
    if not n or not m:
        if declared is not None:
            return PolarityDecision(declared, "declared", (f"declared: {MEANING[declared]}",))
        warning = "the files do not hold both classes: whether higher is more alike cannot be told and is assumed"
        return PolarityDecision("similarity", "assumed", warnings=(warning,))
    found = auc(genuine, impostor)
    error = math.sqrt((n + m + 1) / (12.0 * n * m))
    is_close = abs(found - 0.5) < max(CLOSE, SURE * error)
    if declared is not None:
        ours = found if declared == "similarity" else 1.0 - found
        area = area_words(ours)
        contradiction = (
            f"declared: {MEANING[declared]}; the scores say the reverse: the area under the ROC is {area}: is 1 in the "
            "labels the same person, and the declaration right?"
        )
        warnings = () if ours >= 0.5 or is_close else (contradiction,)
        return PolarityDecision(declared, "declared", (f"declared: {MEANING[declared]}",), warnings)
    area = area_words(found)
    if is_close:
        warning = (
            f"the area under the ROC is {area} with {n:,} genuine and {m:,} impostor scores, which does not tell "
            f"similarity from {reverse}: similarity (higher is more alike) is assumed; declare the polarity"
        )
        return PolarityDecision("similarity", "assumed", warnings=(warning,))
    if found > 0.5:
        note = f"higher is more alike, by an area under the ROC of {area}"
        return PolarityDecision("similarity", "detected", (note,))
    warning = (
        f"REVERSED: the area under the ROC is {area}, so {MEANING[reverse]} in the files; all scores are negated "
        f'(declare polarity="{reverse}", or "similarity" if that is wrong)'
    )
    return PolarityDecision(reverse, "detected", warnings=(warning,))
