"""Why a build fails, read from the lake into frozen records: slices, what is behind them, and what changed.

Nothing here draws or writes HTML: charts are in `cv_quality.tasks.verification.report.root_cause_charts`, the change against the baseline is in
`cv_quality.tasks.verification.report.change`. How slices are found is in `cv_quality.error_analysis.discovery`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import MissingTable
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store
from cv_quality.tasks.root_causes.tables import (
    EXAMPLES,
    FAILURE_CLUSTERS,
    FAILURE_SLICES,
    SLICE_SEARCHES,
    SLICE_TRENDS,
)
from cv_quality.tasks.verification.report import queries
from cv_quality.tasks.verification.report.change import Change, read_change
from cv_quality.tasks.verification.report.facts import Rate, Scope, interval_rate
from cv_quality.tasks.verification.report.queries import Query
from cv_quality.tasks.verification.report.thumbnails import Attempt, read_attempts
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS, OUTCOME_WATERFALL, OUTCOMES

FRR, FNMR = "frr", "fnmr"
TRIALS = {FRR: ("genuine attempts", "not accepted"), FNMR: ("genuine comparisons", "below the threshold")}
"""What the section may be about: its trials and what failing is."""
STAGES = tuple(name for name in OUTCOMES if name != "accepted")
STAGE_NAMES = {
    "not_acquired": "not acquired",
    "quality_reject": "rejected for quality",
    "liveness_reject": "rejected for liveness",
    "non_match": "not matched",
    "timeout": "timed out",
    FRR: "not accepted",
    FNMR: "genuine comparison below the threshold",
}
CLUSTER_PICTURES = 6

Row = Mapping[str, Any]
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """The rate of a slice in one build of the line."""

    build: str
    rate: Rate


@dataclass(frozen=True, slots=True)
class Endings:
    """Where genuine attempts ended: counts by stage; those not accepted add up to the FRR.

    Attributes:
        is_slice: whether they are those of the slice, else all of the build's drops.
    """

    model: str
    is_slice: bool
    counts: Mapping[str, int]
    n_genuine: int

    @property
    def n_failures(self) -> int:
        return sum(self.counts.get(stage, 0) for stage in STAGES)

    @property
    def frr(self) -> float | None:
        return self.n_failures / self.n_genuine if self.n_genuine else None


@dataclass(frozen=True, slots=True)
class Shown:
    """A failure beside a pass; `difference` names the one condition in which they differ."""

    failure: Attempt
    passed: Attempt | None
    difference: str | None = None

    @property
    def is_same_subject(self) -> bool:
        return self.passed is not None and self.passed.subject_id == self.failure.subject_id


@dataclass(frozen=True, slots=True)
class SaliencyMap:
    """Which pixels move the score, or the reason why that is not shown; `cells` are its rows."""

    method: str
    n_failures: int
    n_passes: int
    n_subjects: int
    cells: tuple[tuple[float, ...], ...]
    is_shown: bool
    reason: str | None
    pointing: float | None


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """Failures of a slice run again with one condition changed: how many are accepted then."""

    change: str
    source: str
    n_attempts: int
    n_accepted: int
    score_before: float | None
    score_after: float | None
    accepted: Rate


@dataclass(frozen=True, slots=True)
class SliceView:
    """A confirmed slice with all that is known of it, and the queries that reproduce it."""

    rank: int
    condition: str
    sentence: str
    rate: Rate
    rest_rate: float | None
    support: int | None
    n_subjects: int | None
    p_adjusted: float | None
    share_of_failures: float | None
    adjusted_odds_ratio: float | None
    adjusted_for: str | None
    predicate: str
    trend: tuple[TrendPoint, ...]
    endings: tuple[Endings, ...]
    typical: tuple[Shown, ...]
    pairs: tuple[Shown, ...]
    maps: tuple[SaliencyMap, ...]
    counterfactuals: tuple[Counterfactual, ...]
    queries: tuple[tuple[str, Query], ...]


@dataclass(frozen=True, slots=True)
class TooFew:
    """A slice that stands out but rests on too few subjects."""

    condition: str
    rate: float
    rest_rate: float | None
    support: int | None
    n_subjects: int | None


@dataclass(frozen=True, slots=True)
class Bystander:
    """A value that looks bad by itself and is not, once the attempts of the slices in `by` are set aside."""

    condition: str
    rate_before: float
    rate_after: float | None
    rest_rate: float | None
    by: str


@dataclass(frozen=True, slots=True)
class StageSearch:
    """The same search for the attempts that one stage ended."""

    stage: str
    n_failures: int
    conclusion: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster of attempts in an embedding that fails more than the rest."""

    number: int
    source: str
    condition: str | None
    sentence: str
    precision: float | None
    recall: float | None
    rate: Rate
    rest_rate: float
    support: int
    n_subjects: int
    share_of_failures: float
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """Everything that the section shows; `change` is None without a baseline.

    Attributes:
        trials, failing: what was searched, and what failing is, in words.
    """

    conclusion: str
    trials: str
    failing: str
    n_attempts: int
    n_subjects: int
    n_failures: int
    skipped: Mapping[str, str]
    slices: tuple[SliceView, ...]
    bystanders: tuple[Bystander, ...]
    insufficient: tuple[TooFew, ...]
    stages: tuple[StageSearch, ...]
    clusters: tuple[Cluster, ...]
    change: Change | None
    slices_query: Query
    searches_query: Query
    bystanders_query: Query
    insufficient_query: Query
    clusters_query: Query


