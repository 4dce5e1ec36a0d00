"""The stages of liveness: what each reads and writes, and the one function of this package that does it."""

from typing import TYPE_CHECKING

from cv_quality.drops.tables import (
    DEVICES,
    DROP_FILES,
    FRAME_INDEX,
    PRESENTATIONS,
    QUARANTINE_PARSE,
    QUARANTINE_VALIDATE,
    SUBJECTS,
)
from cv_quality.errors import RegistryError
from cv_quality.freshness import Freshness, StageContext
from cv_quality.lake.lake import TableKey
from cv_quality.stage import Stage
from cv_quality.tasks.liveness.populations import PASSED, embed_figures, other_outcomes, passed_attacks
from cv_quality.tasks.liveness.rules import (
    JUDGE_RULES,
    MEASURE_RULES,
    POLICY_RULES,
    PROFILE_RULES,
    SCORE_RULES,
    WATERFALL_RULES,
)
from cv_quality.tasks.liveness.tables import (
    LIVENESS_POLICIES,
    LIVENESS_PROFILES,
    LIVENESS_RATES,
    LIVENESS_WATERFALL,
    PRESENTATION_OUTCOMES,
    PRESENTATION_SCORES,
)
from cv_quality.tasks.pages import page_identity, report_source
from cv_quality.tasks.release.stage import release_stage
from cv_quality.tasks.root_causes.stages import Populations, root_cause_stages
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES
from cv_quality.tasks.verification.modality import AS_RECORDED
from cv_quality.tasks.verification.rules import explanations_rules
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS, PARITY
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from cv_quality.tasks.release.stage import Measured


