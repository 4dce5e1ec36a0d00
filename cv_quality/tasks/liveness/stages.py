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
    WATERFALL_RULES,
)
from cv_quality.tasks.liveness.tables import (
    LIVENESS_POLICIES,
    LIVENESS_PROFILES,
    LIVENESS_RATES,
    LIVENESS_WATERFALL,
    PRESENTATION_OUTCOMES,
)
from cv_quality.tasks.pages import page_identity, report_source
from cv_quality.tasks.release.stage import release_stage
from cv_quality.tasks.root_causes.stages import Populations, root_cause_stages
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from cv_quality.tasks.release.stage import Measured


def _judge(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.outcomes import judge_presentations

    return judge_presentations(context)


def _measure(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.build_metrics import measure_liveness

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


def _report(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.report.page import write_liveness_report

    target = context.workspace.report_path(context.build)
    return write_liveness_report(report_source(context), context.freshness.task.sections, target)


def _threshold(freshness: Freshness, key: TableKey) -> str:
    """The devices' threshold of the entry: another one makes the build's drops due."""
    try:
        return f"at {freshness.workspace.registry.entry(str(key.build)).decision_threshold!r}"
    except RegistryError:
        return ""


JUDGE = Stage(
    name="judge_presentations",
    phase="score",
    reads=(DROP_FILES, PRESENTATIONS, SUBJECTS, DEVICES),
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
    writes=(LIVENESS_RATES,),
    run=_measure,
    rules=MEASURE_RULES,
    description="APCER and IAPAR by species with bounds by artefact, BPCER, non-responses: over all and by condition.",
    gate="values within their intervals; IAPAR at most APCER; a missing number says why",
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
SLICES, ATTRIBUTION, CLUSTERS = root_cause_stages(
    Populations(
        outcome=PASSED,
        primary=passed_attacks,
        reads=(PRESENTATION_OUTCOMES,),
        others=other_outcomes,
        embed=embed_figures,
    )
)
CHAIN = (JUDGE, MEASURE, WATERFALL, POLICIES, PROFILES, RELEASE, SLICES, ATTRIBUTION, CLUSTERS)
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
    writes=(),
    run=_report,
    elsewhere=page_identity,
    asset="failure_report",
    result=Workspace.report_path,
    description="One self-contained page: rates by species with their bounds, what lets attacks through, the data.",
    kinds=frozenset({"altair", "html"}),
)
STAGES = (*CHAIN, REPORT)
