"""Root causes of a build's failures, read from the lake into frozen records: slices, their evidence, what changed.

What a task alone knows, its words, its pictures, and further evidence of a slice, it passes in. How slices are found is
in `cv_quality.error_analysis.discovery`.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import MissingTable
from cv_quality.inference.entry_difference import EntryDifference, entry_differences
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.metrics.rates import Rate
from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.rates import read_rate
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.root_causes.report.change import read_change
from cv_quality.tasks.root_causes.report.records import (
    AttemptName,
    CauseWords,
    ClusterView,
    ExamplePair,
    PicturedAttempt,
    RootCauses,
    SliceEvidence,
    SliceView,
    StageSearch,
    TrendPoint,
)
from cv_quality.tasks.root_causes.tables import (
    EXAMPLES,
    FAILURE_CLUSTERS,
    FAILURE_SLICES,
    SLICE_SEARCHES,
    SLICE_TRENDS,
)

CLUSTER_PICTURES = 6

Row = Mapping[str, Any]
ReadAttempts = Callable[[Iterable[AttemptName]], Mapping[AttemptName, PicturedAttempt]]
"""Reads attempts, or frames, as they are shown; those without an outcome are left out."""


def read_searches(source: ReportSource, *, primary: str) -> dict[str, dict[str, Any]]:
    """Read the searches of a build by outcome.

    Args:
        source: what the page is made from.
        primary: the outcome that must be there.

    Raises:
        MissingTable: it was not searched.
    """
    searches = {row["outcome"]: row for row in cause_rows(source, SLICE_SEARCHES)}
    if primary not in searches:
        found = f"has no search for {primary!r}, only for {list(searches)}"
        raise MissingTable(f"{SLICE_SEARCHES.name} of {TableKey(build=source.scope.build)} {found}")
    return searches


def read_causes(
    source: ReportSource,
    *,
    searches: Mapping[str, Row],
    outcome: str,
    words: CauseWords,
    others: Mapping[str, str],
    attempts: ReadAttempts,
    evidence: Callable[[int], SliceEvidence],
    about_maps: str = "",
) -> RootCauses:
    """Read why a build fails.

    Args:
        source: what the page is made from.
        searches: by outcome, as `read_searches` gives them.
        outcome: whose slices are shown.
        words: how the task speaks of what was searched.
        others: names of further outcomes that were searched, in words, by outcome; those without one are left out.
        attempts: reads those that are shown.
        evidence: what else is known of the slice with this rank.
        about_maps: what a reader must know of maps and changed conditions.

    Raises:
        MissingTable: slices, clusters or (with a baseline) the change have not been worked out.
    """
    search, slices = searches[outcome], cause_rows(source, FAILURE_SLICES)
    examples = [row for row in cause_rows(source, EXAMPLES) if row["outcome"] == outcome]
    clusters = sorted(cause_rows(source, FAILURE_CLUSTERS), key=lambda row: int(row["cluster"]))
    names = [*_names(examples), *(name for row in clusters for name in _examples_of(row))]
    pictured = attempts(names)
    return RootCauses(
        outcome=outcome,
        words=words,
        unsearched=json.loads(search["skipped_json"]),
        **{name: search[name] for name in ("conclusion", "n_attempts", "n_subjects", "n_failures")},
        slices=_slices(
            source,
            _of(slices, outcome, "confirmed"),
            outcome=outcome,
            examples=examples,
            attempts=pictured,
            evidence=evidence,
        ),
        confounded=_of(slices, outcome, "explained_away"),
        combined=_of(slices, outcome, "only_combined"),
        insufficient=_of(slices, outcome, "insufficient"),
        stages=_other_searches(searches, slices, outcome=outcome, names=others),
        clusters=tuple(_cluster(row, pictured) for row in clusters),
        about_maps=about_maps,
        change=read_change(source, trial=words.trial),
        entries=_entries(source),
        queries=_cause_queries(source.scope.build, outcome),
    )


def _other_searches(
    searches: Mapping[str, Row], slices: Sequence[Row], *, outcome: str, names: Mapping[str, str]
) -> tuple[StageSearch, ...]:
    """The searches for other outcomes than the one whose slices are shown.

    Args:
        searches, slices: rows of both, of every outcome.
        outcome: whose slices are shown.
        names: of the others, in words.
    """
    return tuple(
        StageSearch(
            stage=names[name],
            n_failures=row["n_failures"],
            conclusion=row["conclusion"],
            conditions=tuple(item["condition"] for item in _of(slices, name, "confirmed")),
        )
        for name, row in searches.items()
        if name != outcome and name in names
    )


def _cause_queries(build: str, outcome: str) -> dict[str, Query]:
    return {
        **{finding: _slices_query(build, finding, outcome) for finding in FAILURE_SLICES.column("finding").levels},
        "searches": rows_query(SLICE_SEARCHES, build=build, where={}, order=("outcome",)),
        "clusters": rows_query(FAILURE_CLUSTERS, build=build, where={}, order=("cluster",)),
    }


def _entries(source: ReportSource) -> tuple[EntryDifference, ...] | None:
    files, scope = source.entry_files, source.scope
    if scope.baseline is None or not {scope.baseline, scope.build} <= files.keys():
        return None
    return entry_differences(files[scope.baseline], files[scope.build])


def cause_rows(source: ReportSource, table: Table) -> list[dict[str, Any]]:
    """Read a table of root causes of the page's build."""
    return source.lake.read(table, TableKey(build=source.scope.build)).to_dicts()


