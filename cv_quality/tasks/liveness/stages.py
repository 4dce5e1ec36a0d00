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
from cv_quality.tasks.liveness.rules import JUDGE_RULES, MEASURE_RULES
from cv_quality.tasks.liveness.tables import LIVENESS_RATES, PRESENTATION_OUTCOMES
from cv_quality.tasks.pages import page_identity, report_source
from cv_quality.tasks.root_causes.stages import Populations, root_cause_stages
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def _judge(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.outcomes import judge_presentations

    return judge_presentations(context)


def _measure(context: StageContext) -> "DataclassInstance":
    from cv_quality.tasks.liveness.build_metrics import measure_liveness

    return measure_liveness(context)


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
POPULATIONS = Populations(
    outcome=PASSED,
    primary=passed_attacks,
    reads=(PRESENTATION_OUTCOMES,),
    others=other_outcomes,
    embed=embed_figures,
)
SLICES, ATTRIBUTION, CLUSTERS = root_cause_stages(POPULATIONS)
REPORT = Stage(
    name="report",
    phase="report",
    reads=(
        DROP_FILES,
        FRAME_INDEX,
        QUARANTINE_PARSE,
        QUARANTINE_VALIDATE,
        *(table for stage in (JUDGE, MEASURE, SLICES, ATTRIBUTION, CLUSTERS) for table in stage.writes),
    ),
    writes=(),
    run=_report,
    elsewhere=page_identity,
    asset="failure_report",
    result=Workspace.report_path,
    description="One self-contained page: rates by species with their bounds, what lets attacks through, the data.",
    kinds=frozenset({"altair", "html"}),
)
STAGES = (JUDGE, MEASURE, SLICES, ATTRIBUTION, CLUSTERS, REPORT)
