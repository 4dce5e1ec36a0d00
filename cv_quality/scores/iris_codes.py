"""Compares iris codes with one another, all pairs, as a score set: without drops, builds or a model.

How codes are read is in `cv_quality.drops.importers.iris_templates`, whose eyes they are in `iris_names`; the distances
are those of `cv_quality.metrics.iris`, and what is made of them is in `cv_quality.scores.evaluation`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.importers.folders import some
from cv_quality.drops.importers.iris_codes import CodeLayout
from cv_quality.drops.importers.iris_drops import check_templates
from cv_quality.drops.importers.iris_names import read_eyes
from cv_quality.drops.importers.iris_templates import OPEN_IRIS, ReadTemplates, read_templates
from cv_quality.drops.importers.layouts import NamedSample
from cv_quality.drops.importers.sample_doubts import doubts, require_one_eye
from cv_quality.drops.importers.sample_tables import read_sample_table
from cv_quality.errors import ScoreFileError
from cv_quality.metrics.iris.hamming import compare
from cv_quality.metrics.iris.rules import HammingRule, Norm, default_minimum
from cv_quality.metrics.iris.spread import degrees_of_freedom
from cv_quality.metrics.pairs import Rows
from cv_quality.metrics.results import Result
from cv_quality.scores.rows import SUBJECTS, apart
from cv_quality.scores.score_set import ScoreSet
from cv_quality.scores.source import Reason

MAX_PAIRS: Final = 5_000_000
"""That are held in memory, of 3,162 templates; more of them are counted in blocks from a drop."""
BLOCK_PAIRS: Final = 250_000
SHIFTS: Final = 15


@dataclass(frozen=True, slots=True)
class PairKind(Result):
    """Comparisons of one kind, apart from the others.

    Attributes:
        n: how many could be compared.
        n_incomparable: how many had fewer bits in common than the rule's minimum at every rotation.
        mean, sd: of their distances; None without any, or with one.
    """

    n: int
    n_incomparable: int
    mean: float | None
    sd: float | None


@dataclass(frozen=True, slots=True)
class CodeFacts(Result):
    """What there is to say of compared codes beside their error rates; keys of the document.

    Attributes:
        rule: bits, bits of a rotation by one column, rotations, normalisation and minimum of the comparison.
        n_templates, n_failures: codes, and names without one, which are in no comparison.
        n_subjects, n_eyes: of the codes.
        genuine, impostor, left_right, other_eye: comparisons of one eye; of two people; those of them between a left
            and a right eye; and of a person's two eyes, which are neither genuine nor impostor.
        zero_shift: the impostors without rotation, raw.
        degrees_of_freedom: p (1 - p) / sd^2 of these; None where they do not vary.
    """

    rule: dict[str, str | int]
    n_templates: int
    n_failures: int
    n_subjects: int
    n_eyes: int
    genuine: PairKind
    impostor: PairKind
    left_right: PairKind
    other_eye: PairKind
    zero_shift: PairKind
    degrees_of_freedom: float | None


@dataclass(frozen=True, slots=True)
class ComparedCodes:
    """Codes as a score set, with what else there is to say of them."""

    scores: ScoreSet
    facts: CodeFacts


@dataclass(frozen=True, slots=True, eq=False)
class _Codes:
    """Templates in the order of their samples, with who they are as numbers."""

    packed: NDArray[np.uint64]
    names: tuple[str, ...]
    subject: NDArray[np.int64]
    eye: NDArray[np.int64]
    subjects: tuple[str, ...]


def compare_codes(
    path: Path,
    *,
    shifts: int = SHIFTS,
    norm: Norm = "raw",
    minimum_bits: int | None = None,
    shape: Sequence[int] = OPEN_IRIS,
    pattern: str | None = None,
    table: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ComparedCodes:
    """Compare every two codes of a folder or a file.

    Args:
        path, shape: as of `read_templates`.
        shifts, norm, minimum_bits: of the comparison; the minimum is by default a tenth of the bits.
        pattern, table: as of `read_samples`.
        progress: called with the pairs done and the pairs in all.

    Raises:
        DropError: the codes cannot be read, or whose they are is not plain.
        MetricError: a comparison cannot be of those settings.
        ScoreFileError: there are more pairs than are held in memory.
    """
    found = read_templates(path, shape=shape)
    samples, doubted = _whose(found, pattern=pattern, table=table)
    n_pairs = len(samples) * (len(samples) - 1) // 2
    if n_pairs > MAX_PAIRS:
        raise ScoreFileError(
            f"{path}: expected at most {MAX_PAIRS:,} pairs, found {n_pairs:,} of {len(samples):,} codes; import them "
            "by `cvq import iris --templates`, and `cvq run` counts every pair in blocks",
            file=str(path),
        )
    codes = _codes(found, samples)
    minimum = default_minimum(found.layout.bits) if minimum_bits is None else minimum_bits
    rule = HammingRule(found.layout.bits, found.layout.step, shifts, norm, minimum)
    blocks = []
    for done, (one, other) in _pairs(len(samples)):
        blocks.append(_compared(codes, one, other, rule))
        if progress:
            progress(done, n_pairs)
    pairs = _Pairs(*(np.concatenate(column) for column in zip(*blocks, strict=True)))
    facts = _facts(codes, pairs, rule, n_failures=len(found.failures))
    notes = (found.words, *doubted, *_said(facts, found.layout))
    scores = _score_set(codes, pairs, rule, path=path, notes=notes, warnings=found.said[1:])
    return ComparedCodes(scores, facts)


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Compared pairs: rows of the codes, and distances, NaN where nothing can be compared."""

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    distance: NDArray[np.float64]
    unshifted: NDArray[np.float64]


