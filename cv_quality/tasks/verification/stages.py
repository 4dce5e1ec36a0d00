"""The stages of verification: what each reads and writes, and the one function of this package that does it."""

from contextlib import suppress
from typing import TYPE_CHECKING

from cv_quality.drops.tables import (
    DEVICES,
    DROP_FILES,
    FRAME_INDEX,
    QUARANTINE_PARSE,
    QUARANTINE_VALIDATE,
    RAW_ATTEMPTS,
    RAW_ENROLS,
    RAW_STREAM_FRAMES,
    RAW_SUBJECTS,
    SUBJECTS,
    VALIDATED_ATTEMPTS,
    VALIDATED_ENROLS,
)
from cv_quality.error_analysis.population import Population
from cv_quality.errors import RegistryError
from cv_quality.freshness import Freshness, Registered, StageContext
from cv_quality.lake.lake import TableKey
from cv_quality.stage import Numbers, Stage
from cv_quality.tasks.pages import page_identity, report_source
from cv_quality.tasks.release.stage import release_stage
from cv_quality.tasks.root_causes.stages import Populations, SliceTables, root_cause_stages
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES
from cv_quality.tasks.verification.evaluation import evaluation_of
from cv_quality.tasks.verification.modality import biometric
from cv_quality.tasks.verification.populations import FRR, false_rejects, other_outcomes
from cv_quality.tasks.verification.rules import (
    COMPARE_RULES,
    IMPOSTORS_RULES,
    INFER_RULES,
    INSTANCES_RULES,
    MEASURE_BUILD_RULES,
    MEASURE_RULES,
    WATERFALL_RULES,
    decision_rules,
    explanations_rules,
    parity_rules,
    template_rules,
)
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    CLOSEST_IMPOSTORS,
    COMPARISONS,
    COUNTERFACTUALS,
    DET_CURVE,
    DIFFERENCES,
    DIFFERENTIALS,
    EMBEDDINGS,
    EXPLANATIONS,
    IMPOSTOR_COUNTS,
    IMPOSTOR_TAIL,
    IMPOSTOR_TRIALS,
    INSTANCE_CAPTURES,
    INSTANCE_COMPARISONS,
    INSTANCE_DOUBTS,
    INSTANCE_FUSION,
    INTERVALS,
    METRIC_COUNTS,
    OPERATING_POINTS,
    OUTCOME_WATERFALL,
    PARITY,
    ROTATIONS,
)
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from cv_quality.tasks.release.stage import Measured
    from cv_quality.tasks.root_causes.clusters import Embedding


def _infer(context: StageContext) -> "DataclassInstance":
    return evaluation_of(context.entry).infer(context)


def _compare(context: StageContext) -> "DataclassInstance":
    return evaluation_of(context.entry).compare(context)