def read_why(lake: Lake, *, landing: Store, scope: Scope) -> Why:
    """Why the build fails.

    Raises:
        MissingTable: slices, clusters, explanations or (with a baseline) the change have not been worked out.
    """
    key = TableKey(build=scope.build)
    searches = {row["outcome"]: row for row in _rows(lake, SLICE_SEARCHES, key)}
    if FRR not in searches:
        raise MissingTable(f"{SLICE_SEARCHES.name} of {key} has no search for {FRR!r}, only for {list(searches)}")
    outcome = _subject_matter(searches)
    found = _rows(lake, FAILURE_SLICES, key)
    own = [row for row in found if row["outcome"] == outcome]
    exemplars = [row for row in _rows(lake, EXAMPLES, key) if row["outcome"] == outcome]
    clusters = _rows(lake, FAILURE_CLUSTERS, key)
    attempts = read_attempts(lake, landing=landing, build=scope.build, wanted=_named(exemplars, clusters))
    search, (trials, failing) = searches[outcome], TRIALS[outcome]
    return Why(
        conclusion=search["conclusion"],
        trials=trials,
        failing=failing,
        n_attempts=search["n_attempts"],
        n_subjects=search["n_subjects"],
        n_failures=search["n_failures"],
        skipped=json.loads(search["skipped_json"]),
        slices=_slices(
            lake, _of(own, "confirmed"), scope=scope, outcome=outcome, exemplars=exemplars, attempts=attempts
        ),
        bystanders=tuple(_bystander(row) for row in _of(own, "explained_away")),
        insufficient=tuple(_too_few(row) for row in _of(own, "insufficient")),
        stages=tuple(_stage(row, found) for name, row in searches.items() if name != outcome),
        clusters=tuple(_cluster(row, attempts) for row in sorted(clusters, key=lambda row: int(row["cluster"]))),
        change=read_change(lake, scope=scope),
        slices_query=queries.slices_query(scope.build, finding="confirmed", outcome=outcome),
        searches_query=queries.searches_query(scope.build),
        bystanders_query=queries.slices_query(scope.build, finding="explained_away", outcome=outcome),
        insufficient_query=queries.slices_query(scope.build, finding="insufficient", outcome=outcome),
        clusters_query=queries.clusters_query(scope.build),
    )


def _subject_matter(searches: Mapping[str, Row]) -> str:
    """The false rejects; where images are compared in all pairs and no slice of the rejects is known, the comparisons.

    An image is rejected only if it matches no other of its subject, which hides most failures.
    """
    return FNMR if FNMR in searches and not searches[FRR]["n_slices"] else FRR


