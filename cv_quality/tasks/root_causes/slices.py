"""The slices of one build: what its own genuine attempts fail at, how that was in the builds before, and examples.

Any table is searched by `cv_quality.error_analysis.discovery`; here the attempts of the lake are put before it, outcome by
outcome, and what it says becomes rows of the lake. What a build changed against its baseline is in
`cv_quality.tasks.root_causes.attribution`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

from cv_quality.drops.tables import DROP_FILES, FRAME_INDEX
from cv_quality.error_analysis.slice_report import ExplainedAway, Finding, Findings, Insufficient
from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import SliceError
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.metrics.rates import Rate, clustered_rate
from cv_quality.tasks.root_causes.tables import EXAMPLES, FAILURE_SLICES, SLICE_SEARCHES, SLICE_TRENDS
from cv_quality.tasks.verification.comparisons import involved_attempts
from cv_quality.tasks.verification.modalities.face import CONDITIONS
from cv_quality.tasks.verification.samples import BONA_FIDE, drop_facts
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, GROUP_ATTRIBUTES, OUTCOME_WATERFALL, OUTCOMES

if TYPE_CHECKING:
    import polars as pl

ATTRIBUTES = (
    *(column.name for column in CONDITIONS),
    "device_model",
    "camera_supplier",
    *GROUP_ATTRIBUTES,
)
"""The columns of an attempt that are searched: what was the case, never an id, a score, or a band of another column."""

OF_IMAGES = ("image_height_px", "site")
"""What else is searched where all images of a drop are compared: folders of images say little more of themselves."""

FRR = "frr"
"""The outcome sought first: any but accepted."""
FNMR = "fnmr"
"""Sought where all images of a drop are compared: a genuine comparison below the threshold."""
ACCEPTED = "accepted"
SUBJECT = "subject_id"
MIN_FAILURES = 20
"""Failures of a single stage below which it is not searched by itself: it could not be told from its subjects."""
MOST_OF_REJECTS = 0.75
"""A stage that ended more than this part of the false rejects would only be found again."""
SEED = 0

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class SliceSummary:
    """What the search said of a build.

    Attributes:
        attempts: genuine bona fide attempts searched.
        searches: outcomes searched, the false rejects and single stages.
        confirmed, insufficient, explained_away: findings among the false rejects.
        conclusion: one sentence on whether any of them is real.
    """

    attempts: int
    searches: int
    confirmed: int
    insufficient: int
    explained_away: int
    exemplars: int
    conclusion: str


@dataclass(frozen=True, slots=True)
class _Search:
    """One outcome sought: the rows with `is_failure` set for it, and the answer, or why there is none."""

    outcome: str
    attempts: "pl.DataFrame"
    answer: Findings | str

    @property
    def findings(self) -> Findings | None:
        return None if isinstance(self.answer, str) else self.answer

    @property
    def conclusion(self) -> str:
        return self.answer if isinstance(self.answer, str) else self.answer.conclusion

    @property
    def confirmed(self) -> list[Slice]:
        return [found.where for found in self.findings.slices] if self.findings else []


def find_build_slices(
    lake: Lake,
    *,
    build: str,
    drops: Sequence[str],
    models: Sequence[str],
    lineage: Mapping[str, Sequence[str]],
    threads: int = 2,
    seed: int = SEED,
) -> SliceSummary:
    """Search a build's own attempts for slices and write what was found, with trends, waterfall and exemplars.

    The false rejects are searched first; then every single stage that ended at least 20 attempts and not nearly all
    of them; then, in drops that compare all images, the comparisons. Each search holds its error by itself.

    Args:
        drops: the build's own drops.
        models: whose outcomes the waterfall shows: the build's own first, then its baseline's.
        lineage: the builds that it follows, the nearest first, each with its own drops, which it has scored itself.
        threads: of the search.
        seed: of the split of the subjects and of the choice of exemplars.

    Raises:
        MissingTable: a drop has no outcomes under one of the models, or under its own build in the lineage.
    """
    key, attempts = TableKey(build=build), genuine_attempts(lake, build=build, drops=drops)
    sought = [*_by_outcome(attempts), *_by_comparison(lake, build=build, drops=drops)]
    searches = [_searched(outcome, rows, seed=seed, threads=threads) for outcome, rows in sought]
    rejects = searches[0]
    trends = list(_trends(lake, attempts, rejects.confirmed, build=build, lineage=lineage))
    _write(lake, SLICE_SEARCHES, key, [_search_row(search, seed=seed) for search in searches])
    _write(lake, FAILURE_SLICES, key, [row for search in searches for row in _finding_rows(search)])
    _write(lake, SLICE_TRENDS, key, trends)
    _write_waterfall(lake, key, rejects.confirmed, models=models, drops=drops)
    n_exemplars = _write_exemplars(lake, key, searches, seed=seed)
    found = rejects.findings
    return SliceSummary(
        attempts=attempts.height,
        searches=len(searches),
        confirmed=len(rejects.confirmed),
        insufficient=len(found.insufficient) if found else 0,
        explained_away=len(found.explained_away) if found else 0,
        exemplars=n_exemplars,
        conclusion=rejects.conclusion,
    )


def genuine_attempts(lake: Lake, *, build: str, drops: Sequence[str], model: str | None = None) -> "pl.DataFrame":
    """The genuine bona fide attempts of a build's drops with their outcomes, and `is_failure`: not accepted.

    In a drop that pairs all images, every image is an attempt at the other images of its subject, and fails when it
    matches none of them.

    Args:
        model: whose outcomes; the build's own by default.

    Raises:
        MissingTable: the drop was not scored by the model.
    """
    import polars as pl

    keys = [TableKey(build=model or build, drop=drop) for drop in sorted(drops)]
    rows = lake.scan(ATTEMPT_OUTCOMES, keys).filter(pl.col("is_genuine"), presentation=BONA_FIDE)
    return rows.with_columns(is_failure=pl.col("outcome") != ACCEPTED).sort("drop_id", "attempt_id").collect()


def read_slices(lake: Lake, build: str, outcome: str = FRR) -> list[Slice]:
    """The confirmed slices of a build, the best first.

    Raises:
        MissingTable: the build was not searched.
    """
    rows = lake.read(FAILURE_SLICES, TableKey(build=build)).filter(outcome=outcome, finding="confirmed").sort("rank")
    return [Slice.from_list(json.loads(text)) for text in rows["where_json"]]


def _by_outcome(attempts: "pl.DataFrame") -> "Iterator[tuple[str, pl.DataFrame]]":
    """What counts as a failure, in turn: any false reject, then each stage that can be told apart."""
    import polars as pl

    yield FRR, attempts
    n_rejects = int(attempts["is_failure"].sum())
    for outcome in OUTCOMES:
        rows = attempts.with_columns(is_failure=pl.col("outcome") == outcome)
        if outcome != ACCEPTED and MIN_FAILURES <= int(rows["is_failure"].sum()) <= MOST_OF_REJECTS * n_rejects:
            yield outcome, rows


def _by_comparison(lake: Lake, *, build: str, drops: Sequence[str]) -> "Iterator[tuple[str, pl.DataFrame]]":
    """The genuine comparisons of drops that compare all images, each under both of its images.

    An image fails as an attempt only if it matches no other one of its subject, which few do of whom there are many.
    """
    import polars as pl

    parts = [
        _comparisons(lake, build=build, drop=drop)
        for drop in sorted(drops)
        if drop_facts(lake, drop).protocol == "all_pairs"
    ]
    if parts:
        yield FNMR, pl.concat(parts)


def _comparisons(lake: Lake, *, build: str, drop: str) -> "pl.DataFrame":
    import polars as pl

    images = lake.read(FRAME_INDEX, TableKey(drop=drop)).select("frame", image_height_px="height_px")
    site = lake.read(DROP_FILES, TableKey(drop=drop))["site"].first()
    attempts = genuine_attempts(lake, build=build, drops=[drop]).drop("score", "is_failure")
    attempts = attempts.join(images, on="frame", how="left").with_columns(site=pl.lit(site))
    compared = involved_attempts(lake, build=build, drop=drop, protocol="all_pairs").filter("is_genuine")
    compared = compared.select("involved_id", "reference_id", "score")
    rows = attempts.join(compared, left_on="attempt_id", right_on="involved_id")
    rows = rows.with_columns(is_failure=pl.col("score") < pl.col("decision_threshold"))
    return rows.sort("attempt_id", "reference_id", "score")


def _searched(outcome: str, attempts: "pl.DataFrame", *, seed: int, threads: int) -> _Search:
    """The answer of one search; a table that cannot be searched says why, and the build goes on."""
    from cv_quality.error_analysis.discovery import find_slices

    if attempts.is_empty():
        return _Search(outcome, attempts, "Nothing to search: no genuine attempt.")
    columns = [name for name in (*ATTRIBUTES, *OF_IMAGES) if name in attempts.columns]
    table = attempts.select(*columns, SUBJECT, "is_failure")
    try:
        findings = find_slices(
            table, outcome="is_failure", subject=SUBJECT, columns=columns, seed=seed, threads=threads
        )
    except SliceError as error:
        return _Search(outcome, attempts, f"Nothing was searched: {error}")
    return _Search(outcome, attempts, findings)


def _search_row(search: _Search, *, seed: int) -> Row:
    failures, n = int(search.attempts["is_failure"].sum()), search.attempts.height
    return {
        "outcome": search.outcome,
        "n_attempts": n,
        "n_subjects": search.attempts[SUBJECT].n_unique(),
        "n_failures": failures,
        "base_rate": failures / n if n else None,
        "n_slices": len(search.confirmed),
        "conclusion": search.conclusion,
        "skipped_json": json.dumps(search.findings.skipped if search.findings else {}, sort_keys=True),
        "seed": seed,
    }


def _finding_rows(search: _Search) -> Iterator[Row]:
    """Every finding of one search, ranked within its kind."""
    if search.findings is None:
        return
    found = search.findings
    rows = [
        ("confirmed", [_confirmed_row(item) for item in found.slices]),
        ("insufficient", [_insufficient_row(item) for item in found.insufficient]),
        ("explained_away", [_explained_row(item) for item in found.explained_away]),
    ]
    for finding, items in rows:
        for rank, item in enumerate(items, start=1):
            yield {"outcome": search.outcome, "finding": finding, "rank": rank, **item}


def _confirmed_row(item: Finding) -> Row:
    return _described(item.where, item.sentence) | {
        "rate": item.rate,
        "low": item.low,
        "high": item.high,
        "numerator": int(item.failures),
        "denominator": item.trials,
        "rest_rate": item.rest_rate,
        "support": item.support,
        "n_subjects": item.subjects,
        "p_adjusted": item.p_adjusted,
        "share_of_failures": item.share_of_failures,
        "adjusted_odds_ratio": item.adjusted_odds_ratio,
        "adjusted_for": item.adjusted_for,
    }


def _insufficient_row(item: Insufficient) -> Row:
    counts = {"rate": item.rate, "rest_rate": item.rest_rate, "support": item.support, "n_subjects": item.subjects}
    return _described(item.where, item.sentence) | counts


def _explained_row(item: ExplainedAway) -> Row:
    rates = {"rate": item.rate_before, "rate_after": item.rate_after, "rest_rate": item.rest_rate}
    return _described(item.where, item.sentence) | rates | {"explained_by": "; ".join(item.by)}


def _described(where: Slice, sentence: str) -> dict[str, object]:
    return {"condition": where.sentence(), "where_json": json.dumps(where.to_list()), "sentence": sentence}


def _trends(
    lake: Lake,
    attempts: "pl.DataFrame",
    slices: Sequence[Slice],
    *,
    build: str,
    lineage: Mapping[str, Sequence[str]],
) -> Iterator[Row]:
    """The rate of each slice over all subjects of the build, and of each build that it follows."""
    if not slices:
        return
    earlier = {name: genuine_attempts(lake, build=name, drops=drops) for name, drops in lineage.items()}
    for name, rows in {build: attempts, **earlier}.items():
        for rank, where in enumerate(slices, start=1):
            rate = _rate_within(rows, where)
            yield {"outcome": FRR, "rank": rank, "trend_build_id": name, **asdict(rate)}


def _rate_within(attempts: "pl.DataFrame", where: Slice) -> Rate:
    import polars as pl

    inside = attempts.filter(where.expression())
    by_subject = inside.group_by(SUBJECT).agg(errors=pl.col("is_failure").sum(), trials=pl.len()).sort(SUBJECT)
    overall = cast("float | None", attempts["is_failure"].mean()) or 0.0
    return clustered_rate(by_subject["errors"], by_subject["trials"], expected_errors=overall * inside.height)


def _write_waterfall(
    lake: Lake, key: TableKey, slices: Sequence[Slice], *, models: Sequence[str], drops: Sequence[str]
) -> None:
    import polars as pl

    from cv_quality.tasks.verification.waterfall import waterfall

    assert key.build is not None
    parts = []
    for model in models:
        rows = waterfall(genuine_attempts(lake, build=key.build, drops=drops, model=model), slices)
        parts.append(rows.with_columns(build_id=pl.lit(key.build), model_build_id=pl.lit(model)))
    lake.write(OUTCOME_WATERFALL, key, pl.concat(parts))


def _write_exemplars(lake: Lake, key: TableKey, searches: Sequence[_Search], *, seed: int) -> int:
    """The exemplars of the slices of every search over attempts; returns how many there are."""
    import polars as pl

    from cv_quality.error_analysis.examples import choose_exemplars

    parts = [
        choose_exemplars(search.attempts, slices=search.confirmed, seed=seed).with_columns(
            build_id=pl.lit(key.build), outcome=pl.lit(search.outcome)
        )
        for search in searches
        if search.outcome != FNMR
    ]
    return lake.write(EXAMPLES, key, pl.concat(parts))


def _write(lake: Lake, table: Table, key: TableKey, rows: Sequence[Row]) -> int:
    import pyarrow as pa

    filled = [{"build_id": key.build, **row} for row in rows]
    return lake.write(table, key, pa.Table.from_pylist(filled, schema=table.arrow_schema))
