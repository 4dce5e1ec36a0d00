"""The pairs that are explained: failing attempts of a slice over many subjects, and for each its most alike pass.

The partner of an attempt is the template that gave its score in the lake. How frames become the model's input is in
`cv_quality.error_analysis.explanations.pair_score`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.frames import FrameReader
from cv_quality.drops.images import decode_image
from cv_quality.drops.tables import FRAME_INDEX
from cv_quality.error_analysis.explanations.aggregation import MIN_SUBJECTS
from cv_quality.error_analysis.explanations.pair_score import ExplainedModel, Pairs
from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import SliceError, near
from cv_quality.inference.preprocessing import Frame
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.lake.schema import Kind
from cv_quality.lake.store import Store
from cv_quality.metrics.iris.codes import Codes
from cv_quality.metrics.resampling import seeded
from cv_quality.modality import Dimension
from cv_quality.settings import EXPLAINED_PAIRS
from cv_quality.tasks.verification.comparisons import involved_attempts
from cv_quality.tasks.verification.dimensions import DEVICE
from cv_quality.tasks.verification.modality import Comparator
from cv_quality.tasks.verification.samples import BONA_FIDE, drop_facts, probes, references
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES

if TYPE_CHECKING:
    import polars as pl

ATTEMPT = ("drop_id", "attempt_id")
MAX_SLICES = 3
NON_MATCH_ACCEPTED = ("non_match", "accepted")
_OTHER_SUBJECT = 1e6
"""Distance to a pass of another subject: above any sum of conditions."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Failures and, row by row, their matched passes; both with the columns of `scored_attempts`."""

    failures: "pl.DataFrame"
    passes: "pl.DataFrame"

    @property
    def subjects(self) -> int:
        return int(self.failures["subject_id"].n_unique())


def scored_attempts(lake: Lake, *, build: str, drops: Sequence[str], comparator: Comparator) -> "pl.DataFrame":
    """Read the genuine bona fide attempts of a build's drops that were compared: `attempt_outcomes` with `partner`.

    `partner` is the template of the comparison that gave the attempt its score, a unit vector in float32 or words of
    bits: the reference that it claims, and where the protocol compares all pairs, the one of the subject's other
    frames that is most alike.

    Args:
        lake: to read from.
        build: that scored them.
        drops: its own.
        comparator: of the modality.

    Raises:
        MissingTable: a drop is not compared, or its outcomes are not told.
    """
    import polars as pl

    tables = [_scored_of_drop(lake, build=build, drop=drop, comparator=comparator) for drop in sorted(drops)]
    return pl.concat(tables, how="diagonal") if tables else lake.scan(ATTEMPT_OUTCOMES, []).collect()


def choose_pairs(
    attempts: "pl.DataFrame",
    *,
    where: Slice,
    conditions: Sequence[Dimension],
    seed: int,
    limit: int = EXPLAINED_PAIRS,
    outcomes: tuple[str, str] = NON_MATCH_ACCEPTED,
) -> Chosen:
    """Choose non-matches of a slice, over as many subjects as possible, and for each its most alike pass.

    A pass is an accepted attempt outside of the slice: of the same subject where there is one, else of any; among
    them the one whose conditions and device model differ least, those that define the slice left out.

    Args:
        attempts: as `scored_attempts` gives them.
        where: the slice.
        conditions: of the modality.
        seed: of the choice among the rows of a subject.
        limit: non-matches at most.
        outcomes: what failed and what passed; by default of an attempt to be let in.

    Raises:
        SliceError: the slice speaks of a column that the attempts do not have.
    """
    import polars as pl

    unknown = [column for column in where.columns if column not in attempts.columns]
    if unknown:
        raise SliceError(f"no column {unknown[0]!r} among the attempts; {near(unknown[0], attempts.columns)}")
    inside = where.expression()
    failed, passed = outcomes
    failures = _spread(attempts.filter(inside & (pl.col("outcome") == failed)), seed=seed, limit=limit)
    passes = attempts.filter(~inside & (pl.col("outcome") == passed)).sort(ATTEMPT)
    if failures.is_empty() or passes.is_empty():
        return Chosen(failures, passes.clear())
    kinds = {item.name: item.column.kind for item in (*conditions, DEVICE[0]) if item.name not in where.columns}
    return Chosen(failures, passes[_nearest(failures, passes, kinds=kinds)])


