"""Two eyes of one moment as one decision: operating points by rule of fusion, and how both eyes' errors correlate.

A capture is the left and the right sample of one person with one transaction and attempt number. Captures of a person
are alike, and so are a person's eyes: intervals are by person throughout.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.iris.counting import Fusion, count_codes, count_fused, fuse_by
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.metrics.operating_points import both_classes
from cv_quality.metrics.pairs import PairCounts, Rows, Side, TemplateArray
from cv_quality.metrics.point_intervals import Row
from cv_quality.metrics.verification import FMR_TARGETS
from cv_quality.tasks.verification.build_metrics import native, point_rows
from cv_quality.tasks.verification.build_scores import scores_of
from cv_quality.tasks.verification.instance_pairs import Eyes
from cv_quality.tasks.verification.modality import BiometricModality
from cv_quality.tasks.verification.samples import Templates

if TYPE_CHECKING:
    import polars as pl

SIDES: Final = ("left", "right")
RULES: Final[Mapping[str, Fusion | None]] = {
    "left": None,
    "right": None,
    "or": "minimum",
    "and": "maximum",
    "mean": "mean",
}
"""Rules by name, with how the two distances become one; "left" and "right" take one eye alone."""
MOMENT = ("drop_id", "subject_id", "transaction_id", "attempt_number")


@dataclass(frozen=True, slots=True)
class Captures:
    """Captures of one side of the comparison.

    Attributes:
        rows: `drop_id`, `subject_id`, `is_all_pairs`, `rank`; `left` and `right`, rows of the templates, null
            where an eye has none; `left_claim` and `right_claim`, the references that they are or claim.
        vectors: shape (captures, 2, 2, words); zeros, no valid bit, for an eye without a template.
    """

    rows: "pl.DataFrame"
    vectors: NDArray[np.uint64]

    def having(self, rule: str) -> NDArray[np.int64]:
        """Find the captures with the eyes that a rule needs: the one, both, or any."""
        has = np.stack([self.rows[side].is_not_null().to_numpy() for side in SIDES])
        needed = has[SIDES.index(rule)] if rule in SIDES else has.all(axis=0) if rule == "and" else has.any(axis=0)
        return np.flatnonzero(needed)


def fusion_rows(
    eyes: Eyes, modality: BiometricModality, rule: HammingRule, decided: float | None, *, family_of: Mapping[str, str]
) -> tuple[list[Row], list[Row]]:
    """The rows of `instance_fusion` and `instance_captures` of one model, without the build's columns.

    Args:
        eyes: all templates.
        modality: with the model's comparator.
        rule: of that comparator.
        decided: its threshold, native; None where it is unknown.
        family_of: as `read_families` gives it.
    """
    references, probes = _reference_captures(eyes), _probe_captures(eyes)
    if not (len(references.vectors) and len(probes.vectors)):
        return [], []
    pairs = _genuine_pairs(references, probes)
    scores = _eye_scores(references, probes, pairs, modality)
    comparator = modality.comparator
    threshold = None if decided is None else comparator.oriented(decided)
    people = probes.rows["subject_id"][pairs[1]]
    rows: list[Row] = []
    for name, fusion in RULES.items():
        counts = _counted(references, probes, name, rule, threshold)
        fused = scores[SIDES.index(name)] if fusion is None else fuse_by(fusion)(scores)
        known = people.to_frame().with_columns(score=fused).filter(~np.isnan(fused)).sort("subject_id", "score")
        found = scores_of(counts, _samples(references, probes, name), known, family_of=family_of)
        classes = both_classes(found.genuine_scores, found.counts)
        points = point_rows(found, classes, targets=FMR_TARGETS, threshold=threshold)
        rows += [{"rule": name} | native(row, comparator) for row in points]
    return rows, [_errors(probes, scores, threshold)]


def _probe_captures(eyes: Eyes) -> Captures:
    import polars as pl

    probes = eyes.probes.rows.select(*MOMENT, "instance", "is_all_pairs", "rank", "reference_id").with_row_index("row")
    return _captures(eyes.probes, probes.with_columns(claim=pl.col("reference_id")), MOMENT)


def _reference_captures(eyes: Eyes) -> Captures:
    """Frames of all-pairs drops belong to the moment of their attempt; enrolled eyes are taken together in order."""
    import polars as pl

    frames = ["drop_id", "subject_id", "frame"]
    moments = eyes.probes.rows.filter("is_all_pairs").select(*frames, "transaction_id", "attempt_number")
    rows = eyes.references.rows.with_row_index("row").join(
        moments.unique(frames, keep="first", maintain_order=True), on=frames, how="left", maintain_order="left"
    )
    number = pl.int_range(pl.len()).over("drop_id", "subject_id", "instance")
    rows = rows.with_columns(
        pl.when("is_all_pairs").then(pl.col("attempt_number")).otherwise(number).alias("attempt_number"),
        claim=pl.col("reference_id"),
    )
    return _captures(eyes.references, rows, MOMENT)


def _captures(side: Templates, rows: "pl.DataFrame", moment: tuple[str, ...]) -> Captures:
    """Join left and right of one moment; of several samples of one eye the first counts."""
    import polars as pl

    known = rows.filter(pl.col("instance").is_in(SIDES)).sort(*moment, "row")
    eye = pl.col("instance")
    found = known.group_by(*moment, maintain_order=True).agg(
        pl.col("is_all_pairs").first(),
        pl.col("rank").min(),
        *(pl.col("row").filter(eye == name).first().alias(name) for name in SIDES),
        *(pl.col("claim").filter(eye == name).first().alias(f"{name}_claim") for name in SIDES),
    )
    vectors = np.zeros((found.height, len(SIDES), *side.vectors.shape[1:]), np.uint64)
    for place, name in enumerate(SIDES):
        has = found[name].is_not_null().to_numpy()
        vectors[has, place] = side.vectors[found[name].drop_nulls().to_numpy()]
    return Captures(found, vectors)


def _genuine_pairs(references: Captures, probes: Captures) -> Rows:
    """Each capture with the one that it claims; in all-pairs drops two captures of a person once."""
    import polars as pl

    head = ("drop_id", "subject_id")
    left = references.rows.with_row_index("reference_row")
    right = probes.rows.with_row_index("probe_row")
    pairs = left.join(right, on=head, suffix="_probe")
    claimed = [
        pl.col(f"{name}_claim_probe").is_null() | (pl.col(f"{name}_claim") == pl.col(f"{name}_claim_probe"))
        for name in SIDES
    ]
    met = pl.when("is_all_pairs").then(pl.col("rank") < pl.col("rank_probe")).otherwise(pl.all_horizontal(claimed))
    pairs = pairs.filter(met.fill_null(value=False)).sort("probe_row", "reference_row")
    places = [pairs[name].to_numpy().astype(np.int64) for name in ("reference_row", "probe_row")]
    return places[0], places[1]


def _eye_scores(
    references: Captures, probes: Captures, pairs: Rows, modality: BiometricModality
) -> NDArray[np.float64]:
    """Oriented scores of the left and the right eyes of pairs, shape (2, pairs); NaN where they cannot be compared."""
    sides: list[tuple[TemplateArray, TemplateArray]] = [
        (references.vectors[:, place], probes.vectors[:, place]) for place in range(len(SIDES))
    ]
    return np.stack([modality.comparator.oriented(modality.scores(*side, pairs)) for side in sides])


def _counted(
    references: Captures, probes: Captures, name: str, rule: HammingRule, threshold: float | None
) -> PairCounts:
    sides, fusion = [], RULES[name]
    for captures in (references, probes):
        chosen = captures.having(name)
        vectors, rows = captures.vectors[chosen], captures.rows[chosen]
        kept: TemplateArray = vectors if fusion is not None else vectors[:, SIDES.index(name)]
        sides.append(Side(kept, rows["subject_id"].to_numpy().astype(str), rows["rank"].to_numpy()))
    if fusion is None:
        return count_codes(*sides, rule=rule, threshold=threshold)
    return count_fused(*sides, rule=rule, fusion=fusion, threshold=threshold)


def _samples(references: Captures, probes: Captures, name: str) -> "pl.DataFrame":
    """How many captures of each person a rule compares, as `impostor_trials` has samples."""
    import polars as pl

    of_all_pairs, columns = pl.col("is_all_pairs"), ("n_references", "n_probes", "n_frames")
    first, second = (captures.rows[captures.having(name)] for captures in (references, probes))
    parts = [
        first.filter(~of_all_pairs).group_by("subject_id").agg(pl.len().alias("n_references")),
        second.filter(~of_all_pairs).group_by("subject_id").agg(pl.len().alias("n_probes")),
        first.filter(of_all_pairs).group_by("subject_id").agg(pl.len().alias("n_frames")),
    ]
    every = pl.concat(parts, how="diagonal").group_by("subject_id").agg(pl.col(*columns).sum().cast(pl.Int64))
    return every.sort("subject_id")


def _errors(probes: Captures, scores: NDArray[np.float64], threshold: float | None) -> Row:
    compared = scores[:, ~np.isnan(scores).any(axis=0)]
    head: Row = {
        "n_captures": len(probes.vectors),
        "n_one_eye": int(len(probes.vectors) - len(probes.having("and"))),
        "n_compared": compared.shape[1],
    }
    if threshold is None:
        return head
    left, right = compared < threshold
    both, n = int((left & right).sum()), compared.shape[1]
    errors = int(left.sum()), int(right.sum())
    return head | {
        "n_left_errors": errors[0],
        "n_right_errors": errors[1],
        "n_both_errors": both,
        "phi": phi(n, errors, both),
    }


def phi(n: int, errors: tuple[int, int], both: int) -> float | None:
    """Correlate two yes-or-no outcomes of the same trials: (n b - x y) / sqrt(x (n - x) y (n - y)).

    Args:
        n: trials.
        errors: of either, x and y.
        both: trials with both, b.

    Returns:
        From -1 to 1; None where an outcome never or always happens.

    >>> phi(100, (10, 10), 10), phi(100, (10, 10), 1)
    (1.0, 0.0)
    """
    x, y = errors
    spread = float(x * (n - x)) * float(y * (n - y))
    return None if not spread else (n * both - x * y) / float(np.sqrt(spread))
