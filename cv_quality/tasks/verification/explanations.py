"""Explains a build's confirmed slices: maps that pass their checks, and what one changed condition does to the score.

Writes the tables `explanations` and `counterfactuals`. The pieces are in the modules beside this one; how a report
shows them is the business of `cv_quality.reports`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from cv_quality.error_analysis.explanations.aggregation import FEWEST_SUBJECTS, Aggregate, aggregate
from cv_quality.error_analysis.explanations.counterfactuals import Counterfactual, Rerender, counterfactuals
from cv_quality.error_analysis.explanations.pair_score import (
    Pairs,
    PairScore,
    load_explained_model,
    torch_threads,
)
from cv_quality.error_analysis.explanations.saliency import (
    EXPLAINERS,
    METHODS,
    NO_GRADIENTS,
    Method,
    average_face,
    in_parallel,
)
from cv_quality.error_analysis.explanations.sanity import CHECKED_PAIRS, Checks, check_maps
from cv_quality.error_analysis.slices import Slice
from cv_quality.inference.embedder import load_embedder
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.registry import ModelEntry, ModelRegistry
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Table
from cv_quality.lake.store import Store
from cv_quality.tasks.verification.explained_pairs import (
    Chosen,
    as_pairs,
    choose_pairs,
    read_frames,
    scored_attempts,
)
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS

MAX_SLICES = 3
Row: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class ExplanationSummary:
    """What was explained of a build: slices, maps made and maps that may be shown, and changed conditions tried."""

    build: str
    slices: int
    maps: int
    maps_shown: int
    counterfactuals: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """One method's map of one slice, and what its checks say; no checks where there is no map."""

    method: Method
    failures: int
    passes: int
    subjects: int
    map: Aggregate
    checks: Checks | None

    @property
    def objections(self) -> tuple[str, ...]:
        """Why the map is not shown; empty when it is."""
        return (self.map.reason or "no map",) if self.checks is None else self.checks.objections


def explain_build(
    lake: Lake,
    *,
    landing: Store,
    entry: ModelEntry,
    registry: ModelRegistry,
    build: str,
    drops: Sequence[str],
    slices: Sequence[Slice],
    rerender: Rerender | None = None,
    threads: int = 2,
    seed: int = 0,
) -> ExplanationSummary:
    """Explain the failures of a build's slices, the first three of them, and write what was found.

    Of each slice at most 24 non-matches are explained, over as many subjects as possible, beside as many passes.

    Args:
        entry, registry: the build's model and where its file lies.
        drops: the build's own drops.
        slices: confirmed slices in order of rank; row `rank` of the tables is their place, from 1.
        rerender: renders simulated attempts again; None for real images.

    Raises:
        MissingTable: a drop has no outcomes yet.
        ModelError: the model cannot be loaded.
        SliceError: a slice speaks of a column that the attempts do not have.
    """
    ranked = dict(enumerate(slices[:MAX_SLICES], start=1))
    maps: list[Row] = []
    changes: list[Row] = []
    if ranked:
        attempts = scored_attempts(lake, build=build, drops=drops)
        chosen = {rank: choose_pairs(attempts, where=item, seed=seed) for rank, item in ranked.items()}
        frames = read_frames(lake, landing, [rows for item in chosen.values() for rows in (item.failures, item.passes)])
        with torch_threads(1):
            maps = list(_maps(chosen, frames, entry=entry, registry=registry, threads=threads, seed=seed))
            changes = list(_changes(chosen, frames, entry=entry, registry=registry, rerender=rerender, threads=threads))
    _write(lake, EXPLANATIONS, maps, build=build)
    _write(lake, COUNTERFACTUALS, changes, build=build)
    shown = sum(bool(row["is_shown"]) for row in maps)
    return ExplanationSummary(build, len(ranked), sum(row["map"] is not None for row in maps), shown, len(changes))


def explain(
    failures: Pairs, passes: Pairs, *, score: PairScore, method: Method, threads: int = 2, seed: int = 0
) -> Explanation:
    """The map of failures against their matched passes by one method, and its checks on the same pairs.

    Args:
        failures, passes: as many of each, one couple a row.
    """
    subjects = len(set(failures.subjects))
    found = partial(Explanation, method, len(failures), len(passes), subjects)
    if method == "integrated_gradients" and not score.is_differentiable:
        return found(Aggregate(None, NO_GRADIENTS), None)
    if subjects < FEWEST_SUBJECTS:
        none = np.zeros((len(failures), 0, 0), np.float32)
        return found(aggregate(none, none, subjects=subjects), None)
    explainer = in_parallel(EXPLAINERS[method], threads=threads)
    baseline = average_face(passes)
    maps = [explainer(score, pairs, baseline) for pairs in (failures, passes)]
    rows = np.arange(min(CHECKED_PAIRS, len(failures)))
    groups = {
        "failures": (failures.take(rows), maps[0][rows]),
        "passes": (passes.take(rows), maps[1][rows]),
    }
    checks = check_maps(explainer, score, groups, baseline=baseline, seed=seed)
    return found(aggregate(maps[0], maps[1], subjects=subjects), checks)


def _maps(
    chosen: Mapping[int, Chosen],
    frames: Mapping[tuple[str, str], Frame],
    *,
    entry: ModelEntry,
    registry: ModelRegistry,
    threads: int,
    seed: int,
) -> Iterator[Row]:
    model = load_explained_model(entry, registry=registry, threads=1)
    for rank, item in chosen.items():
        failures, passes = as_pairs(item, model=model, frames=frames)
        for method in METHODS:
            found = explain(failures, passes, score=model.score, method=method, threads=threads, seed=seed)
            yield {"rank": rank, **_map_row(found)}


def _map_row(found: Explanation) -> Row:
    values, checks = found.map.values, found.checks
    height, width = (0, 0) if values is None else values.shape
    numbers: Row = {}
    if checks is not None:
        numbers = {
            "pointing": checks.pointing.share,
            "deletion": checks.deletion.map_area,
            "deletion_random": checks.deletion.random_area,
            "insertion": checks.insertion.map_area,
            "insertion_random": checks.insertion.random_area,
            "randomisation": checks.randomisation.likeness,
        }
    return numbers | {
        "method": found.method,
        "n_failures": found.failures,
        "n_passes": found.passes,
        "n_subjects": found.subjects,
        "height": height,
        "width": width,
        "map": None if values is None else values.ravel().tolist(),
        "is_shown": not found.objections,
        "reason": "; ".join(found.objections) or None,
    }


def _changes(
    chosen: Mapping[int, Chosen],
    frames: Mapping[tuple[str, str], Frame],
    *,
    entry: ModelEntry,
    registry: ModelRegistry,
    rerender: Rerender | None,
    threads: int,
) -> Iterator[Row]:
    embedder = load_embedder(entry, registry=registry, threads=threads)
    for rank, item in chosen.items():
        for found in counterfactuals(item.failures, frames=frames, embedder=embedder, rerender=rerender):
            yield {"rank": rank, **_change_row(found)}


def _change_row(found: Counterfactual) -> Row:
    rate = found.accepted
    return {
        "change": found.change,
        "source": found.source,
        "n_attempts": rate.denominator,
        "n_accepted": rate.numerator,
        "score_before": found.score_before,
        "score_after": found.score_after,
        **rate.to_dict(),
    }


def _write(lake: Lake, table: Table, rows: Sequence[Row], *, build: str) -> None:
    import pyarrow as pa

    filled = [dict.fromkeys(table.names) | row | {"build_id": build} for row in rows]
    lake.write(table, TableKey(build=build), pa.Table.from_pylist(filled, schema=table.arrow_schema))
