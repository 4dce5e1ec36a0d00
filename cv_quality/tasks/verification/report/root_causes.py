"""Root causes of a build's failures, read from the lake into frozen records: slices, their evidence, what changed.

Nothing here draws or writes HTML: charts are in `cv_quality.tasks.verification.report.root_cause_charts`, the change
against the baseline is in `cv_quality.tasks.verification.report.change`. How slices are found is in
`cv_quality.error_analysis.discovery`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from cv_quality.tasks.root_causes.tables import (
    EXAMPLES,
    FAILURE_CLUSTERS,
    FAILURE_SLICES,
    SLICE_SEARCHES,
    SLICE_TRENDS,
)
from cv_quality.tasks.verification.populations import FLIP, FNMR, FRR
from cv_quality.tasks.verification.report.change import BuildChange, read_change
from cv_quality.tasks.verification.report.thumbnails import AttemptName, PicturedAttempt, read_attempts
from cv_quality.tasks.verification.report.wording import score_words
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS, OUTCOME_WATERFALL

STAGE_NAMES = {
    "not_acquired": "not acquired",
    "quality_reject": "rejected for quality",
    "liveness_reject": "rejected for liveness",
    "non_match": "not matched",
    "timeout": "timed out",
}
CLUSTER_PICTURES = 6
NO_MAPS = (
    "No maps, changed conditions or clusters: they need a model and its templates, and the devices logged neither."
)

Row = Mapping[str, Any]


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
    def name(self) -> str:
        return f"{'slice' if self.is_slice else 'all'}, {self.model}"

    @property
    def n_failures(self) -> int:
        return sum(self.counts.get(stage, 0) for stage in STAGE_NAMES)

    @property
    def frr(self) -> float | None:
        return self.n_failures / self.n_genuine if self.n_genuine else None


@dataclass(frozen=True, slots=True)
class ExamplePair:
    """A failure beside a pass; `difference` names the one condition in which they differ."""

    failure: PicturedAttempt
    passed: PicturedAttempt | None
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
class ChangedCondition:
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
    """A confirmed slice with all that is known of it, and the queries that reproduce it.

    Attributes:
        declared: what its conditions are, where a drop declared them; whose names may say little.
    """

    rank: int
    condition: str
    declared: tuple[str, ...]
    sentence: str
    rate: Rate
    rest_rate: float | None
    support: int | None
    n_subjects: int | None
    p_adjusted: float | None
    share_of_failures: float | None
    stability: float | None
    adjusted_odds_ratio: float | None
    adjusted_for: str | None
    predicate: str
    trend: tuple[TrendPoint, ...]
    endings: tuple[Endings, ...]
    typical: tuple[ExamplePair, ...]
    pairs: tuple[ExamplePair, ...]
    maps: tuple[SaliencyMap, ...]
    counterfactuals: tuple[ChangedCondition, ...]
    queries: tuple[tuple[str, Query], ...]

    @property
    def covered(self) -> str:
        """Whom the changed conditions cover: how many of the slice's failures, of how many people."""
        if not self.counterfactuals or not self.endings:
            return ""
        own, widest = self.endings[0], max(self.counterfactuals, key=lambda item: item.n_attempts)
        n_subjects, matched = widest.accepted.n_subjects, own.counts.get("non_match", 0)
        people = f", of {n_subjects:,} subjects" if n_subjects else ""
        others = own.n_failures - matched
        chosen = f"Run again: {widest.n_attempts:,} of the slice’s {matched:,} attempts that were not matched{people},"
        left = (
            f" Its {others:,} other failures (not acquired, rejected, timed out) are not among them." if others else ""
        )
        return f"{chosen} over as many people as possible.{left}"


@dataclass(frozen=True, slots=True)
class StageSearch:
    """The same search for the attempts that one stage ended."""

    stage: str
    n_failures: int
    conclusion: str
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClusterView:
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
    attempts: tuple[PicturedAttempt, ...]


@dataclass(frozen=True, slots=True)
class RootCauses:
    """Everything that the section shows; `change` is None without a baseline.

    Attributes:
        trials, failing: what was searched, and what failing is, in words.
        unsearched: columns that were not searched, with the reason.
        confounded: rows of `failure_slices`: values that look bad by themselves and are not, once the attempts of the
            slices that explain them are set aside.
        combined: rows of `failure_slices`: values that are bad only together with the other conditions of a slice.
        insufficient: rows of `failure_slices`: slices that stand out but rest on too few subjects.
        entries: what differs between the registry entries of the build and its baseline; None without both.
        queries: those of the whole section, by what they are about.
    """

    conclusion: str
    trials: str
    failing: str
    unsearched: Mapping[str, str]
    n_attempts: int
    n_subjects: int
    n_failures: int
    slices: tuple[SliceView, ...]
    confounded: tuple[Row, ...]
    combined: tuple[Row, ...]
    insufficient: tuple[Row, ...]
    stages: tuple[StageSearch, ...]
    clusters: tuple[ClusterView, ...]
    about_maps: str
    change: BuildChange | None
    entries: tuple[EntryDifference, ...] | None
    queries: Mapping[str, Query]


