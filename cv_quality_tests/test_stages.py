"""Stages as values: a chain that does not hold together is refused, and a declared stage reaches every place."""

import shutil
from dataclasses import replace

import dagster as dg
import duckdb
import polars as pl
import pytest

from cv_quality import documentation
from cv_quality.definitions import build_definitions
from cv_quality.errors import StageError
from cv_quality.freshness import StageContext
from cv_quality.gates.rules import rows_rule
from cv_quality.gates.verdicts import read_verdict
from cv_quality.lake.columns import BUILD_ID, DROP_ID
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Column, Table
from cv_quality.runner import run_due
from cv_quality.settings import Settings
from cv_quality.stage import Numbers, Stage, Task
from cv_quality.tasks import open_workspace
from cv_quality.tasks.verification.tables import COMPARISONS
from cv_quality.tasks.verification.task import VERIFICATION
from cv_quality.workspace import Workspace
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import SECOND_DROP, quietly

MARGINS = Table(
    "margins",
    "build_drop",
    "drop with the narrowest distance of a genuine score to the threshold",
    (BUILD_ID, DROP_ID, Column("narrowest", "real", "least distance to the threshold", nullable=True, low=0)),
    unique=("drop_id",),
    mart=True,
)


def narrowest_margin(context: StageContext) -> Numbers:
    scores = context.lake.read(COMPARISONS, context.key).filter("is_genuine")["score"]
    value = (scores - context.entry.decision_threshold).abs().min()
    row = {"build_id": context.build, "drop_id": context.drop, "narrowest": value}
    rows = pl.DataFrame([row], schema_overrides={"narrowest": pl.Float64})
    return {"rows": context.lake.write(MARGINS, context.key, rows)}


MARGIN = Stage(
    name="margin",
    phase="score",
    reads=(COMPARISONS,),
    writes=(MARGINS,),
    run=narrowest_margin,
    rules=(rows_rule(MARGINS, "no margin is wider than all scores", "narrowest > 2"),),
    description="How near to the threshold genuine scores come.",
    gate="no margin wider than the range of scores",
)


def with_stages(*stages: Stage) -> Task:
    return replace(VERIFICATION, stages=stages)


@pytest.fixture(scope="module")
def declared() -> Task:
    """Verification with one more stage, put behind the stage whose table it reads."""
    place = [stage.name for stage in VERIFICATION.stages].index("compare") + 1
    return with_stages(*VERIFICATION.stages[:place], MARGIN, *VERIFICATION.stages[place:])


@pytest.fixture(scope="module")
def worked_off(history: History, declared: Task, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The deployment in which both drops were done before the stage was declared, and what is due since."""
    home = tmp_path_factory.mktemp("declared") / "home"
    shutil.copytree(history.home, home)
    settings = Settings.from_environment({"CVQ_HOME": str(home), "CVQ_THREADS": "1"})
    workspace = open_workspace(settings, (declared,))
    done = run_due(workspace, track=quietly, tasks=(declared,))
    assert done.succeeded, done.refused
    assert "margin" in {result.stage for result in done.results}
    assert "infer" not in {result.stage for result in done.results}
    return workspace


def test_a_declared_stage_writes_its_table_and_passes_its_gate(worked_off: Workspace) -> None:
    key = TableKey(build="face-1.2", drop=SECOND_DROP)
    assert worked_off.lake.read(MARGINS, key)["narrowest"].item() >= 0
    verdict = read_verdict(worked_off.lake, "margin", key)
    assert verdict is not None
    assert "no margin is wider than all scores" in {item.name for item in verdict.expectations}
    assert "narrowest lies in [0, any]" in {item.name for item in verdict.expectations}


def test_a_declared_stage_is_an_asset_with_a_check_in_the_job_of_its_phase(declared: Task) -> None:
    definitions = build_definitions(Settings.from_environment({}), (declared,))
    node = definitions.resolve_asset_graph().get(dg.AssetKey(["verification", "margins"]))
    assert [key.to_user_string() for key in node.parent_keys] == ["verification/comparisons"]
    assert [key.name for key in node.check_keys] == ["margin_gate"]
    assert node.group_name == "verification_score"
    job = definitions.resolve_job_def("verification_evaluate_build_on_drop")
    assert node.key in job.asset_layer.selected_asset_keys


def test_a_table_marked_for_the_warehouse_is_a_described_metric_table(worked_off: Workspace) -> None:
    with duckdb.connect(str(worked_off.settings.warehouse), read_only=True) as connection:
        rows = connection.execute("SELECT build_id, drop_id FROM fct_margins ORDER BY ALL").fetchall()
        comment = connection.execute(
            "SELECT comment FROM duckdb_columns() WHERE table_name = 'fct_margins' AND column_name = 'narrowest'"
        ).fetchone()
    assert ("face-1.2", SECOND_DROP) in rows
    assert len(rows) == 4
    assert comment == ("least distance to the threshold; null allowed",)


def test_the_pages_of_the_docs_show_a_declared_stage_and_its_table(declared: Task) -> None:
    assert "| `margin` | verification | build x drop | no margin wider" in documentation.gates([declared])
    assert "### margins" in documentation.tables([declared])


@pytest.mark.parametrize("page", documentation.PAGES)
def test_the_pages_of_the_docs_are_those_of_the_declarations(page: str) -> None:
    assert (documentation.DOCS / page).read_text() == documentation.filled(page)


def test_a_stage_that_reads_a_table_nobody_writes_is_refused() -> None:
    lost = replace(MARGIN, name="lost", reads=(replace(MARGINS, name="nobodys"),), writes=())
    with pytest.raises(StageError, match="'lost' reads nobodys, which no stage writes"):
        with_stages(*VERIFICATION.stages, lost)


def test_two_stages_that_write_one_table_are_refused_by_name() -> None:
    twin = replace(MARGIN, name="twin")
    with pytest.raises(StageError, match="'margin' and 'twin' both write margins"):
        with_stages(*VERIFICATION.stages, MARGIN, twin)


def test_two_stages_that_read_of_each_other_are_refused_by_name() -> None:
    other = replace(MARGINS, name="others")
    first, second = replace(MARGIN, reads=(other,)), replace(MARGIN, name="second", reads=(MARGINS,), writes=(other,))
    with pytest.raises(StageError, match="'margin' reads others of 'second', which comes after it"):
        with_stages(*VERIFICATION.stages, first, second)


def test_a_gate_is_named_after_a_declared_stage_only() -> None:
    with pytest.raises(StageError, match="no stage 'measured', only parse, validate"):
        VERIFICATION.stage("measured")