def _whose(
    found: ReadTemplates, *, pattern: str | None, table: Path | None
) -> tuple[list[NamedSample], tuple[str, ...]]:
    """The samples that have a template, with whose eye they are, and what may not be meant."""
    files = found.folder
    said = read_sample_table(table, root=files.root, pictures=files.pictures, has_eyes=True) if table else None
    people = said.subjects if said and said.subjects else found.subjects
    strange = [name for name in files.pictures if people and pattern is None and name not in people]
    if strange:
        raise ScoreFileError(
            f"{files.root}: expected a subject for every code, as for others, found {len(strange):,} without: "
            f"{some(strange)}; complete the table, or give --pattern"
        )
    reading = read_eyes(
        files.root,
        files.pictures,
        layout="auto",
        pattern=pattern,
        subjects=people if people and pattern is None else None,
        eyes={**found.eyes, **(said.eyes if said else {})},
    )
    valid = (sample for sample in reading.samples if sample.name not in found.failures)
    samples = sorted(valid, key=lambda sample: sample.subject)
    if not samples:
        raise ScoreFileError(f"{files.root}: none of {len(files.pictures):,} codes has a valid bit: {found.said[-1]}")
    checked = check_templates(found)
    require_one_eye(samples, checked.digests, where=str(files.root))
    return samples, (*(said.notes if said else ()), *doubts(samples, checked, links=()))


def _codes(found: ReadTemplates, samples: Sequence[NamedSample]) -> _Codes:
    subjects = sorted({sample.subject for sample in samples})
    number = {subject: code for code, subject in enumerate(subjects)}
    eyes = {"left": 0, "right": 1, "unknown": 2}
    return _Codes(
        packed=found.packed[[found.places[sample.name] for sample in samples]],
        names=tuple(sample.name for sample in samples),
        subject=np.array([number[sample.subject] for sample in samples], dtype=np.int64),
        eye=np.array([eyes[sample.eye] for sample in samples], dtype=np.int64),
        subjects=tuple(subjects),
    )


def _pairs(n: int) -> Iterator[tuple[int, Rows]]:
    """Every two of n rows, in blocks, with how many pairs are done after each."""
    done, start = 0, 0
    while start < n - 1:
        stop, size = start, 0
        while stop < n - 1 and (stop == start or size + n - 1 - stop <= BLOCK_PAIRS):
            size += n - 1 - stop
            stop += 1
        one = np.repeat(np.arange(start, stop), n - 1 - np.arange(start, stop))
        other = np.concatenate([np.arange(first + 1, n) for first in range(start, stop)])
        done, start = done + size, stop
        yield done, (one, other)


