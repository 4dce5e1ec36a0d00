"""What the four stages that explain failures write for a build with one slice: sound rows, to be changed by a test."""

from collections.abc import Mapping

import pyarrow as pa

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.tasks import TASKS, tables_of

KEY = TableKey(build="face-1.2")
WHERE = '[{"column": "eyewear", "op": "==", "value": "glasses"}]'
Row = Mapping[str, object]
Rows = dict[str, list[Row]]

SEARCH: Row = {
    "build_id": "face-1.2",
    "outcome": "frr",
    "n_attempts": 100,
    "n_subjects": 40,
    "n_failures": 12,
    "base_rate": 0.12,
    "n_slices": 1,
    "conclusion": "One slice is real.",
    "skipped_json": "{}",
    "seed": 0,
}
CONFIRMED: Row = {
    "build_id": "face-1.2",
    "outcome": "frr",
    "finding": "confirmed",
    "rank": 1,
    "condition": "eyewear is glasses",
    "where_json": WHERE,
    "sentence": "Fails.",
    "rate": 0.5,
    "low": 0.2,
    "high": 0.8,
    "numerator": 5,
    "denominator": 10,
    "rest_rate": 0.02,
    "support": 20,
    "n_subjects": 15,
    "p_adjusted": 0.001,
    "share_of_failures": 0.8,
    "stability": 1.0,
}
AWAY: Row = {
    **{name: CONFIRMED[name] for name in ("build_id", "outcome", "rank", "condition", "where_json", "sentence")},
    "finding": "explained_away",
    "rate": 0.2,
    "rate_after": 0.02,
    "rest_rate": 0.02,
    "explained_by": "eyewear is glasses",
}
INTERVAL: Row = {
    "value": 0.5,
    "numerator": 10,
    "denominator": 20,
    "low": 0.2,
    "high": 0.8,
    "method": "by subject",
    "n_effective": 15.0,
    "n_subjects": 15,
}
TREND: Row = {"build_id": "face-1.2", "outcome": "frr", "rank": 1, "trend_build_id": "face-1.2", **INTERVAL}
EXAMPLE: Row = {
    "build_id": "face-1.2",
    "outcome": "frr",
    "rank": 1,
    "role": "failure",
    "position": 1,
    "drop_id": "d1",
    "attempt_id": "a1",
    "subject_id": "s1",
    "score": 0.1,
}


def ending(rank: int, outcome: str, n: int, of: int) -> Row:
    row = {"slice_rank": rank, "outcome": outcome, "n_attempts": n, "n_genuine": of}
    return {"build_id": "face-1.2", "model_build_id": "face-1.2", "condition": "in words", **row}


def part(number: int, *, before: tuple[int, int], after: tuple[int, int], mix: float, rate: float) -> Row:
    names = ("failures_before", "attempts_before", "failures_after", "attempts_after")
    return {
        "build_id": "face-1.2",
        "baseline_build_id": "face-1.1",
        "comparison": "algorithm",
        "part": number,
        "condition": "in words",
        "where_json": WHERE if number == 1 else None,
        **dict(zip(names, (*before, *after), strict=True)),
        "mix": mix,
        "rate": rate,
        "change": mix + rate,
        "n_subjects": 40,
        "n_paired": 40,
        "reason": "few subjects",
    }


CLUSTER: Row = {
    "cluster": 1,
    "embedding_source": "model",
    "is_described": True,
    "precision": 0.9,
    "recall": 0.8,
    "examples_json": "[]",
    **{name: value for name, value in CONFIRMED.items() if name not in ("outcome", "finding", "rank")},
}
MAP: Row = {
    "build_id": "face-1.2",
    "rank": 1,
    "method": "occlusion",
    "n_failures": 5,
    "n_passes": 5,
    "n_subjects": 5,
    "height": 1,
    "width": 2,
    "map": [0.0, 1.0],
    "pointing": 0.9,
    "deletion": 0.1,
    "deletion_random": 0.4,
    "insertion": 0.8,
    "insertion_random": 0.4,
    "randomisation": 0.1,
    "is_shown": True,
}
CHANGED: Row = {
    "build_id": "face-1.2",
    "rank": 1,
    "change": "illuminance_lux 300",
    "source": "rerendered",
    "n_attempts": 20,
    "n_accepted": 10,
    **INTERVAL,
}


def sound() -> Rows:
    """What the four stages write for a build with one slice."""
    return {
        "slice_searches": [SEARCH],
        "failure_slices": [CONFIRMED, AWAY],
        "slice_trends": [TREND],
        "outcome_waterfall": [
            ending(0, "accepted", 88, 100),
            ending(0, "non_match", 12, 100),
            ending(1, "accepted", 10, 20),
            ending(1, "non_match", 10, 20),
        ],
        "examples": [EXAMPLE],
        "change_attribution": [
            part(0, before=(2, 100), after=(12, 100), mix=0.0, rate=0.1),
            part(1, before=(0, 20), after=(10, 20), mix=0.0, rate=0.1),
            part(2, before=(2, 80), after=(2, 80), mix=0.0, rate=0.0),
        ],
        "failure_clusters": [CLUSTER],
        "explanations": [MAP],
        "counterfactuals": [CHANGED],
    }


def write_findings(lake: Lake, rows: Rows) -> None:
    """Write the tables; a column that a row leaves out is null."""
    tables = tables_of(TASKS)
    for name, items in rows.items():
        schema = tables[name].arrow_schema
        filled = [{column: item.get(column) for column in schema.names} for item in items]
        lake.write(tables[name], KEY, pa.Table.from_pylist(filled, schema=schema))