def pairs_of_slices(
    attempts: "Callable[[], pl.DataFrame]",
    *,
    slices: Sequence[Slice],
    conditions: Sequence[Dimension],
    pairs: int,
    seed: int = 0,
    outcomes: tuple[str, str] = NON_MATCH_ACCEPTED,
) -> dict[int, Chosen]:
    """Share non-matches out over confirmed slices, at most three; each over as many subjects as possible.

    A later slice goes without where its share would be fewer than the subjects that a map needs.

    Args:
        attempts: reads the scored attempts, if there is a slice.
        slices: in order of rank.
        conditions: of the modality.
        pairs: non-matches at most, in all slices together.
        seed: of the choice.
        outcomes: as of `choose_pairs`.

    Returns:
        What was chosen by the slice's rank, from 1.

    Raises:
        SliceError: a slice speaks of a column that the attempts do not have.
    """
    count = min(MAX_SLICES, len(slices), max(1, pairs // MIN_SUBJECTS))
    if not count:
        return {}
    choose = partial(
        choose_pairs, attempts(), conditions=conditions, seed=seed, limit=pairs // count, outcomes=outcomes
    )
    return {rank: choose(where=where) for rank, where in enumerate(slices[:count], start=1)}


def read_frames(
    lake: Lake, landing: Store, attempts: "Sequence[pl.DataFrame]"
) -> dict[tuple[str, str], NDArray[np.uint8]]:
    """Decode the frame of every attempt, by (drop, frame).

    Args:
        lake: with the index of the frames.
        landing: where the images lie.
        attempts: tables with `drop_id` and `frame`.
    """
    import polars as pl

    wanted = pl.concat([rows.select("drop_id", "frame") for rows in attempts]).unique().sort(pl.all())
    frames: dict[tuple[str, str], NDArray[np.uint8]] = {}
    for (drop,), rows in wanted.group_by("drop_id", maintain_order=True):
        reader = FrameReader(landing, str(drop), lake.read(FRAME_INDEX, TableKey(drop=str(drop))))
        frames |= {(str(drop), name): decode_image(data) for name, data in reader.read(rows["frame"].to_list())}
    return frames


def frames_of(attempts: "pl.DataFrame", frames: Mapping[tuple[str, str], Frame]) -> list[Frame]:
    """List the frames of attempts, in their order."""
    return [frames[(drop, name)] for drop, name in attempts.select("drop_id", "frame").iter_rows()]


def as_pairs(chosen: Chosen, *, model: ExplainedModel, frames: Mapping[tuple[str, str], Frame]) -> tuple[Pairs, Pairs]:
    """Prepare failures and passes as the model sees them; a couple goes where one of the two frames shows no face.

    Args:
        chosen: the couples.
        model: that is explained.
        frames: decoded, by (drop, frame).
    """
    seen = [_seen(rows, model=model, frames=frames) for rows in (chosen.failures, chosen.passes)]
    both = np.intersect1d(seen[0][1], seen[1][1])
    failures, passes = (pairs.take(np.searchsorted(found, both)) for pairs, found in seen)
    return failures, passes


def partners(attempts: "pl.DataFrame") -> NDArray[np.float32]:
    """Stack the vectors of the attempts' partners, `[n, d]`."""
    if attempts.is_empty():
        return np.empty((0, 0), np.float32)
    return attempts["partner"].explode().to_numpy().astype(np.float32).reshape(len(attempts), -1)


def partner_codes(attempts: "pl.DataFrame") -> Codes:
    """Stack the packed codes and masks of the attempts' partners, `[n, 2, words]`."""
    if attempts.is_empty():
        return np.empty((0, 2, 0), np.uint64)
    return attempts["partner"].explode().to_numpy().astype(np.uint64).reshape(len(attempts), 2, -1)


def _seen(
    rows: "pl.DataFrame", *, model: ExplainedModel, frames: Mapping[tuple[str, str], Frame]
) -> tuple[Pairs, NDArray[np.intp]]:
    inputs, found = model.inputs(frames_of(rows, frames), illuminance_lux=rows["illuminance_lux"].to_list())
    subjects = rows["subject_id"].to_list()
    return Pairs(inputs, partners(rows)[found], tuple(subjects[row] for row in found)), found


def _scored_of_drop(lake: Lake, *, build: str, drop: str, comparator: Comparator) -> "pl.DataFrame":
    import polars as pl

    attempts = lake.read(ATTEMPT_OUTCOMES, TableKey(build=build, drop=drop))
    attempts = attempts.filter(pl.col("is_genuine") & (pl.col("presentation") == BONA_FIDE))
    attempts = attempts.drop_nulls(["score", "frame"])
    best_is_high = comparator.direction == "similarity"
    compared = involved_attempts(lake, build=build, drop=drop, protocol=drop_facts(lake, drop).protocol)
    best = (
        compared.filter("is_genuine")
        .sort("score", "reference_id", "attempt_id", descending=[best_is_high, False, False], nulls_last=True)
        .unique("involved_id", keep="first")
        .select("involved_id", "reference_id", probe_id="attempt_id")
    )
    rows = attempts.join(best, left_on="attempt_id", right_on="involved_id").sort("attempt_id")
    vectors = _partner_vectors(lake, rows, build=build, drop=drop, comparator=comparator)
    return rows.with_columns(partner=vectors).drop("reference_id", "probe_id")


def _partner_vectors(lake: Lake, rows: "pl.DataFrame", *, build: str, drop: str, comparator: Comparator) -> "pl.Series":
    """The other side of each comparison: its reference, or its probe where the attempt's own frame is the reference."""
    import polars as pl

    left, right = (side(lake, build=build, drop=drop, comparator=comparator) for side in (references, probes))
    by_reference = dict(zip(left.rows["reference_id"], left.vectors, strict=True))
    by_probe = dict(zip(right.rows["event_id"], right.vectors, strict=True))
    sides = rows.select("attempt_id", "reference_id", "probe_id").iter_rows()
    vectors = [by_reference[reference] if attempt == probe else by_probe[probe] for attempt, reference, probe in sides]
    kind = pl.Float32 if comparator.template == "vector" else pl.UInt64
    return pl.Series("partner", [vector.ravel().tolist() for vector in vectors], dtype=pl.List(kind))


def _spread(rows: "pl.DataFrame", *, seed: int, limit: int) -> "pl.DataFrame":
    """Rows chosen in turns over the subjects, subjects and rows in seeded order."""
    import polars as pl

    rng = seeded(seed)
    ordered = rows.sort(ATTEMPT)
    subjects = ordered["subject_id"].unique().sort()
    places = pl.DataFrame({"subject_id": subjects, "_place": rng.permutation(len(subjects))})
    drawn = ordered.with_columns(_draw=pl.Series(rng.permutation(len(ordered)), dtype=pl.Int64))
    turned = drawn.with_columns(_turn=pl.col("_draw").rank("ordinal").over("subject_id"))
    chosen = turned.join(places, on="subject_id").sort("_turn", "_place").head(limit)
    return chosen.select(rows.columns)


def _nearest(failures: "pl.DataFrame", passes: "pl.DataFrame", *, kinds: Mapping[str, Kind]) -> list[int]:
    """For each failure the row of the pass nearest in its conditions, other subjects last; the first of equals."""
    distance = _OTHER_SUBJECT * _differs(failures["subject_id"], passes["subject_id"])
    for name, kind in kinds.items():
        distance = distance + (_gap if kind == "real" else _differs)(failures[name], passes[name])
    return [int(row) for row in distance.argmin(axis=1)]


def _differs(left: "pl.Series", right: "pl.Series") -> NDArray[np.float64]:
    return np.asarray(left.to_numpy()[:, None] != right.to_numpy()[None, :], dtype=np.float64)


def _gap(left: "pl.Series", right: "pl.Series") -> NDArray[np.float64]:
    """Absolute differences in standard deviations of the passes; 1 where one side is unknown, 0 where both are."""
    one, other = (side.cast(float).to_numpy().astype(np.float64) for side in (left, right))
    known = other[np.isfinite(other)]
    scale = float(known.std()) if len(known) else 0.0
    gap = np.abs(one[:, None] - other[None, :]) / (scale or 1.0)
    unknown = np.isnan(one)[:, None] != np.isnan(other)[None, :]
    return np.where(np.isnan(gap), unknown.astype(np.float64), gap)