def _rows(lake: Lake, table: Table, key: TableKey) -> list[dict[str, Any]]:
    return lake.read(table, key).to_dicts()


def _of(rows: Iterable[Row], finding: str) -> list[Row]:
    return sorted((row for row in rows if row["finding"] == finding), key=lambda row: int(row["rank"]))


def _named(exemplars: Iterable[Row], clusters: Iterable[Row]) -> list[Name]:
    """Every attempt that is shown."""
    names = [(row["drop_id"], row["attempt_id"]) for row in exemplars]
    names += [(row["partner_drop_id"], row["partner_attempt_id"]) for row in exemplars if row["partner_attempt_id"]]
    return [*names, *(name for row in clusters for name in _exemplars_of(row))]


def _exemplars_of(cluster: Row) -> list[Name]:
    pairs = json.loads(cluster["examples_json"])
    return [(str(drop), str(attempt)) for drop, attempt in pairs[:CLUSTER_PICTURES]]


def _slices(
    lake: Lake,
    confirmed: Sequence[Row],
    *,
    scope: Scope,
    outcome: str,
    exemplars: Sequence[Row],
    attempts: Mapping[Name, Attempt],
) -> tuple[SliceView, ...]:
    key = TableKey(build=scope.build)
    trends = [row for row in _rows(lake, SLICE_TRENDS, key) if row["outcome"] == outcome]
    # These three tables are about the slices of false rejects.
    endings = _rows(lake, OUTCOME_WATERFALL, key) if outcome == FRR else []
    maps, changes = (_rows(lake, table, key) if outcome == FRR else [] for table in (EXPLANATIONS, COUNTERFACTUALS))
    views = []
    for row in confirmed:
        rank = int(row["rank"])
        own = [item for item in exemplars if item["rank"] == rank]
        view = SliceView(
            rank=rank,
            **{name: row[name] for name in _COPIED},
            rate=_finding_rate(row),
            predicate=Slice.from_list(json.loads(row["where_json"])).sql(),
            trend=_trend([item for item in trends if item["rank"] == rank], build=scope.build),
            endings=_endings(endings, scope=scope, rank=rank),
            typical=_typical(own, attempts),
            pairs=_pairs(own, attempts),
            maps=tuple(_map(item) for item in maps if item["rank"] == rank),
            counterfactuals=_counterfactuals(item for item in changes if item["rank"] == rank),
            queries=_slice_queries(scope.build, outcome, rank),
        )
        views.append(view)
    return tuple(views)


_COPIED = (
    "condition",
    "sentence",
    "rest_rate",
    "support",
    "n_subjects",
    "p_adjusted",
    "share_of_failures",
    "adjusted_odds_ratio",
    "adjusted_for",
)


def _finding_rate(row: Row) -> Rate:
    fields = ("numerator", "denominator", "low", "high", "n_subjects")
    return Rate(value=row["rate"], **{field: row[field] for field in fields})


def _slice_queries(build: str, outcome: str, rank: int) -> tuple[tuple[str, Query], ...]:
    found = (
        ("The slice", queries.slices_query(build, finding="confirmed", outcome=outcome)),
        ("Examples", queries.exemplars_query(build, outcome=outcome, rank=rank)),
    )
    if outcome != FRR:
        return found
    return (
        *found,
        ("Trend", queries.trend_query(build, outcome=outcome, rank=rank)),
        ("Where attempts end", queries.outcomes_query(build, rank=rank)),
        ("Maps", queries.explanations_query(build, rank=rank)),
        ("With one condition changed", queries.counterfactuals_query(build, rank=rank)),
    )


def _trend(rows: Sequence[Row], *, build: str) -> tuple[TrendPoint, ...]:
    """The oldest build first and the build itself last; the table holds the nearest of those it follows first."""
    points = [TrendPoint(build=row["trend_build_id"], rate=interval_rate(row)) for row in rows]
    earlier = [point for point in points if point.build != build]
    return (*reversed(earlier), *(point for point in points if point.build == build))


