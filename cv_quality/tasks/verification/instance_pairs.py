"""Comparisons by which instances they are of, such as left and right eyes, and pairs that raise a doubt.

Impostors of one side and of two are the pairs of `cv_quality.tasks.verification.impostors`, told apart; one person's
two instances are in none of its counts.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from cv_quality.metrics.dyadic import pair_rate, rate_of_subjects
from cv_quality.metrics.iris.counting import count_codes
from cv_quality.metrics.iris.hamming import compare
from cv_quality.metrics.iris.rotations import moments_of
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.metrics.iris.spread import degrees_of_freedom, impostor_spread
from cv_quality.metrics.pairs import MatchCounts, PairCounts, Side
from cv_quality.metrics.point_intervals import NOT_ACCOUNTED, Row
from cv_quality.metrics.rates import NO_TRIAL, Rate, clustered_rate
from cv_quality.metrics.trials import CrossTrials
from cv_quality.tasks.verification.build_scores import accounts_for
from cv_quality.tasks.verification.modality import BiometricModality
from cv_quality.tasks.verification.samples import Templates
from cv_quality.tasks.verification.templates import UNKNOWN_INSTANCE

if TYPE_CHECKING:
    import polars as pl

GENUINE, OTHER_INSTANCE, IMPOSTOR = "genuine", "other_instance", "impostor"
SAME_SIDE, OTHER_SIDE, UNKNOWN_SIDE = "impostor_same_side", "impostor_other_side", "impostor_unknown"
KINDS = (GENUINE, OTHER_INSTANCE, IMPOSTOR, SAME_SIDE, OTHER_SIDE, UNKNOWN_SIDE)
OTHER_SUBJECT: Final = "other_subject"
MOST_DOUBTS = 100
"""Of each kind; the closest."""
MOST_CLOSEST = 100
"""Pairs of two people."""
AS_GENUINE = 0.75
"""Two people's pair is doubted where this share of the genuine comparisons is more alike, or fewer."""
Block = tuple[Templates, Templates]


@dataclass(frozen=True, slots=True)
class Eyes:
    """All references and bona fide probes of a build's drops under one model.

    Attributes:
        references, probes: rows have `drop_id`, `instance`, `is_all_pairs` and `rank` besides; a reference and a probe
            meet where its rank is the lower one.
    """

    references: Templates
    probes: Templates

    def side(self, templates: Templates) -> Side:
        """Give templates as they are counted."""
        rows = templates.rows
        return Side(templates.vectors, rows["subject_id"].to_numpy().astype(str), rows["rank"].to_numpy())

    def of_subjects(self, pairs: "pl.DataFrame") -> "pl.DataFrame":
        """List the pairs that meet of listed subjects (`reference_subject_id`, `subject_id`), with rows of both."""
        import polars as pl

        names = ("subject_id", "instance", "rank")
        left = self.references.rows.select("reference_id", **{f"reference_{name}": name for name in names})
        right = self.probes.rows.select(pl.col("event_id").alias("attempt_id"), *names)
        met = pairs.join(left.with_row_index("left"), on="reference_subject_id")
        met = met.join(right.with_row_index("right"), on="subject_id")
        return met.filter(pl.col("reference_rank") < pl.col("rank"))


@dataclass(frozen=True, slots=True)
class ImpostorKinds:
    """The pairs of different people by kind, the whole among them: what they are made of, and their counts."""

    blocks: dict[str, list[Block]]
    counts: dict[str, PairCounts]


def count_kinds(eyes: Eyes, modality: BiometricModality, decided: float | None) -> ImpostorKinds:
    """Count all pairs of different people by their sides, and those that a native threshold accepts exactly."""
    threshold = None if decided is None else modality.comparator.oriented(decided)
    nothing = PairCounts.empty(modality.comparator.scale)
    blocks = {kind: _blocks(eyes, kind) for kind in (SAME_SIDE, OTHER_SIDE, UNKNOWN_SIDE)}
    counts = {
        kind: sum((modality.count(*map(eyes.side, block), threshold=threshold) for block in parts), nothing)
        for kind, parts in blocks.items()
    }
    whole = {IMPOSTOR: [block for parts in blocks.values() for block in parts]}
    return ImpostorKinds(whole | blocks, {IMPOSTOR: sum(counts.values(), nothing)} | counts)


def comparison_rows(
    eyes: Eyes,
    kinds: ImpostorKinds,
    genuine: "pl.DataFrame",
    modality: BiometricModality,
    rule: HammingRule,
    decided: float | None,
) -> list[Row]:
    """The rows of `instance_comparisons` of one model, without the build's columns.

    Args:
        eyes: the templates.
        kinds: the counts of different people.
        genuine: the genuine comparisons, native scores.
        modality: with the model's comparator.
        rule: of that comparator.
        decided: its threshold, native; None where it is unknown.
    """
    other = other_instances(eyes, modality)
    rows = {GENUINE: _listed(genuine, modality, decided), OTHER_INSTANCE: _listed(other, modality, decided)}
    for kind, blocks in kinds.blocks.items():
        rows[kind] = _impostors(eyes, blocks, kinds.counts[kind], modality) | _zero_shift(eyes, blocks, rule)
    spread = impostor_spread(eyes.side(eyes.references), eyes.side(eyes.probes), rule=rule)
    bounds: Row = {"freedom_low": _known(spread.low), "freedom_high": _known(spread.high)}
    rows[IMPOSTOR] |= bounds
    return [{"kind": kind} | rows[kind] for kind in KINDS]


