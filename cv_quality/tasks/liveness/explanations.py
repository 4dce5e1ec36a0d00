"""Why attacks of a confirmed slice pass, from their frames: maps with their checks, and scores with one thing changed.

Writes `explanations` and `counterfactuals`, as verification does of faces. Explained are attacks that were taken for
bona fide, each beside the attack most alike that was found.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.tables import FACE_BOX, PRESENTATIONS
from cv_quality.error_analysis.explanations.counterfactuals import LIGHT_PROCESSES, Process, counterfactuals, smooth
from cv_quality.error_analysis.explanations.liveness_score import ONE_MODEL, load_explained_liveness
from cv_quality.error_analysis.explanations.pair_score import Pairs, torch_threads
from cv_quality.error_analysis.explanations.saliency import METHODS
from cv_quality.error_analysis.slices import Slice
from cv_quality.freshness import StageContext
from cv_quality.inference.liveness.entry import LivenessEntry
from cv_quality.inference.preprocessing import Frame
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Column
from cv_quality.modality import Dimension, of_modality
from cv_quality.tasks.liveness.scores import box_of, loaded_scorer
from cv_quality.tasks.liveness.tables import ATTACK, LIVE, PRESENTATION_OUTCOMES
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.verification.explained_pairs import Chosen, frames_of, pairs_of_slices, read_frames
from cv_quality.tasks.verification.explanations import (
    ExplanationSummary,
    Row,
    change_row,
    explain,
    explain_nothing,
    map_row,
)
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS

if TYPE_CHECKING:
    import polars as pl

    from cv_quality.error_analysis.explanations.counterfactuals import Rerender
    from cv_quality.inference.liveness.scorer import LivenessScorer

PROCESSES: tuple[Process, ...] = (*LIGHT_PROCESSES, ("blurred (Gaussian, 1 pixel)", smooth))
"""What is done to frames of presentations; where the face is stays what it was."""
MADE_OF = Column("pai_series", "text", "series that the artefact was made in", nullable=True)


def explain_attacks(
    context: StageContext, *, slices: Sequence[Slice], rerender: "Rerender | None"
) -> ExplanationSummary:
    """Explain the attacks that pass in a build's first confirmed slices, and write what was found.

    Args:
        context: of the build.
        slices: confirmed ones of the attacks that pass, in order of rank.
        rerender: renders simulated presentations again; None for real images.

    Raises:
        MissingTable: a drop was not judged.
        ModelError: the model cannot be loaded.
    """
    entry, lake, build = context.entry, context.lake, context.build
    pairs = context.workspace.settings.explained_pairs
    if not isinstance(entry, LivenessEntry) or not pairs or not slices:
        return explain_nothing(lake, build=build)
    attacks = partial(read_attacks, context, threshold=entry.decision_threshold)
    conditions = context.modality.conditions
    chosen = pairs_of_slices(attacks, slices=slices, conditions=conditions, pairs=pairs, outcomes=(LIVE, ATTACK))
    sides = [rows for item in chosen.values() for rows in (item.failures, item.passes)]
    frames = read_frames(lake, context.workspace.landing, sides)
    with torch_threads(1):
        scorer = loaded_scorer(context.workspace, build)
        maps = list(_maps(context, entry, chosen, frames, scorer=scorer))
        found = attacks()
        changes = [
            {"rank": rank, **change_row(change)}
            for rank, item in chosen.items()
            for change in counterfactuals(
                item.failures,
                originals=frames_of(item.failures, frames),
                score=partial(_scores, scorer=scorer),
                processes=PROCESSES,
                dimensions=(*conditions, *_other_series(item.failures, found)),
                rerender=rerender,
                accepts=np.less,
            )
        ]
    write_rows(lake, EXPLANATIONS, build, maps)
    write_rows(lake, COUNTERFACTUALS, build, changes)
    shown = sum(bool(row["is_shown"]) for row in maps)
    return ExplanationSummary(build, len(chosen), sum(row["map"] is not None for row in maps), shown, len(changes))


def read_attacks(context: StageContext, *, threshold: float) -> "pl.DataFrame":
    """Read the scored attacks on a build's own drops, as pairs are chosen of them: the subject is whom they imitate.

    Args:
        context: of the build.
        threshold: of its decisions.
    """
    import polars as pl

    box = [item.name for item in FACE_BOX]
    tables = []
    for drop in context.drops:
        outcomes = context.lake.read(
            of_modality(PRESENTATION_OUTCOMES, context.modality), TableKey(build=context.build, drop=drop)
        )
        places = context.lake.read(PRESENTATIONS, TableKey(drop=drop), columns=["event_id", *box])
        tables.append(outcomes.join(places, left_on="presentation_id", right_on="event_id"))
    rows = pl.concat(tables, how="diagonal").filter("is_attack").drop_nulls(["pad_score", "frame"])
    return rows.with_columns(
        attempt_id="presentation_id",
        subject_id=pl.coalesce("target_subject_id", "artefact_id", "subject_id"),
        score="pad_score",
        decision_threshold=pl.lit(threshold),
    )


def _other_series(failures: "pl.DataFrame", attacks: "pl.DataFrame") -> Iterator[Dimension]:
    """The series of the same species that is found most often: a counterfactual may show the picture on that."""
    import polars as pl

    species = failures["pai_species"].unique()
    same = attacks.filter(pl.col("pai_species").is_in(species.implode())).drop_nulls("pai_series")
    others = same.filter(~pl.col("pai_series").is_in(failures["pai_series"].unique().implode()))
    if others.is_empty() or len(species) != 1:
        return
    rates = others.group_by("pai_series").agg(pl.col("is_error").mean()).sort("is_error", "pai_series")
    series = str(rates["pai_series"][0])
    yield Dimension(MADE_OF, "series", benign=(f"the same picture, series {series}", series))


def _maps(
    context: StageContext,
    entry: LivenessEntry,
    chosen: Mapping[int, Chosen],
    frames: Mapping[tuple[str, str], Frame],
    *,
    scorer: "LivenessScorer",
) -> Iterator[Row]:
    score = load_explained_liveness(entry, registry=context.workspace.registry)
    for rank, item in chosen.items():
        if score is None:
            yield from ({"rank": rank, **_no_map(method, item)} for method in METHODS)
            continue
        sides = [_inputs(rows, frames, scorer=scorer) for rows in (item.failures, item.passes)]
        both = np.intersect1d(sides[0][1], sides[1][1])
        failures, passes = (side.take(np.searchsorted(rows, both)) for side, rows in sides)
        for method in METHODS:
            yield {
                "rank": rank,
                **map_row(explain(failures, passes, score=score, method=method, threads=context.threads)),
            }


def _no_map(method: str, item: Chosen) -> Row:
    return {
        "method": method,
        "n_failures": item.failures.height,
        "n_passes": item.passes.height,
        "n_subjects": item.subjects,
        "height": 0,
        "width": 0,
        "map": None,
        "is_shown": False,
        "reason": ONE_MODEL,
    }


def _inputs(
    rows: "pl.DataFrame", frames: Mapping[tuple[str, str], Frame], *, scorer: "LivenessScorer"
) -> tuple[Pairs, NDArray[np.intp]]:
    """Presentations as the one model sees them, and which rows of the table they are."""
    from cv_quality.inference.liveness.scorer import is_seen

    (model,), pictures = scorer.models, frames_of(rows, frames)
    boxes = [scorer.place(picture, box) for picture, box in zip(pictures, _boxes(rows), strict=True)]
    kept = [row for row, box in enumerate(boxes) if not scorer.needs_face or is_seen(box, pictures[row])]
    lux, subjects = rows["illuminance_lux"].to_list(), rows["subject_id"].to_list()
    if not kept:
        return Pairs(np.empty((0, 1, 1, 1), np.float32), np.empty((0, 0), np.float32), ()), np.array([], np.intp)
    batch = model.inputs([pictures[row] for row in kept], [boxes[row] for row in kept], [lux[row] for row in kept])
    none = np.empty((len(kept), 0), np.float32)
    return Pairs(batch, none, tuple(subjects[row] for row in kept)), np.array(kept, np.intp)


def _boxes(rows: "pl.DataFrame") -> list[tuple[float, float, float, float] | None]:
    return [box_of(row) for row in rows.select(item.name for item in FACE_BOX).iter_rows(named=True)]


def _scores(attacks: "pl.DataFrame", frames: Sequence[Frame], *, scorer: "LivenessScorer") -> NDArray[np.float64]:
    """Score attacks by other frames; NaN where there is no score."""
    return scorer.score(
        list(frames), boxes=_boxes(attacks), illuminance_lux=attacks["illuminance_lux"].to_list()
    ).scores