def _endings(rows: Sequence[Row], *, scope: Scope, rank: int) -> tuple[Endings, ...]:
    """The slice before all attempts, the build's own model before its baseline's."""
    found = []
    for model in scope.models:
        for slice_rank in (rank, 0):
            own = [row for row in rows if row["model_build_id"] == model and row["slice_rank"] == slice_rank]
            if own:
                counts = {row["outcome"]: int(row["n_attempts"]) for row in own}
                found.append(Endings(model, slice_rank > 0, counts, n_genuine=int(own[0]["n_genuine"])))
    return tuple(found)


def _typical(rows: Sequence[Row], attempts: Mapping[Name, Attempt]) -> tuple[Shown, ...]:
    """Every typical failure beside its nearest pass."""
    passes = {row["position"]: (row["drop_id"], row["attempt_id"]) for row in rows if row["role"] == "nearest_pass"}
    failures = sorted((row for row in rows if row["role"] == "failure"), key=lambda row: int(row["position"]))
    return tuple(
        Shown(failure=attempts[name], passed=attempts.get(passes.get(row["position"], ("", ""))))
        for row in failures
        if (name := (row["drop_id"], row["attempt_id"])) in attempts
    )


def _pairs(rows: Sequence[Row], attempts: Mapping[Name, Attempt]) -> tuple[Shown, ...]:
    """Pairs that differ in one condition, of which both attempts are known."""
    own = sorted((row for row in rows if row["role"] == "differs_in_one"), key=lambda row: int(row["position"]))
    return tuple(
        Shown(failure=attempts[name], passed=attempts[partner], difference=row["difference"])
        for row in own
        if (name := (row["drop_id"], row["attempt_id"])) in attempts
        and (partner := (row["partner_drop_id"], row["partner_attempt_id"])) in attempts
    )


def _map(row: Row) -> SaliencyMap:
    values = row["map"] if row["is_shown"] and row["map"] else []
    width = int(row["width"])
    cells = tuple(tuple(values[start : start + width]) for start in range(0, len(values), width)) if width else ()
    fields = ("method", "n_failures", "n_passes", "n_subjects", "reason", "pointing")
    return SaliencyMap(**{field: row[field] for field in fields}, cells=cells, is_shown=bool(cells))


def _counterfactuals(rows: Iterable[Row]) -> tuple[Counterfactual, ...]:
    """The changes after which most are accepted come first."""
    fields = ("change", "source", "n_attempts", "n_accepted", "score_before", "score_after")
    found = [Counterfactual(**{field: row[field] for field in fields}, accepted=interval_rate(row)) for row in rows]
    return tuple(sorted(found, key=lambda item: (-(item.accepted.value or 0.0), item.change)))


def _bystander(row: Row) -> Bystander:
    return Bystander(
        condition=row["condition"],
        rate_before=row["rate"],
        rate_after=row["rate_after"],
        rest_rate=row["rest_rate"],
        by=row["explained_by"] or "",
    )


def _too_few(row: Row) -> TooFew:
    return TooFew(**{name: row[name] for name in ("condition", "rate", "rest_rate", "support", "n_subjects")})


def _stage(search: Row, found: Iterable[Row]) -> StageSearch:
    outcome = str(search["outcome"])
    confirmed = _of((row for row in found if row["outcome"] == outcome), "confirmed")
    return StageSearch(
        stage=STAGE_NAMES.get(outcome, outcome),
        n_failures=search["n_failures"],
        conclusion=search["conclusion"],
        conditions=tuple(row["condition"] for row in confirmed),
    )


def _cluster(row: Row, attempts: Mapping[Name, Attempt]) -> Cluster:
    copied = ("sentence", "precision", "recall", "rest_rate", "support", "n_subjects", "share_of_failures")
    return Cluster(
        number=row["cluster"],
        source=row["embedding_source"],
        condition=row["condition"] if row["is_described"] else None,
        **{name: row[name] for name in copied},
        rate=_finding_rate(row),
        attempts=tuple(attempts[name] for name in _exemplars_of(row) if name in attempts),
    )