def _of(slices: Iterable[Row], outcome: str, finding: str) -> tuple[Row, ...]:
    own = [row for row in slices if row["outcome"] == outcome and row["finding"] == finding]
    return tuple(sorted(own, key=lambda row: int(row["rank"])))


def _slices_query(build: str, finding: str, outcome: str) -> Query:
    return rows_query(FAILURE_SLICES, build=build, where={"outcome": outcome, "finding": finding}, order=("rank",))


def _names(examples: Iterable[Row]) -> Iterable[AttemptName]:
    """The attempts of the examples, and those that they are paired with."""
    for row in examples:
        yield row["drop_id"], row["attempt_id"]
        if row["partner_attempt_id"]:
            yield row["partner_drop_id"], row["partner_attempt_id"]


def _examples_of(cluster: Row) -> list[AttemptName]:
    pairs = json.loads(cluster["examples_json"])
    return [(str(drop), str(attempt)) for drop, attempt in pairs[:CLUSTER_PICTURES]]


_COPIED = (
    "condition",
    "sentence",
    "rest_rate",
    "support",
    "n_subjects",
    "p_adjusted",
    "share_of_failures",
    "stability",
    "adjusted_odds_ratio",
    "adjusted_for",
)


def _slices(
    source: ReportSource,
    confirmed: Iterable[Row],
    *,
    outcome: str,
    examples: Sequence[Row],
    attempts: Mapping[AttemptName, PicturedAttempt],
    evidence: Callable[[int], SliceEvidence],
) -> tuple[SliceView, ...]:
    build = source.scope.build
    trends = [row for row in cause_rows(source, SLICE_TRENDS) if row["outcome"] == outcome]
    views = []
    for row in confirmed:
        rank = int(row["rank"])
        own = [item for item in examples if item["rank"] == rank]
        where, known = Slice.from_list(json.loads(row["where_json"])), evidence(rank)
        of_slice: dict[str, str | float] = {"outcome": outcome, "rank": rank}
        view = SliceView(
            rank=rank,
            where=where,
            declared=_declared(source, where),
            **{name: row[name] for name in _COPIED},
            rate=read_rate(row, value="rate"),
            mended=_mended(row),
            predicate=where.sql(),
            trend=_trend([item for item in trends if item["rank"] == rank], build=build),
            typical=_typical(own, attempts),
            pairs=_pairs(own, attempts),
            evidence=known,
            queries=(
                ("The slice", _slices_query(build, "confirmed", outcome)),
                ("Examples", rows_query(EXAMPLES, build=build, where={**of_slice}, order=("role", "position"))),
                *known.queries,
            ),
        )
        views.append(view)
    return tuple(views)


def _mended(row: Row) -> Rate:
    """Read from a row of `failure_slices` what all trials would have if those of the slice failed as the others do."""
    columns = {name: f"mended_{name}" for name in ("low", "high", "numerator", "denominator")}
    return read_rate(row, value="mended_rate", **columns)


def _declared(source: ReportSource, where: Slice) -> tuple[str, ...]:
    names = {predicate.column for predicate in where.where}
    return tuple(
        f"{item.name}: {item.label}" for item in source.modality.conditions if item.is_declared and item.name in names
    )


def _trend(rows: Sequence[Row], *, build: str) -> tuple[TrendPoint, ...]:
    """The oldest build first and the build itself last; the table holds the nearest of those it follows first."""
    points = [TrendPoint(build=row["trend_build_id"], rate=read_rate(row)) for row in rows]
    earlier = [point for point in points if point.build != build]
    return (*reversed(earlier), *(point for point in points if point.build == build))


def _typical(rows: Sequence[Row], attempts: Mapping[AttemptName, PicturedAttempt]) -> tuple[ExamplePair, ...]:
    """Every typical failure beside its nearest pass."""
    passes = {row["position"]: (row["drop_id"], row["attempt_id"]) for row in rows if row["role"] == "nearest_pass"}
    failures = sorted((row for row in rows if row["role"] == "failure"), key=lambda row: int(row["position"]))
    return tuple(
        ExamplePair(failure=attempts[name], passed=attempts.get(passes.get(row["position"], ("", ""))))
        for row in failures
        if (name := (row["drop_id"], row["attempt_id"])) in attempts
    )


def _pairs(rows: Sequence[Row], attempts: Mapping[AttemptName, PicturedAttempt]) -> tuple[ExamplePair, ...]:
    """Pairs that differ in one condition, of which both attempts are known."""
    own = sorted((row for row in rows if row["role"] == "differs_in_one"), key=lambda row: int(row["position"]))
    return tuple(
        ExamplePair(failure=attempts[name], passed=attempts[partner], difference=row["difference"])
        for row in own
        if (name := (row["drop_id"], row["attempt_id"])) in attempts
        and (partner := (row["partner_drop_id"], row["partner_attempt_id"])) in attempts
    )


def _cluster(row: Row, attempts: Mapping[AttemptName, PicturedAttempt]) -> ClusterView:
    copied = ("sentence", "precision", "recall", "rest_rate", "support", "n_subjects", "share_of_failures")
    return ClusterView(
        number=row["cluster"],
        source=row["embedding_source"],
        condition=row["condition"] if row["is_described"] else None,
        **{name: row[name] for name in copied},
        rate=read_rate(row, value="rate"),
        attempts=tuple(attempts[name] for name in _examples_of(row) if name in attempts),
    )
