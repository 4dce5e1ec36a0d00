"""Explanations of a build's confirmed slices: saliency maps with their checks, and counterfactuals.

Writes the tables `explanations` and `counterfactuals`. How pairs are chosen is in `explained_pairs`, how maps are made
and checked in `cv_quality.error_analysis.explanations`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.explanations.aggregation import MIN_SUBJECTS, Aggregate, aggregate
from cv_quality.error_analysis.explanations.counterfactuals import (
    PROCESSES,
    CounterfactualResult,
    Rerender,
    counterfactuals,
)
from cv_quality.error_analysis.explanations.pair_score import Pairs, PairScore, load_explained_model, torch_threads
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
from cv_quality.inference.embedder import Embedder, load_embedder
from cv_quality.inference.preprocessing import Frame, ToneCurve
from cv_quality.inference.registry import ModelEntry, ModelRegistry
from cv_quality.lake.lake import Lake
from cv_quality.lake.store import Store
from cv_quality.modality import Dimension
from cv_quality.settings import EXPLAINED_PAIRS
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.verification.explained_pairs import (
    Chosen,
    as_pairs,
    frames_of,
    pairs_of_slices,
    partners,
    read_frames,
    scored_attempts,
)
from cv_quality.tasks.verification.modality import BiometricModality
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS

if TYPE_CHECKING:
    import polars as pl

TONE_CURVE_OFF = "illuminance unknown to the preprocessing, which switches its tone curve off"
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
    modality: BiometricModality,
    rerender: Rerender | None = None,
    pairs: int = EXPLAINED_PAIRS,
    threads: int = 2,
    seed: int = 0,
) -> ExplanationSummary:
    """Explain the failures of a build's slices, the first three of them, and write what was found.

    The non-matches are shared out over the slices by `pairs_of_slices`, beside as many passes.

    Args:
        lake: with the build's outcomes; written to.
        landing: where the images lie.
        entry, registry: the build's model and where its file lies.
        build: the build.
        drops: its own drops.
        slices: confirmed slices in order of rank; row `rank` of the tables is their place, from 1.
        modality: with its conditions and its comparator.
        rerender: renders simulated attempts again; None for real images.
        pairs: non-matches to explain at most, in all slices together.
        threads: for model calls.
        seed: of the choice of pairs, and of the checks.

    Raises:
        MissingTable: a drop has no outcomes yet.
        ModelError: the model cannot be loaded.
        SliceError: a slice speaks of a column that the attempts do not have.
    """
    maps, changes = list[Row](), list[Row]()
    attempts = partial(scored_attempts, lake, build=build, drops=drops, comparator=modality.comparator)
    chosen = pairs_of_slices(attempts, slices=slices, conditions=modality.conditions, pairs=pairs, seed=seed)
    if chosen:
        frames = read_frames(lake, landing, [rows for item in chosen.values() for rows in (item.failures, item.passes)])
        with torch_threads(1):
            # Before the maps: it proves the model, see cv_quality.inference.probe.
            embedder = load_embedder(entry, registry=registry, threads=threads)
            maps = list(_maps(chosen, frames, entry=entry, registry=registry, threads=threads, seed=seed))
            again = partial(
                change_conditions, frames=frames, embedder=embedder, conditions=modality.conditions, rerender=rerender
            )
            changes = [
                {"rank": rank, **change_row(found)} for rank, item in chosen.items() for found in again(item.failures)
            ]
    write_rows(lake, EXPLANATIONS, build, maps)
    write_rows(lake, COUNTERFACTUALS, build, changes)
    shown = sum(bool(row["is_shown"]) for row in maps)
    return ExplanationSummary(build, len(chosen), sum(row["map"] is not None for row in maps), shown, len(changes))


def explain_nothing(lake: Lake, *, build: str) -> ExplanationSummary:
    """Write that nothing of a build was explained."""
    write_rows(lake, EXPLANATIONS, build, [])
    write_rows(lake, COUNTERFACTUALS, build, [])
    return ExplanationSummary(build, slices=0, maps=0, maps_shown=0, counterfactuals=0)


def explain(
    failures: Pairs, passes: Pairs, *, score: PairScore, method: Method, threads: int = 2, seed: int = 0
) -> Explanation:
    """Explain failures against their matched passes by one method, and check its map on the same pairs.

    Args:
        failures, passes: as many of each, one couple a row.
        score: of the model.
        method: of the map.
        threads: for model calls.
        seed: of the checks.
    """
    subjects = len(set(failures.subjects))
    found = partial(Explanation, method, len(failures), len(passes), subjects)
    if method == "integrated_gradients" and not score.is_differentiable:
        return found(Aggregate(None, NO_GRADIENTS), None)
    if subjects < MIN_SUBJECTS:
        none = np.zeros((len(failures), 0, 0), np.float32)
        return found(aggregate(none, none, subjects=subjects), None)
    explainer = in_parallel(EXPLAINERS[method], threads=threads)
    baseline = average_face(passes)
    maps = [explainer(score, pairs, baseline) for pairs in (failures, passes)]
    rows = np.arange(min(CHECKED_PAIRS, len(failures)))
    groups = {"failures": (failures.take(rows), maps[0][rows]), "passes": (passes.take(rows), maps[1][rows])}
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
            yield {"rank": rank, **map_row(found)}


def map_row(found: Explanation) -> Row:
    """Write a map and its checks as a row of `explanations`, but for its slice."""
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
            "randomisation": checks.randomisation.correlation,
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


def change_conditions(
    failures: "pl.DataFrame",
    frames: Mapping[tuple[str, str], Frame],
    *,
    embedder: Embedder,
    conditions: Sequence[Dimension],
    rerender: Rerender | None = None,
) -> list[CounterfactualResult]:
    """Score failing attempts again with one thing changed, against the templates that they failed against.

    Args:
        failures: as `scored_attempts` gives them.
        frames: decoded, by (drop, frame).
        embedder: of the build.
        conditions: of the modality.
        rerender: renders simulated attempts again; None for real images.
    """
    has_tone_curve = any(isinstance(step, ToneCurve) for step in embedder.entry.preprocessing)
    return counterfactuals(
        failures,
        originals=frames_of(failures, frames),
        score=partial(partner_scores, embedder=embedder),
        processes=PROCESSES,
        dimensions=conditions,
        withheld=[(TONE_CURVE_OFF, "illuminance_lux")] if has_tone_curve else [],
        rerender=rerender,
    )


def partner_scores(attempts: "pl.DataFrame", frames: Sequence[Frame], *, embedder: Embedder) -> NDArray[np.float64]:
    """Score attempts by other frames against the templates of their partners; NaN where a frame has no template.

    Args:
        attempts: as `scored_attempts` gives them, under the conditions that the preprocessing is told.
        frames: one an attempt.
        embedder: of the build.
    """
    vectors = embedder.embed(list(frames), illuminance_lux=attempts["illuminance_lux"].to_list()).embeddings
    scores = np.einsum("ij,ij->i", vectors.astype(np.float64), partners(attempts).astype(np.float64))
    return np.asarray(scores.clip(-1.0, 1.0))


def change_row(found: CounterfactualResult) -> Row:
    """Write what a change did as a row of `counterfactuals`, but for its slice."""
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