def doubt_rows(
    eyes: Eyes, kinds: ImpostorKinds, genuine: "pl.DataFrame", modality: BiometricModality, decided: float | None
) -> list[Row]:
    """The rows of `instance_doubts` of one model: pairs more alike than their labels let expect, closest first.

    One person's two instances that the threshold accepts, and pairs of two people that it accepts and that are as
    alike as most genuine comparisons (`AS_GENUINE`).

    Args:
        eyes, kinds, genuine, modality, decided: as of `comparison_rows`.
    """
    import polars as pl

    if decided is None:
        return []
    comparator = modality.comparator
    score = pl.col("score")
    accepted = other_instances(eyes, modality).filter(comparator.accepts(score, decided))
    found = [(OTHER_INSTANCE, accepted)]
    own = comparator.oriented(genuine["score"].drop_nulls().to_numpy())
    if own.size:
        limit = max(comparator.oriented(decided), float(np.quantile(own, 1 - AS_GENUINE)))
        close = kinds.counts[IMPOSTOR].tail.filter(score >= limit).sort(score, descending=True)
        subjects = close.select("reference_subject_id", "subject_id").unique(maintain_order=True).head(MOST_DOUBTS)
        pairs = _scored(eyes, eyes.of_subjects(subjects), modality)
        found.append((OTHER_SUBJECT, pairs.filter(comparator.accepts(score, comparator.oriented(limit)))))
    rows: list[Row] = []
    for kind, pairs in found:
        nearest = pairs.sort(comparator.oriented(score), "reference_id", "attempt_id", descending=[True, False, False])
        rows += [{"kind": kind} | row for row in nearest.head(MOST_DOUBTS).select(_PAIR).to_dicts()]
    return rows


def closest_rows(eyes: Eyes, kinds: ImpostorKinds, rule: HammingRule, modality: BiometricModality) -> list[Row]:
    """The rows of `closest_impostors` of one model: the lowest distances of two people, with what they rest on.

    Args:
        eyes, kinds, modality: as of `comparison_rows`.
        rule: of the model's comparator.
    """
    import polars as pl

    # The closest pairs are of the people of the closest scores: no tail names the templates.
    tail = kinds.counts[IMPOSTOR].tail.sort("score", descending=True).head(MOST_CLOSEST)
    pairs = eyes.of_subjects(tail.select("reference_subject_id", "subject_id").unique(maintain_order=True))
    places = (pairs["left"].to_numpy(), pairs["right"].to_numpy())
    found = compare(eyes.references.vectors, eyes.probes.vectors, places, rule)
    told = {name: getattr(found, name) for name in ("hd_raw", "bits_compared", "best_shift", "shifts_valid")}
    compared = pairs.with_columns(score=found.hd_norm, **told).filter(pl.col("score").is_not_nan())
    nearest = compared.sort(modality.comparator.oriented(pl.col("score")), *_NAMES, descending=[True, False, False])
    return nearest.head(tail.height).select(*_PAIR, *told).to_dicts()


_NAMES = ("reference_id", "attempt_id")
_PAIR = (*_NAMES, "reference_subject_id", "subject_id", "reference_instance", "instance", "score")


def other_instances(eyes: Eyes, modality: BiometricModality) -> "pl.DataFrame":
    """Compare the references of each subject with the probes of its other known instances, by native score."""
    import polars as pl

    own = eyes.references.rows.select("subject_id", reference_subject_id="subject_id").unique(maintain_order=True)
    sides = pl.col("reference_instance"), pl.col("instance")
    pairs = eyes.of_subjects(own).filter(sides[0] != sides[1], *(side != UNKNOWN_INSTANCE for side in sides))
    return _scored(eyes, pairs, modality)


def _scored(eyes: Eyes, pairs: "pl.DataFrame", modality: BiometricModality) -> "pl.DataFrame":
    import polars as pl

    places = (pairs["left"].to_numpy(), pairs["right"].to_numpy())
    scores = modality.scores(eyes.references.vectors, eyes.probes.vectors, places)
    return pairs.with_columns(pl.Series("score", scores, pl.Float64).fill_nan(None))


def _listed(pairs: "pl.DataFrame", modality: BiometricModality, decided: float | None) -> Row:
    """Of pairs of one person each: those that the threshold accepts, by subject."""
    import polars as pl

    known = pairs.drop_nulls("score")
    scores = known["score"].to_numpy()
    head: Row = {
        "n_pairs": known.height,
        "n_incomparable": pairs.height - known.height,
        "mean": float(scores.mean()) if known.height else None,
        "sd": float(scores.std()) if known.height else None,
    }
    if decided is None:
        return head | _no_threshold()
    matched = known.select("subject_id", is_match=modality.comparator.accepts(pl.col("score"), decided))
    people = matched.group_by("subject_id").agg(n=pl.len(), matches=pl.col("is_match").sum())
    return head | asdict(clustered_rate(people["matches"].to_numpy(), people["n"].to_numpy()))