def _score(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.scores import score_presentations

    return score_presentations(context)


def _judge(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.outcomes import judge_presentations

    return judge_presentations(context)


def _measure(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.build_metrics import measure_liveness
    from cv_quality.tasks.liveness.parity import write_liveness_parity

    write_liveness_parity(context)
    return measure_liveness(context)


def _trace(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.system import trace_presentations

    return trace_presentations(context)


def _compare(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.policies import compare_detectors

    return compare_detectors(context)


def _answer(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.profiles import answer_profiles

    return answer_profiles(context)


def _asked(freshness: Freshness, key: TableKey) -> str:
    from cv_quality.tasks.liveness.profiles import profile_identity

    return profile_identity(freshness, key)


def _evidence(context: StageContext) -> "Measured":
    from cv_quality.tasks.liveness.profiles import read_measured

    return read_measured(context)


def _explain(context: StageContext) -> "DataclassInstance":
    from cv_quality.simulation.rerender import rerenderer
    from cv_quality.tasks.liveness.explanations import explain_attacks
    from cv_quality.tasks.root_causes.slices import read_slices

    slices = read_slices(context.lake, context.build, PASSED.name)
    return explain_attacks(context, slices=slices, rerender=rerenderer(context.workspace.landing))


def _explained_pairs(freshness: Freshness, key: TableKey) -> str:  # noqa: ARG001 - as the stage calls it
    """How many attacks are explained at most: another number makes the maps due."""
    return str(freshness.workspace.settings.explained_pairs)


def _report(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.report.page import write_liveness_report

    target = context.workspace.report_path(context.build)
    return write_liveness_report(report_source(context), context.freshness.task.sections, target)


def _models(freshness: Freshness, key: TableKey) -> str:
    """What makes the entry's scores, or that they are the devices': another one makes the build's drops due."""
    try:
        return freshness.workspace.registry.entry(str(key.build)).sha256 or AS_RECORDED
    except RegistryError:
        return ""


def _threshold(freshness: Freshness, key: TableKey) -> str:
    """The devices' threshold of the entry: another one makes the build's drops due."""
    try:
        return f"at {freshness.workspace.registry.entry(str(key.build)).decision_threshold!r}"
    except RegistryError:
        return ""


SCORE = Stage(
    name="score_presentations",
    phase="score",
    reads=(PRESENTATIONS, FRAME_INDEX),
    writes=(PRESENTATION_SCORES,),
    run=_score,
    rules=SCORE_RULES,
    elsewhere=_models,
    description="The score of every presentation's frame under the build's models, or why there is none.",
    gate="one row per presentation; a score exactly where the status is ok; at most half of the frames without one",
    kinds=frozenset({"pytorch", "parquet"}),
)
JUDGE = Stage(
    name="judge_presentations",
    phase="score",
    reads=(DROP_FILES, PRESENTATIONS, SUBJECTS, DEVICES, PRESENTATION_SCORES),
    writes=(PRESENTATION_OUTCOMES,),
    run=_judge,
    rules=JUDGE_RULES,
    elsewhere=_threshold,
    description="What became of every presentation: taken for bona fide, for an attack, or no response.",
    gate="one outcome per presentation; at most 5 % undecided",
)
MEASURE = Stage(
    name="measure_liveness",
    phase="measure",
    reads=(DROP_FILES, PRESENTATION_OUTCOMES),
    writes=(LIVENESS_RATES, PARITY),
    run=_measure,
    rules=MEASURE_RULES,
    description="APCER and IAPAR by species with bounds by artefact, BPCER, non-responses: over all and by condition; "
    "how far devices agree with the lab.",
    gate="values within their intervals; IAPAR at most APCER; a missing number says why; the flips of device models "
    "and drops add up",
)
WATERFALL = Stage(
    name="waterfall",
    phase="measure",
    reads=(DROP_FILES, PRESENTATION_OUTCOMES, LIVENESS_RATES),
    writes=(LIVENESS_WATERFALL,),
    run=_trace,
    rules=WATERFALL_RULES,
    description="Which stage of the whole system decided: capture, liveness, matcher; of every kind of presentation.",
    gate="the stages add up to what was presented, and to what the rates were made of",
)
POLICIES = Stage(
    name="policies",
    phase="measure",
    reads=(DROP_FILES, PRESENTATION_OUTCOMES),
    writes=(LIVENESS_POLICIES,),
    run=_compare,
    rules=POLICY_RULES,
    description="One or two detectors, alone and together, at thresholds chosen on other artefacts and subjects.",
    gate="values within their intervals; a missing number says why",
)
PROFILES = Stage(
    name="profiles",
    phase="measure",
    reads=(DROP_FILES, PRESENTATION_OUTCOMES),
    writes=(LIVENESS_PROFILES,),
    run=_answer,
    elsewhere=_asked,
    rules=PROFILE_RULES,
    description="The profiles that are asked of the build: pass, fail or insufficient for every species and group.",
    gate="a profile passes only where all of it does; bounds and verdicts fit",
)
RELEASE = release_stage("liveness", reads=(LIVENESS_RATES, LIVENESS_PROFILES), measured=_evidence)
POPULATIONS = Populations(
    outcome=PASSED,
    primary=passed_attacks,
    reads=(PRESENTATION_OUTCOMES,),
    others=other_outcomes,
    embed=embed_figures,
)
SLICES, ATTRIBUTION, CLUSTERS = root_cause_stages(POPULATIONS)
CHAIN = (SCORE, JUDGE, MEASURE, WATERFALL, POLICIES, PROFILES, RELEASE, SLICES, ATTRIBUTION, CLUSTERS)
EXPLAIN = Stage(
    name="explanations",
    phase="maps",
    reads=(DROP_FILES, FRAME_INDEX, PRESENTATIONS, PRESENTATION_SCORES, PRESENTATION_OUTCOMES, FAILURE_SLICES),
    writes=(EXPLANATIONS, COUNTERFACTUALS),
    run=_explain,
    elsewhere=_explained_pairs,
    rules=explanations_rules(PASSED.name),
    description="Saliency of each slice's attacks that pass against attacks that are found, and the scores with one "
    "condition changed.",
    gate="a map is shown only with the numbers of every check, and only if it beats random order; a hidden one says "
    "why; no more attacks are found than were run again",
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
        *(table for stage in CHAIN for table in stage.writes),
    ),
    reads_if_there=EXPLAIN.writes,
    writes=(),
    run=_report,
    elsewhere=page_identity,
    asset="failure_report",
    result=Workspace.report_path,
    description="One self-contained page: rates by species with their bounds, what lets attacks through, the data.",
    kinds=frozenset({"altair", "html"}),
)
STAGES = (*CHAIN, REPORT, EXPLAIN)
