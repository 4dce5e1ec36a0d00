"""The two ways in which a build is evaluated: by its model on the frames of drops, or as its devices recorded it.

This is the only place that tells them apart before the page; the stages take what differs from the `Evaluation`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.errors import RegistryError
from cv_quality.freshness import StageContext
from cv_quality.inference.registry import RecordedEntry
from cv_quality.tasks.verification.modality import biometric

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from cv_quality.inference.registry import BuildEntry
    from cv_quality.tasks.verification.counts import ComparisonTrials
    from cv_quality.tasks.verification.outcomes import OutcomeOf


NO_PAIRS = "as recorded on the devices: pairs of subjects that nobody attempted were not compared"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is made of a drop in one of the two ways.

    Attributes:
        infer, compare: write `embeddings` and `comparisons`.
        outcome: how an attempt ended.
        trials: what FNMR and FMR are counted over.
        no_pairs: why there is no cross-subject pair but those attempted; empty where all are compared.
        is_recorded: whether it is what devices recorded.
    """

    infer: "Callable[[StageContext], DataclassInstance]"
    compare: "Callable[[StageContext], DataclassInstance]"
    outcome: "OutcomeOf"
    trials: "ComparisonTrials"
    no_pairs: str = ""
    is_recorded: bool = False


def evaluation_of(entry: "BuildEntry") -> Evaluation:
    """Choose the way in which a build is evaluated."""
    from cv_quality.tasks.verification.counts import compared_trials, decided_trials
    from cv_quality.tasks.verification.outcomes import inferred_outcome
    from cv_quality.tasks.verification.recorded import recorded_outcome

    if isinstance(entry, RecordedEntry):
        make = (_take_samples, _compare_recorded, recorded_outcome, decided_trials)
        return Evaluation(*make, no_pairs=NO_PAIRS, is_recorded=True)
    return Evaluation(_embed, _compare, inferred_outcome, compared_trials)


def _embed(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.verification.templates import embed_drop, loaded_encoder, require_frames

    require_frames(context.lake, build=context.build, drop=context.drop)
    return embed_drop(
        context.lake,
        landing=context.workspace.landing,
        encoder=loaded_encoder(context.workspace, context.entry),
        entry=context.entry,
        modality=biometric(context.modality),
        drop=context.drop,
        threads=context.threads,
    )


def _take_samples(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.verification.recorded import take_samples

    threshold = context.entry.decision_threshold
    low, high = biometric(context.modality).comparator.score_range
    if threshold is not None and not low <= threshold <= high:
        raise RegistryError(
            f"{context.build}.yaml: decision_threshold: expected a score from {low:g} to {high:g}, as drop "
            f"{context.drop} has them, found {threshold:g}; correct it, or declare device_scores in the manifests"
        )
    return take_samples(context.lake, build=context.build, drop=context.drop, modality=context.modality)


def _compare(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.verification.comparisons import compare_drop

    modality = biometric(context.modality)
    return compare_drop(context.lake, build=context.build, drop=context.drop, modality=modality)


def _compare_recorded(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.verification.recorded import compare_as_recorded

    return compare_as_recorded(context.lake, build=context.build, drop=context.drop)