def read_root_causes(source: ReportSource) -> RootCauses:
    """Read why the build fails.

    Raises:
        MissingTable: slices, clusters, explanations or (with a baseline) the change have not been worked out.
    """
    build = source.scope.build
    searches = {row["outcome"]: row for row in _rows(source, SLICE_SEARCHES)}
    if FRR.name not in searches:
        found = f"has no search for {FRR.name!r}, only for {list(searches)}"
        raise MissingTable(f"{SLICE_SEARCHES.name} of {TableKey(build=build)} {found}")
    outcome = _outcome(searches)
    search, slices = searches[outcome], _rows(source, FAILURE_SLICES)
    examples = [row for row in _rows(source, EXAMPLES) if row["outcome"] == outcome]
    clusters = sorted(_rows(source, FAILURE_CLUSTERS), key=lambda row: int(row["cluster"]))
    names = [*_names(examples), *(name for row in clusters for name in _examples_of(row))]
    attempts = read_attempts(source, wanted=names)
    below = score_words(source).missing
    trials, failing = {
        FRR.name: ("genuine attempts", "not accepted"),
        FNMR.name: ("genuine comparisons", f"{below} the threshold"),
    }[outcome]
    stage_names = {**STAGE_NAMES, FRR.name: "not accepted", FNMR.name: f"genuine comparison {below} the threshold"}
    return RootCauses(
        trials=trials,
        failing=failing,
        unsearched=json.loads(search["skipped_json"]),
        **{name: search[name] for name in ("conclusion", "n_attempts", "n_subjects", "n_failures")},
        slices=_slices(
            source, _of(slices, outcome, "confirmed"), outcome=outcome, examples=examples, attempts=attempts
        ),
        confounded=_of(slices, outcome, "explained_away"),
        combined=_of(slices, outcome, "only_combined"),
        insufficient=_of(slices, outcome, "insufficient"),
        stages=tuple(
            StageSearch(
                stage=stage_names.get(name, name),
                n_failures=row["n_failures"],
                conclusion=row["conclusion"],
                conditions=tuple(item["condition"] for item in _of(slices, name, "confirmed")),
            )
            for name, row in searches.items()
            if name not in (outcome, FLIP.name)
        ),
        clusters=tuple(_cluster(row, attempts) for row in clusters),
        about_maps=NO_MAPS if source.scope.is_recorded else _about_maps(source.explained_pairs),
        change=read_change(source),
        entries=_entries(source),
        queries={
            **{finding: _slices_query(build, finding, outcome) for finding in FAILURE_SLICES.column("finding").levels},
            "searches": rows_query(SLICE_SEARCHES, build=build, where={}, order=("outcome",)),
            "clusters": rows_query(FAILURE_CLUSTERS, build=build, where={}, order=("cluster",)),
        },
    )


def _about_maps(pairs: int | None) -> str:
    """What a reader must know of the explanations: that they are due, left out, or how many pairs they are made of.

    >>> _about_maps(0)
    'Maps and changed conditions are left out (CVQ_EXPLAINED_PAIRS is 0).'
    """
    if pairs is None:
        return "Maps and changed conditions are not there yet: this page is written anew when they are."
    if not pairs:
        return "Maps and changed conditions are left out (CVQ_EXPLAINED_PAIRS is 0)."
    return f"At most {pairs} failures of the build are explained, shared out over its slices (CVQ_EXPLAINED_PAIRS)."


def _entries(source: ReportSource) -> tuple[EntryDifference, ...] | None:
    files, scope = source.entry_files, source.scope
    if scope.baseline is None or not {scope.baseline, scope.build} <= files.keys():
        return None
    return entry_differences(files[scope.baseline], files[scope.build])


def _outcome(searches: Mapping[str, Row]) -> str:
    """The false rejects; where images are compared in all pairs and no slice of the rejects is known, the comparisons.

    An image is rejected only if it matches no other of its subject, which hides most failures.
    """
    return FNMR.name if FNMR.name in searches and not searches[FRR.name]["n_slices"] else FRR.name