def _measure(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.verification.counts import count_metrics
    from cv_quality.tasks.verification.outcomes import attempt_outcomes

    evaluation = evaluation_of(context.entry)
    lake, build, drop, modality = context.lake, context.build, context.drop, biometric(context.modality)
    attempt_outcomes(
        lake,
        modality=modality,
        build=build,
        drop=drop,
        decision_threshold=context.entry.decision_threshold,
        outcome=evaluation.outcome,
        is_recorded=evaluation.is_recorded,
    )
    return count_metrics(lake, modality=modality, build=build, drop=drop, comparison_trials=evaluation.trials)


def _score_histogram(context: StageContext) -> bytes:
    from cv_quality.tasks.verification.report.pictures import score_histogram

    return score_histogram(
        context.lake,
        build=context.build,
        drop=context.drop,
        comparator=biometric(context.modality).comparator,
        decision_threshold=context.entry.decision_threshold,
    )


def _impostors(context: StageContext) -> Numbers:
    from cv_quality.tasks.verification.impostors import count_impostors, write_impostors

    lake, build, drops, modality = context.lake, context.build, context.drops, biometric(context.modality)
    entries = {model: context.workspace.registry.entry(model) for model in context.models}
    counted = [
        count_impostors(
            lake,
            build=build,
            model_build=model,
            drops=drops,
            modality=modality.of_build(entry),
            decision_threshold=entry.decision_threshold,
        )
        for model, entry in entries.items()
    ]
    tail_rows = write_impostors(lake, counted, comparator=modality.comparator)
    return {
        "drops": len(drops),
        "pairs": sum(part.counts.n for part in counted),
        "blocks": sum(part.blocks for part in counted),
        "blocks_computed": sum(part.blocks_computed for part in counted),
        "tail_rows": tail_rows,
    }


def _measure_build(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.verification.build_metrics import measure_build
    from cv_quality.tasks.verification.build_scores import read_build_scores, read_families
    from cv_quality.tasks.verification.differences import Side, write_differences
    from cv_quality.tasks.verification.parity import write_parity

    lake, build, drops, modality = context.lake, context.build, context.drops, biometric(context.modality)
    write_parity(lake, build=build, drops=drops, modality=modality)
    no_pairs = evaluation_of(context.entry).no_pairs
    of_models = dict.fromkeys(context.models, (build, drops))
    if evaluation_of(context.entry).is_recorded:
        # A build as recorded was scored by no other model: its baseline is taken on the drops of its own devices.
        of_models |= {before: (before, context.history[before]) for before in _before(context.freshness, build)}
    thresholds = {model: context.workspace.registry.entry(model).decision_threshold for model in of_models}
    sides = [Side(own, model, on, modality.comparator, thresholds[model]) for model, (own, on) in of_models.items()]
    family_of = read_families(lake, drops=drops)
    scores = {
        model: read_build_scores(
            lake, build=build, model_build=model, drops=drops, comparator=modality.comparator, family_of=family_of
        )
        for model in context.models
    }
    write_differences(lake, build, sides, no_pairs=no_pairs, scores=scores)
    return measure_build(
        lake,
        build=build,
        model_builds=context.models,
        drops=drops,
        comparator=modality.comparator,
        no_pairs=no_pairs,
        scores_of=scores,
    )


def _measure_instances(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.verification.instances import measure_instances

    modality = biometric(context.modality)
    entries = {model: context.workspace.registry.entry(model) for model in context.models}
    models = {model: (modality.of_build(entry), entry.decision_threshold) for model, entry in entries.items()}
    return measure_instances(context.lake, build=context.build, models=models, drops=context.drops)


def _evidence(context: StageContext) -> "Measured":
    from cv_quality.tasks.release.stage import Measured
    from cv_quality.tasks.verification.differences import read_evidence

    compared = context.lake.read(DIFFERENCES, TableKey(build=context.build), columns=["baseline_build_id"])
    baseline = next(iter([*compared["baseline_build_id"], *context.models[1:]]), None)
    return Measured(baseline, read_evidence(context.lake, context.build))


def _embed(context: StageContext, population: Population) -> "Embedding":
    from cv_quality.tasks.verification.attempt_vectors import embed_attempts

    return embed_attempts(
        context.lake,
        population,
        modality=biometric(context.modality),
        build=context.build,
        landing=context.workspace.landing,
        backbone=context.workspace.settings.backbone,
        threads=context.threads,
    )


def _waterfall(context: StageContext) -> int:
    from cv_quality.tasks.verification.waterfall import write_waterfall

    build, workspace = context.build, context.workspace
    rows = {model: false_rejects(workspace, build, model).rows for model in context.models}
    return write_waterfall(context.lake, build, rows)


def _explanations(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.verification.explanations import explain_nothing

    explain = biometric(context.modality).explain
    if explain is None or not context.workspace.settings.explained_pairs:
        return explain_nothing(context.lake, build=context.build)
    return explain(context.workspace, context.build)


def _way(freshness: Freshness, key: TableKey) -> str:
    """That a build is evaluated as recorded: an entry that begins or ceases to say so makes its drops due."""
    return "as recorded" if _recorded(freshness, key) else ""


def _deciding(freshness: Freshness, key: TableKey) -> str:
    """By what a build as recorded decides where its devices' logs do not: another threshold makes its drops due."""
    recorded = _recorded(freshness, key)
    return f"at {recorded.decision_threshold!r}" if recorded else ""


def _before(freshness: Freshness, build: str) -> list[str]:
    """The build that one as recorded follows, where its own drops are counted: none but its own devices tell of it."""
    return [model for model in freshness.predecessors(build)[:1] if model in freshness.history(build)]


def _compared_with(freshness: Freshness, key: TableKey) -> str:
    """Which counts a build as recorded is compared with beside its own: others of its baseline make it due."""
    if not _recorded(freshness, key):
        return ""
    own = [(model, drop) for model in _before(freshness, str(key.build)) for drop in freshness.own_drops(model)]
    known = [freshness.identity(MEASURE, TableKey(build=model, drop=drop)) for model, drop in own]
    return f"against {', '.join(known)}" if known else ""


def _recorded(freshness: Freshness, key: TableKey) -> Registered | None:
    """What the registry says of a build as recorded; None for any other, also for one that it does not know."""
    with suppress(RegistryError):
        found = freshness.registered(str(key.build))
        return found if found.is_recorded else None
    return None


def _explained_pairs(freshness: Freshness, key: TableKey) -> str:  # noqa: ARG001 - as the stage calls it
    """How many pairs are explained at most: another number makes the maps due."""
    return str(freshness.workspace.settings.explained_pairs)


def _report(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.verification.report.page import write_failure_report

    sections = context.freshness.task.sections
    return write_failure_report(report_source(context), sections, context.workspace.report_path(context.build))


INFER = Stage(
    name="infer",
    phase="score",
    reads=(VALIDATED_ATTEMPTS, VALIDATED_ENROLS, FRAME_INDEX),
    writes=(EMBEDDINGS,),
    run=_infer,
    elsewhere=_way,
    rules=INFER_RULES,
    modality_rules=template_rules,
    description="The template of every enrolment and attempt under the build's model, or why there is none.",
    gate="one output per sample, of the modality's form, one model digest; at most half without a template",
    kinds=frozenset({"pytorch", "parquet"}),
)
COMPARE = Stage(
    name="compare",
    phase="score",
    reads=(DROP_FILES, VALIDATED_ATTEMPTS, VALIDATED_ENROLS, EMBEDDINGS),
    writes=(COMPARISONS,),
    run=_compare,
    rules=COMPARE_RULES,
    modality_rules=parity_rules,
    description="Genuine scores, and the impostor attempts that really happened, beside the score in the log.",
    gate="genuine means one subject; every attempt compared; on-device and re-inferred scores agree: a "
    "warning, unless hardly any do",
    picture=_score_histogram,
)
MEASURE = Stage(
    name="measure",
    phase="score",
    reads=(DROP_FILES, VALIDATED_ATTEMPTS, VALIDATED_ENROLS, SUBJECTS, DEVICES, EMBEDDINGS, COMPARISONS),
    writes=(ATTEMPT_OUTCOMES, METRIC_COUNTS),
    run=_measure,
    elsewhere=_deciding,
    rules=MEASURE_RULES,
    modality_rules=decision_rules,
    description="Every attempt with the one stage that ended it; errors and trials per subject and condition.",
    gate=(
        "one outcome per attempt; errors within trials; levels add up to the whole; the outcomes add up to the "
        "false rejects; at most half of the attempts undecided; decisions as recorded agree with the declared "
        "threshold for all but 1 % (warning), and for at least half"
    ),
)
IMPOSTORS = Stage(
    name="impostors",
    phase="measure",
    reads=(DROP_FILES, VALIDATED_ATTEMPTS, EMBEDDINGS),
    writes=(IMPOSTOR_COUNTS, IMPOSTOR_TAIL, IMPOSTOR_TRIALS),
    run=_impostors,
    rules=IMPOSTORS_RULES,
    description="Every cross-subject pair of the build's drops, once: histogram and exact tail, in addressed blocks.",
    gate=(
        "no pair of one subject; the tail within the histogram; the subjects' samples account for every pair (warning)"
    ),
)
MEASURE_BUILD = Stage(
    name="measure_build",
    phase="measure",
    reads=(
        DROP_FILES,
        VALIDATED_ATTEMPTS,
        SUBJECTS,
        COMPARISONS,
        ATTEMPT_OUTCOMES,
        METRIC_COUNTS,
        IMPOSTOR_COUNTS,
        IMPOSTOR_TAIL,
        IMPOSTOR_TRIALS,
    ),
    writes=(INTERVALS, OPERATING_POINTS, DIFFERENCES, DET_CURVE, DIFFERENTIALS, PARITY),
    run=_measure_build,
    elsewhere=_compared_with,
    rules=MEASURE_BUILD_RULES,
    description="Rates with intervals clustered by subject, and operating points, for the build and its baseline; "
    "their differences, paired by subject; how far the devices agree with re-inference.",
    gate="rates within their intervals; realised FMR within its target; a missing number says why; the flips of device "
    "models and drops add up",
)
MEASURE_INSTANCES = Stage(
    name="measure_instances",
    phase="measure",
    reads=(
        DROP_FILES,
        VALIDATED_ATTEMPTS,
        SUBJECTS,
        EMBEDDINGS,
        COMPARISONS,
        IMPOSTOR_COUNTS,
        OPERATING_POINTS,
        IMPOSTOR_TRIALS,
    ),
    writes=(
        INSTANCE_COMPARISONS,
        INSTANCE_DOUBTS,
        CLOSEST_IMPOSTORS,
        INSTANCE_FUSION,
        INSTANCE_CAPTURES,
        ROTATIONS,
    ),
    run=_measure_instances,
    rules=INSTANCES_RULES,
    description="People's two eyes: impostors by side, one person's eyes against each other, both eyes together, and "
    "what further rotations cost; no rows for other modalities.",
    gate="impostors by side add up to those of the build, and none is of one person; realised FMR within its target; a "
    "missing number says why; more rotations never make impostors less alike",
)
RELEASE = release_stage("verification", reads=(DIFFERENCES, INTERVALS, OPERATING_POINTS), measured=_evidence)
POPULATIONS = Populations(
    outcome=FRR,
    primary=false_rejects,
    reads=(ATTEMPT_OUTCOMES,),
    others=other_outcomes,
    others_read=(DROP_FILES, FRAME_INDEX, VALIDATED_ATTEMPTS, VALIDATED_ENROLS, COMPARISONS),
    embed=_embed,
    embed_reads=(FRAME_INDEX, VALIDATED_ENROLS, EMBEDDINGS),
)
SLICES, ATTRIBUTION, CLUSTERS = root_cause_stages(
    POPULATIONS,
    SliceTables(
        writes=(OUTCOME_WATERFALL,),
        run=_waterfall,
        rules=WATERFALL_RULES,
        gate="; the outcomes add up to the false rejects searched",
    ),
)
EXPLAIN = Stage(
    name="explanations",
    phase="maps",
    reads=(DROP_FILES, FRAME_INDEX, VALIDATED_ENROLS, EMBEDDINGS, COMPARISONS, ATTEMPT_OUTCOMES, FAILURE_SLICES),
    writes=(EXPLANATIONS, COUNTERFACTUALS),
    run=_explanations,
    elsewhere=_explained_pairs,
    rules=explanations_rules(FRR.name),
    description="Saliency of each slice's failures against matched passes, and the scores with one condition changed.",
    gate=(
        "a map is shown only with the numbers of every check, and only if it beats random order; a hidden one "
        "says why; no more attempts accepted than run again"
    ),
    kinds=frozenset({"pytorch", "parquet"}),
)
REPORT = Stage(
    name="report",
    phase="report",
    reads=(
        DROP_FILES,
        FRAME_INDEX,
        QUARANTINE_PARSE,
        QUARANTINE_VALIDATE,
        RAW_ATTEMPTS,
        RAW_ENROLS,
        RAW_STREAM_FRAMES,
        RAW_SUBJECTS,
        SUBJECTS,
        VALIDATED_ATTEMPTS,
        VALIDATED_ENROLS,
        *(table for stage in (COMPARE, MEASURE, IMPOSTORS, MEASURE_BUILD, MEASURE_INSTANCES) for table in stage.writes),
        *RELEASE.writes,
        *(table for stage in (SLICES, ATTRIBUTION, CLUSTERS) for table in stage.writes),
    ),
    reads_if_there=EXPLAIN.writes,
    writes=(),
    run=_report,
    elsewhere=page_identity,
    asset="failure_report",
    result=Workspace.report_path,
    description="One self-contained page: the build against its baseline, curves, root causes, data quality.",
    kinds=frozenset({"altair", "html"}),
)

STAGES = (
    INFER,
    COMPARE,
    MEASURE,
    IMPOSTORS,
    MEASURE_BUILD,
    MEASURE_INSTANCES,
    RELEASE,
    SLICES,
    ATTRIBUTION,
    CLUSTERS,
    REPORT,
    EXPLAIN,
)
