"""Root causes of a verification build's failures: the shared reading of them, with what only verification knows.

That is where attempts end, maps, and changed conditions. Nothing here draws or writes HTML: charts are in
`cv_quality.tasks.verification.report.root_cause_charts`.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.rates import read_rate
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.root_causes.report.reading import cause_rows, read_causes, read_searches
from cv_quality.tasks.root_causes.report.records import (
    CauseWords,
    ChangedCondition,
    Endings,
    RootCauses,
    SaliencyMap,
    SliceEvidence,
)
from cv_quality.tasks.root_causes.tables import SLICE_TRENDS
from cv_quality.tasks.verification.populations import FLIP, FNMR, FRR
from cv_quality.tasks.verification.report.thumbnails import read_attempts
from cv_quality.tasks.verification.report.wording import score_words
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS, OUTCOME_WATERFALL

STAGE_NAMES = {
    "not_acquired": "not acquired",
    "quality_reject": "rejected for quality",
    "liveness_reject": "rejected for liveness",
    "not_compared": "could not be compared",
    "non_match": "not matched",
    "timeout": "timed out",
}
NO_MAPS = (
    "No maps, changed conditions or clusters: they need a model and its templates, and the devices logged neither."
)

Row = Mapping[str, Any]


def read_root_causes(source: ReportSource) -> RootCauses:
    """Read why the build fails.

    Raises:
        MissingTable: slices, clusters, explanations or (with a baseline) the change have not been worked out.
    """
    searches = read_searches(source, primary=FRR.name)
    outcome, below = _outcome(searches), score_words(source).missing
    words = CauseWords()
    if outcome == FNMR.name:
        words = CauseWords(searched="genuine comparisons", failing=f"{below} the threshold")
    others = {**STAGE_NAMES, FRR.name: "not accepted", FNMR.name: f"genuine comparison {below} the threshold"}
    others |= {name: name for name in searches if name not in others and name != FLIP.name}
    absent = (EXPLANATIONS, COUNTERFACTUALS) if source.explained_pairs is None else ()
    rows = {
        table.name: cause_rows(source, table) if outcome == FRR.name and table not in absent else []
        for table in (OUTCOME_WATERFALL, EXPLANATIONS, COUNTERFACTUALS)
    }
    return read_causes(
        source,
        searches=searches,
        outcome=outcome,
        words=words,
        others=others,
        attempts=lambda names: read_attempts(source, wanted=names),
        evidence=partial(_evidence, source, rows, outcome),
        about_maps=NO_MAPS if source.scope.is_recorded else _about_maps(source.explained_pairs),
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


def _outcome(searches: Mapping[str, Row]) -> str:
    """The false rejects; where images are compared in all pairs and no slice of the rejects is known, the comparisons.

    An image is rejected only if it matches no other of its subject, which hides most failures.
    """
    return FNMR.name if FNMR.name in searches and not searches[FRR.name]["n_slices"] else FRR.name


def _evidence(source: ReportSource, rows: Mapping[str, Sequence[Row]], outcome: str, rank: int) -> SliceEvidence:
    """What else is known of a slice.

    Args:
        source: what the page is made from.
        rows: of the waterfall, the explanations and the counterfactuals, by table.
        outcome, rank: of the slice.
    """
    waterfall, maps, changes = (rows[table.name] for table in (OUTCOME_WATERFALL, EXPLANATIONS, COUNTERFACTUALS))
    return SliceEvidence(
        endings=_endings(waterfall, models=source.scope.models, rank=rank),
        maps=tuple(saliency_map(item) for item in maps if item["rank"] == rank),
        counterfactuals=changed_conditions(item for item in changes if item["rank"] == rank),
        queries=_evidence_queries(source.scope.build, rank) if outcome == FRR.name else (),
    )


def _evidence_queries(build: str, rank: int) -> tuple[tuple[str, Query], ...]:
    trend = rows_query(SLICE_TRENDS, build=build, where={"outcome": FRR.name, "rank": rank}, mart="fct_slice_trends")
    endings = rows_query(
        OUTCOME_WATERFALL,
        build=build,
        where={"slice_rank": (0, rank)},
        order=("model_build_id", "slice_rank", "outcome"),
        expressions=("n_attempts / n_genuine AS share",),
    )
    maps = rows_query(EXPLANATIONS, build=build, where={"rank": rank}, order=("method",))
    changes = rows_query(COUNTERFACTUALS, build=build, where={"rank": rank}, order=("value DESC",))
    return (
        ("Trend", trend),
        ("Where attempts end", endings),
        ("Maps", maps),
        ("With one condition changed", changes),
    )


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


def saliency_map(row: Row) -> SaliencyMap:
    """Read a row of `explanations`."""
    values = row["map"] if row["is_shown"] and row["map"] else []
    width = int(row["width"])
    cells = tuple(tuple(values[start : start + width]) for start in range(0, len(values), width)) if width else ()
    fields = ("method", "n_failures", "n_passes", "n_subjects", "reason", "pointing")
    return SaliencyMap(**{field: row[field] for field in fields}, cells=cells, is_shown=bool(cells))


def changed_conditions(rows: Iterable[Row]) -> tuple[ChangedCondition, ...]:
    """Read rows of `counterfactuals`; the changes after which most are accepted come first."""
    fields = ("change", "source", "n_attempts", "n_accepted", "score_before", "score_after")
    found = [ChangedCondition(**{field: row[field] for field in fields}, accepted=read_rate(row)) for row in rows]
    return tuple(sorted(found, key=lambda item: (-(item.accepted.value or 0.0), item.change)))