def _rows(source: ReportSource, table: Table) -> list[dict[str, Any]]:
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
) -> tuple[SliceView, ...]:
    trends = [row for row in _rows(source, SLICE_TRENDS) if row["outcome"] == outcome]
    about_rejects = (OUTCOME_WATERFALL, EXPLANATIONS, COUNTERFACTUALS)
    absent = (EXPLANATIONS, COUNTERFACTUALS) if source.explained_pairs is None else ()
    endings, maps, changes = (
        _rows(source, table) if outcome == FRR.name and table not in absent else [] for table in about_rejects
    )
    views = []
    for row in confirmed:
        rank = int(row["rank"])
        own = [item for item in examples if item["rank"] == rank]
        where = Slice.from_list(json.loads(row["where_json"]))
        view = SliceView(
            rank=rank,
            declared=_declared(source, where),
            **{name: row[name] for name in _COPIED},
            rate=read_rate(row, value="rate"),
            predicate=where.sql(),
            trend=_trend([item for item in trends if item["rank"] == rank], build=source.scope.build),
            endings=_endings(endings, models=source.scope.models, rank=rank),
            typical=_typical(own, attempts),
            pairs=_pairs(own, attempts),
            maps=tuple(_map(item) for item in maps if item["rank"] == rank),
            counterfactuals=_counterfactuals(item for item in changes if item["rank"] == rank),
            queries=_slice_queries(source.scope.build, outcome, rank),
        )
        views.append(view)
    return tuple(views)


def _declared(source: ReportSource, where: Slice) -> tuple[str, ...]:
    names = {predicate.column for predicate in where.where}
    return tuple(
        f"{item.name}: {item.label}" for item in source.modality.conditions if item.is_declared and item.name in names
    )


def _slice_queries(build: str, outcome: str, rank: int) -> tuple[tuple[str, Query], ...]:
    where: dict[str, str | float] = {"outcome": outcome, "rank": rank}
    found = [
        ("The slice", _slices_query(build, "confirmed", outcome)),
        ("Examples", rows_query(EXAMPLES, build=build, where={**where}, order=("role", "position"))),
    ]
    if outcome == FRR.name:
        trend = rows_query(SLICE_TRENDS, build=build, where={**where}, mart="fct_slice_trends")
        endings = rows_query(
            OUTCOME_WATERFALL,
            build=build,
            where={"slice_rank": (0, rank)},
            order=("model_build_id", "slice_rank", "outcome"),
            expressions=("n_attempts / n_genuine AS share",),
        )
        maps = rows_query(EXPLANATIONS, build=build, where={"rank": rank}, order=("method",))
        changes = rows_query(COUNTERFACTUALS, build=build, where={"rank": rank}, order=("value DESC",))
        found += [("Trend", trend), ("Where attempts end", endings), ("Maps", maps)]
        found += [("With one condition changed", changes)]
    return tuple(found)


def _trend(rows: Sequence[Row], *, build: str) -> tuple[TrendPoint, ...]:
    """The oldest build first and the build itself last; the table holds the nearest of those it follows first."""
    points = [TrendPoint(build=row["trend_build_id"], rate=read_rate(row)) for row in rows]
    earlier = [point for point in points if point.build != build]
    return (*reversed(earlier), *(point for point in points if point.build == build))


def _endings(rows: Sequence[Row], *, models: Sequence[str], rank: int) -> tuple[Endings, ...]:
    """The slice before all attempts, the build's own model before its baseline's."""
    found = []
    for model in models:
        for slice_rank in (rank, 0):
            own = [row for row in rows if row["model_build_id"] == model and row["slice_rank"] == slice_rank]
            if own:
                counts = {row["outcome"]: int(row["n_attempts"]) for row in own}
                found.append(Endings(model, slice_rank > 0, counts, n_genuine=int(own[0]["n_genuine"])))
    return tuple(found)


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


def _map(row: Row) -> SaliencyMap:
    values = row["map"] if row["is_shown"] and row["map"] else []
    width = int(row["width"])
    cells = tuple(tuple(values[start : start + width]) for start in range(0, len(values), width)) if width else ()
    fields = ("method", "n_failures", "n_passes", "n_subjects", "reason", "pointing")
    return SaliencyMap(**{field: row[field] for field in fields}, cells=cells, is_shown=bool(cells))


def _counterfactuals(rows: Iterable[Row]) -> tuple[ChangedCondition, ...]:
    """The changes after which most are accepted come first."""
    fields = ("change", "source", "n_attempts", "n_accepted", "score_before", "score_after")
    found = [ChangedCondition(**{field: row[field] for field in fields}, accepted=read_rate(row)) for row in rows]
    return tuple(sorted(found, key=lambda item: (-(item.accepted.value or 0.0), item.change)))


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