def _compared(
    codes: _Codes, one: NDArray[np.int64], other: NDArray[np.int64], rule: HammingRule
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    plain = HammingRule(rule.bits, rule.step, 1, "raw", rule.minimum_bits)
    packed = codes.packed
    distance = compare(packed, packed, (one, other), rule).hd_norm
    return one, other, distance, compare(packed, packed, (one, other), plain).hd_raw


def _kinds(codes: _Codes, pairs: _Pairs) -> dict[str, NDArray[np.bool_]]:
    """Which pairs are of one eye, of a person's two eyes, of two people, and of a left and a right eye of these."""
    same_person = codes.subject[pairs.one] == codes.subject[pairs.other]
    one, other = codes.eye[pairs.one], codes.eye[pairs.other]
    return {
        "genuine": same_person & (one == other),
        "other_eye": same_person & (one != other),
        "impostor": ~same_person,
        "left_right": ~same_person & (one + other == 1),
    }


def _facts(codes: _Codes, pairs: _Pairs, rule: HammingRule, *, n_failures: int) -> CodeFacts:
    kinds = _kinds(codes, pairs)
    zero = _kind(pairs.unshifted[kinds["impostor"]])
    freedom = degrees_of_freedom(zero.mean, zero.sd) if zero.mean is not None and zero.sd else None
    return CodeFacts(
        rule={name: getattr(rule, name) for name in ("bits", "step", "shifts", "norm", "minimum_bits")},
        n_templates=len(codes.names),
        n_failures=n_failures,
        n_subjects=len(codes.subjects),
        n_eyes=len(set(zip(codes.subject.tolist(), codes.eye.tolist(), strict=True))),
        zero_shift=zero,
        degrees_of_freedom=freedom,
        **{name: _kind(pairs.distance[rows]) for name, rows in kinds.items()},
    )


def _kind(distances: NDArray[np.float64]) -> PairKind:
    known = distances[~np.isnan(distances)]
    return PairKind(
        n=len(known),
        n_incomparable=len(distances) - len(known),
        mean=float(known.mean()) if len(known) else None,
        sd=float(known.std(ddof=1)) if len(known) > 1 else None,
    )


def _said(facts: CodeFacts, layout: CodeLayout) -> Iterator[str]:
    rule = facts.rule
    yield (
        f"compared by {rule['shifts']} rotations of {layout.step:,} bits, {rule['norm']} distance, at least "
        f"{rule['minimum_bits']:,} bits valid in both; smaller is more alike"
    )
    for name, kind in (
        ("genuine comparisons, of one eye", facts.genuine),
        ("impostor comparisons, of two people", facts.impostor),
        ("of these between a left and a right eye", facts.left_right),
        ("a person's two eyes, neither genuine nor impostor", facts.other_eye),
    ):
        spread = "" if kind.mean is None else f", mean {kind.mean:.4f}" + (f" +- {kind.sd:.4f}" if kind.sd else "")
        lost = f", {kind.n_incomparable:,} not comparable" if kind.n_incomparable else ""
        yield f"{name}: {kind.n:,}{spread}{lost}"
    if facts.degrees_of_freedom is not None:
        mean, sd = facts.zero_shift.mean, facts.zero_shift.sd
        yield f"impostors without rotation: {mean:.4f} +- {sd:.4f}, {facts.degrees_of_freedom:,.0f} degrees of freedom"


def _score_set(
    codes: _Codes, pairs: _Pairs, rule: HammingRule, *, path: Path, notes: Sequence[str], warnings: Sequence[str]
) -> ScoreSet:
    import polars as pl

    kinds, subjects = _kinds(codes, pairs), pl.Series(codes.subjects)
    everything = pl.DataFrame(
        {
            "line": np.arange(1, len(pairs.one) + 1),
            "score": -pairs.distance,
            "is_genuine": kinds["genuine"],
            "subject_a": subjects.gather(codes.subject[pairs.one]),
            "subject_b": subjects.gather(codes.subject[pairs.other]),
            "is_other_eye": kinds["other_eye"],
        }
    ).with_columns(pl.col("score").fill_nan(None))
    is_other, is_known = pl.col("is_other_eye"), pl.col("score").is_not_null()
    reasons: list[tuple[Reason, pl.Expr]] = [("not_comparable", ~is_known & ~is_other), ("other_eye", is_other)]
    excluded = [
        apart(everything.filter(chosen).with_columns(-pl.col("score")), file=str(path), reason=reason)
        for reason, chosen in reasons
    ]
    rows = everything.filter(is_known & ~is_other).select("score", "is_genuine", *SUBJECTS)
    return ScoreSet(
        rows=rows,
        excluded=pl.concat(excluded),
        attacks=rows.clear(),
        sources=(str(path),),
        format=f"iris codes, {rule.bits:,} bits, {rule.shifts} rotations, {rule.norm} distance",
        kind="verification",
        polarity="distance",
        polarity_source="declared",
        failed_subjects=None,
        notes=tuple(notes),
        warnings=tuple(warnings),
    )
