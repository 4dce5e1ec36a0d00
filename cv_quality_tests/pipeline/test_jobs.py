"""Jobs on a real instance: what they record, what a failing gate stops, and what the record never holds."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from cv_quality.definitions import build_definitions
from cv_quality.errors import GateFailed
from cv_quality.gates.verdicts import Verdict, read_verdict
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.marts import mart_specs
from cv_quality.tasks import TASKS
from cv_quality.tasks.verification.tables import EMBEDDINGS, INTERVALS
from cv_quality_tests.conftest import History
from cv_quality_tests.deployment import (
    FIRST_DROP,
    SECOND_DROP,
    Orchestra,
    Run,
    deliver,
    do,
    redeliver,
    with_garbage,
    with_shifted_scores,
)

PARSED = ("raw_events", "quarantine")
VALIDATED = ("validated_attempts", "validated_streams", "subjects", "devices", "quarantine_validate")
SCORED = ("embeddings", "comparisons", "attempt_outcomes", "metric_counts")
MEASURED = (
    *("impostor_counts", "intervals", "operating_points", "det_curve", "differentials", "parity"),
    *("instance_comparisons", "differences", "release_verdict"),
)
EXPLAINED = ("failure_slices", "change_attribution", "failure_clusters")
MODELS = {spec.key.path[-1] for spec in mart_specs(TASKS)}
COLUMNS = {"key", "table", "expectation", "holds", "rows", "unexpected", "offending_keys"}


def materialized(run: Run) -> dict[str, str | None]:
    """Partition of every materialization of a run, by asset."""
    events = run.result.get_asset_materialization_events()
    keys = {str(event.asset_key and event.asset_key.to_user_string()): event.partition for event in events}
    return {key.removeprefix("verification/"): partition for key, partition in keys.items()}


def evaluations(run: Run) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in run.result.get_asset_check_evaluations()}


def table_of(evaluation: dg.AssetCheckEvaluation) -> list[dict[str, object]]:
    table = evaluation.metadata["table"]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]


def run_of(history: History, job: str, partition: str) -> Run:
    (run,) = [run for run in history.orchestra.runs if (run.job, run.partition) == (job, partition)]
    return run


def test_taking_a_drop_in_records_its_tables_and_both_gates(history: History) -> None:
    run = run_of(history, "ingest_drop", FIRST_DROP)
    assert materialized(run) == dict.fromkeys((*PARSED, *VALIDATED), FIRST_DROP)
    assert {name: (item.passed, item.partition) for name, item in evaluations(run).items()} == {
        "parse_gate": (True, FIRST_DROP),
        "validate_gate": (True, FIRST_DROP),
    }


def test_scoring_a_cell_records_its_tables_and_gates_under_build_and_drop(history: History) -> None:
    cell = f"face-1.1|{SECOND_DROP}"
    run = run_of(history, "evaluate_build_on_drop", cell)
    assert materialized(run) == dict.fromkeys(SCORED, cell)
    assert {name: item.passed for name, item in evaluations(run).items()} == {
        "infer_gate": True,
        "compare_gate": True,
        "measure_gate": True,
    }


def test_reporting_a_build_records_every_metric_table_and_the_page(history: History) -> None:
    run = run_of(history, "report_build", "face-1.2")
    assert set(materialized(run)) == {
        *MEASURED,
        *EXPLAINED,
        "failure_report",
        *(f"marts/{model}" for model in MODELS),
    }
    checked = [item for item in run.result.get_asset_check_evaluations() if item.check_name == "dbt_tests"]
    assert {item.asset_key.path[-1] for item in checked if item.passed} == MODELS
    assert {name: item.passed for name, item in evaluations(run).items() if name != "dbt_tests"} == dict.fromkeys(
        (
            "impostors_gate",
            "measure_build_gate",
            "measure_instances_gate",
            "release_gate",
            "slices_gate",
            "attribution_gate",
            "clusters_gate",
        ),
        True,
    )


def test_materializations_say_rows_place_and_rates(history: History) -> None:
    run, workspace = run_of(history, "report_build", "face-1.2"), history.orchestra.workspace
    found = {
        event.asset_key.to_user_string(): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in run.result.get_asset_materialization_events()
        if event.asset_key
    }
    intervals, key = found["verification/intervals"], TableKey(build="face-1.2")
    rows = workspace.lake.read(INTERVALS, key)
    assert intervals["dagster/row_count"] == rows.height
    assert str(intervals["dagster/uri"]).endswith(workspace.lake.object_key(INTERVALS, key))
    (overall,) = rows.filter(model_build_id="face-1.2", metric="frr", dimension="all")["value"].to_list()
    assert intervals["frr"] == overall
    assert str(found["verification/failure_report"]["dagster/uri"]).endswith("/face-1.2.html")
    with duckdb.connect(str(workspace.settings.warehouse), read_only=True) as warehouse:
        (counted,) = warehouse.execute("SELECT count(*) FROM fct_intervals").fetchall()
    assert found["marts/fct_intervals"]["dagster/row_count"] == counted[0]
    schema = found["marts/fct_intervals"]["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    assert {column.name: column.description for column in schema.columns}["value"]


def test_assets_name_owner_task_phase_and_the_code_that_makes_them(history: History) -> None:
    settings = replace(history.orchestra.workspace.settings, owners=("team:quality",))
    graph = build_definitions(settings).resolve_asset_graph()
    spec = graph.get(dg.AssetKey(["verification", "embeddings"]))
    assert (spec.owners, spec.tags["task"], spec.tags["phase"]) == (["team:quality"], "verification", "score")
    reference = spec.metadata["dagster/code_references"].code_references[0]
    line = Path(reference.file_path).read_text().splitlines()[reference.line_number - 1]
    assert line.startswith("def _infer(")
    assert graph.get(dg.AssetKey(["marts", "fct_intervals"])).owners == ["team:quality"]


def test_drawing_maps_records_them_and_the_page_again(history: History) -> None:
    run = run_of(history, "draw_maps", "face-1.2")
    assert set(materialized(run)) == {"explanations", "failure_report", *(f"marts/{model}" for model in MODELS)}
    steps = [event.step_key for event in run.result.all_events if event.event_type == dg.DagsterEventType.STEP_START]
    assert steps == ["verification_explanations", "marts", "verification_report"]


def test_a_check_shows_rules_and_counts_and_offending_keys_only(history: History) -> None:
    for run in history.orchestra.runs:
        for name, evaluation in evaluations(run).items():
            if name == "dbt_tests":
                continue
            rows = table_of(evaluation)
            assert rows
            assert all(set(row) == COLUMNS for row in rows)
            assert all(isinstance(row[count], int) for row in rows for count in ("rows", "unexpected"))
            assert set(evaluation.metadata) == {"expectations", "broken", "warnings", "table"}


def test_no_event_of_any_run_holds_a_template_or_the_text_of_a_row(history: History) -> None:
    orchestra = history.orchestra
    rows = orchestra.workspace.lake.read(EMBEDDINGS, TableKey(build="face-1.1", drop=FIRST_DROP))
    numbers = [str(value)[:8] for value in rows.filter(status="ok")["embedding"][0].to_list() if abs(value) > 1e-3]
    for run in orchestra.runs:
        text = "\n".join(dg.serialize_value(record) for record in orchestra.instance.all_logs(run.result.run_id))
        assert '"kind": "attempt"' not in text
        assert "frames/" not in text
        assert sum(number in text for number in numbers) <= 1


def test_a_drop_of_much_garbage_fails_its_check_and_is_not_validated(orchestra: Orchestra, tiny_landing: Path) -> None:
    deliver(tiny_landing, FIRST_DROP, to=orchestra.workspace)
    redeliver(orchestra.workspace, FIRST_DROP, with_garbage)
    (request,) = orchestra.tick("completed_drop_sensor").run_requests or ()
    result = orchestra.launch("ingest_drop", request)
    run = orchestra.runs[-1]
    assert not result.success
    assert set(materialized(run)) == set(PARSED)
    gate = evaluations(run)["parse_gate"]
    assert not gate.passed
    assert "at most 5% of the rows are quarantined" in str(gate.description)
    assert [row["offending_keys"] for row in table_of(gate)] == ["events-00000.jsonl.zst, frames-00000.tar"]
    assert dg.DagsterEventType.STEP_UP_FOR_RETRY not in [event.event_type for event in result.all_events]
    assert_refused(orchestra, "parse", TableKey(drop=FIRST_DROP), next_stage="validate")
    assert not orchestra.execute("ingest_drop", FIRST_DROP, only=VALIDATED).success
    assert "GateFailed" in failures(orchestra.runs[-1])


@pytest.fixture
def disputed(evaluated: Orchestra) -> Orchestra:
    """A deployment whose second drop came again with device scores that no model gives."""
    redeliver(evaluated.workspace, SECOND_DROP, with_shifted_scores)
    (request,) = evaluated.tick("completed_drop_sensor").run_requests or ()
    assert evaluated.launch("ingest_drop", request).success
    return evaluated


def test_device_scores_that_no_model_gives_fail_the_check_and_stop_counting(disputed: Orchestra) -> None:
    key = TableKey(build="face-1.2", drop=SECOND_DROP)
    disputed.instance.add_dynamic_partitions("verification_build", ["face-1.2"])
    result = disputed.execute("evaluate_build_on_drop", f"face-1.2|{SECOND_DROP}")
    assert not result.success
    assert set(materialized(disputed.runs[-1])) == {"embeddings", "comparisons"}
    gate = evaluations(disputed.runs[-1])["compare_gate"]
    assert not gate.passed
    broken, verdict = table_of(gate), verdict_of(disputed, "compare", key)
    assert [row["expectation"] for row in broken] == [item.name for item in verdict.expectations if not item.passed]
    assert [item.name.split(":")[0] for item in verdict.failures] == ["the registry has the devices' model"]
    assert 0 < len(str(broken[0]["offending_keys"]).split(", ")) <= 10
    assert_refused(disputed, "compare", key, next_stage="measure")


def verdict_of(orchestra: Orchestra, gate: str, key: TableKey) -> Verdict:
    verdict = read_verdict(orchestra.workspace.lake, gate, key)
    assert verdict is not None
    return verdict


def assert_refused(orchestra: Orchestra, gate: str, key: TableKey, *, next_stage: str) -> None:
    """The verdict says no, and the next stage tells the suite, the key, the expectation and the remedy."""
    verdict = verdict_of(orchestra, gate, key)
    assert not verdict.passed
    with pytest.raises(GateFailed) as refusal:
        do(orchestra.workspace, next_stage, build=key.build, drop=key.drop)
    parts = (repr(gate), str(key), verdict.failures[0].name, "Correct the input", f"verdicts/{gate}/{key}.json")
    assert [part for part in parts if part not in str(refusal.value)] == []


def failures(run: Run) -> str:
    """Everything that the failed steps of a run say."""
    data = [event.step_failure_data for event in run.result.all_events if event.is_step_failure]
    return "\n".join(str(item.error) + str(item.user_failure_data) for item in data)