def _blocks(eyes: Eyes, kind: str) -> list[Block]:
    """The parts of both sides that make up a kind of impostors; with each part its mirror image."""
    import polars as pl

    side = pl.col("instance")
    known = sorted({*eyes.references.rows["instance"], *eyes.probes.rows["instance"]} - {UNKNOWN_INSTANCE})
    if kind == UNKNOWN_SIDE:
        named, unnamed = side != UNKNOWN_INSTANCE, side == UNKNOWN_INSTANCE
        chosen = [(unnamed, unnamed), (unnamed, named), (named, unnamed)]
    else:
        pairs = [(one, other) for one in known for other in known if (one == other) == (kind == SAME_SIDE)]
        chosen = [(side == one, side == other) for one, other in pairs]
    return [(eyes.references.where(one), eyes.probes.where(other)) for one, other in chosen]


def _impostors(eyes: Eyes, blocks: Sequence[Block], counts: PairCounts, modality: BiometricModality) -> Row:
    """Pairs of two people: those that the threshold accepts, by both subjects."""
    mean, sd = moments_of(counts.histogram, counts.scale)
    head: Row = {
        "n_pairs": counts.n,
        "n_incomparable": counts.n_incomparable,
        "mean": None if mean is None else modality.comparator.oriented(mean),
        "sd": sd,
    }
    if counts.matches is None:
        return head | (asdict(NO_TRIAL) if not counts.n else _no_threshold())
    subjects = sorted({*eyes.references.rows["subject_id"], *eyes.probes.rows["subject_id"]})
    trials = _trials(subjects, blocks)
    if not accounts_for(trials, counts):
        n = counts.matches.n
        value: Row = {"value": n / counts.n, "numerator": n, "denominator": counts.n, "reason": NOT_ACCOUNTED}
        return head | value
    exact: Row = {"value": counts.matches.n / counts.n, "denominator": counts.n}
    return head | asdict(_rate(counts, counts.matches, subjects, trials)) | exact


def _rate(counts: PairCounts, matches: MatchCounts, subjects: Sequence[str], trials: CrossTrials) -> Rate:
    """By the pairs that match where the tail lists them all, as operating points have it; else by subjects' numbers."""
    import polars as pl

    if matches.threshold < counts.floor:
        known = dict(matches.of_subjects.iter_rows())
        return rate_of_subjects([known.get(subject, 0) for subject in subjects], trials=trials)
    listed, place = (
        counts.tail.filter(pl.col("score") >= matches.threshold),
        {name: n for n, name in enumerate(subjects)},
    )
    one, other = (
        np.array([place[name] for name in listed[side]], np.int64) for side in ("subject_id", "reference_subject_id")
    )
    return pair_rate((one, other), trials=trials)


def _trials(subjects: Sequence[str], blocks: Sequence[Block]) -> CrossTrials:
    """Who met whom: every reference of a block every probe, but two frames of all-pairs drops once."""
    import polars as pl

    def samples(templates: Templates, *, is_all_pairs: bool) -> "list[int]":
        own = templates.rows.filter(is_all_pairs=is_all_pairs).group_by("subject_id").agg(n=pl.len())
        known = dict(own.iter_rows())
        return [known.get(subject, 0) for subject in subjects]

    scale, left, right = [], [], []
    for reference, probe in blocks:
        enrolled = [np.array(samples(side, is_all_pairs=False)) for side in (reference, probe)]
        frames = [np.array(samples(side, is_all_pairs=True)) for side in (reference, probe)]
        scale += [2, -1]
        left += [enrolled[0] + frames[0], frames[0]]
        right += [enrolled[1] + frames[1], frames[1]]
    shape = (len(scale), len(subjects))
    terms = [np.array(side, np.int64).reshape(shape) for side in (left, right)]
    return CrossTrials(np.array(scale, np.int64), terms[0], terms[1], np.zeros(len(subjects), np.int64))


def _zero_shift(eyes: Eyes, blocks: Sequence[Block], rule: HammingRule) -> Row:
    """Raw distances without a rotation, as the degrees of freedom are defined on."""
    zero = replace(rule, shifts=1, norm="raw")
    counts = [count_codes(*map(eyes.side, block), rule=zero) for block in blocks]
    filled = [part for part in counts if part.n]
    if not filled:
        return {}
    mean, sd = moments_of(sum((part.histogram for part in filled), np.zeros_like(filled[0].histogram)), filled[0].scale)
    assert mean is not None
    assert sd is not None
    return {"zero_mean": -mean, "zero_sd": sd, "degrees_of_freedom": _known(degrees_of_freedom(-mean, sd))}


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _no_threshold() -> Row:
    return {"reason": "no decision threshold: the registry names none"}
