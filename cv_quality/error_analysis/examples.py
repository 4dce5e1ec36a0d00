"""Attempts that show what a slice is about: typical failures, their nearest passes, and pairs one condition apart.

Only rows are chosen here, by conditions and scores alone and never by consent; what may be shown of them is decided in
`cv_quality.tasks.verification.report.thumbnails`. Slices are found in `cv_quality.error_analysis.discovery`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.error_analysis.slices import Slice
from cv_quality.errors import SliceError
from cv_quality.tasks.root_causes.tables import EXAMPLES
from cv_quality.tasks.verification.modalities.face import CONDITIONS

if TYPE_CHECKING:
    import polars as pl

N_TYPICAL, N_PAIRS = 4, 3
TOLERANCE = 0.25
"""Two numbers count as equal up to this part of their column's spread, from the 5th to the 95th percentile."""
LOGARITHMIC = frozenset({"illuminance_lux"})
"""Columns whose distances are those of their logarithms."""
BANDS_OF = {"illuminance_band": "illuminance_lux"}
COLUMNS = (
    *(column.name for column in CONDITIONS),
    "device_model",
    "camera_supplier",
    "age_band",
    "sex",
    "skin_tone_band",
)
"""What two attempts are compared by, as far as it was recorded."""
IDENTITY = ("drop_id", "attempt_id", "subject_id", "score", "is_failure")
PASSES_SEARCHED, FAILURES_SEARCHED, FAILURES_PAIRED = 20_000, 50_000, 256
"""Beyond so many rows a seeded sample is searched, to which the passes of the failure's own subject are added. A
condition apart are sought the failures nearest to the slice's centre."""

Rows = NDArray[np.intp]
Distances = NDArray[np.float32]
Exemplar = dict[str, str | int | float | None]


@dataclass(frozen=True, slots=True)
class _Conditions:
    """The compared columns of all attempts as numbers, shape (attempts, columns); NaN is missing.

    Numbers are divided by the spread of their column, so that a distance of 1 is the whole spread; a category is a
    code of its own.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    is_number: NDArray[np.bool_]

    def distances(self, point: NDArray[np.float32], rows: Rows) -> Distances:
        """Distance of a point to each row in each column, 0 to 1, shape (rows, columns).

        Numbers count their difference, at most 1; categories 0 if equal, else 1; missing is a value of its own.
        """
        others = self.values[rows]
        apart = np.abs(others - point)
        found = np.where(self.is_number, np.minimum(apart, 1), apart > 0).astype(np.float32)
        missing = np.isnan(others) != np.isnan(point)
        distances: Distances = np.where(np.isnan(apart), missing, found).astype(np.float32)
        return distances

    def same(self, distances: Distances) -> NDArray[np.bool_]:
        """Whether the values count as equal, per row and column."""
        equal: NDArray[np.bool_] = distances <= np.where(self.is_number, np.float32(TOLERANCE), np.float32(0))
        return equal


@dataclass(frozen=True, slots=True)
class _Attempts:
    """The attempts in a fixed order, with what is asked of them again and again."""

    frame: "pl.DataFrame"
    conditions: _Conditions
    score: NDArray[np.float32]
    subject: NDArray[np.int64]
    is_failure: NDArray[np.bool_]


def choose_exemplars(attempts: "pl.DataFrame", *, slices: Sequence[Slice], seed: int = 0) -> "pl.DataFrame":
    """Attempts that show what each slice is about, as rows of `exemplars` without its build and outcome.

    Per slice, its rows in slices before it set aside where failures remain:

    - `failure`: up to four failures of different subjects nearest to the slice's failures as a whole: to the median of
      every number, the commonest of every category, and the median score;
    - `nearest_pass`: for each of them, under the same position, the nearest pass of the same subject; the nearest of
      anyone where the subject has none;
    - `differs_in_one`: up to three failures of different subjects, each with a pass outside of the slice that equals
      it in every recorded condition but one, which is one of the slice's own columns; passes of the same subject
      first. `difference` names the condition with the failure's value and that of the pass.

    Nearness is Gower's mean over the columns of `COLUMNS`, and the slices' own: numbers count their difference over
    the spread from the 5th to the 95th percentile, at most 1 (illuminance on a logarithmic scale), categories count 0
    or 1 (Gower, Biometrics 27, 1971). Two numbers are equal when they differ by at most a quarter
    of the spread.

    Args:
        attempts: genuine bona fide rows of `attempt_outcomes` with a boolean `is_failure`, each attempt once.
        slices: in the order of their rank, the best first.
        seed: of the sample that is searched beyond 20,000 passes or 50,000 failures.

    Raises:
        SliceError: a column that identifies attempts, or one of a slice, is missing.
    """
    import polars as pl

    _check(attempts, slices)
    types = dict(_schema())
    if not slices or attempts.is_empty():
        return pl.DataFrame(schema=types)
    prepared = _prepare(attempts, slices)
    rng = np.random.default_rng(seed)
    rows: list[Exemplar] = []
    taken = np.zeros(attempts.height, dtype=np.bool_)
    for rank, found in enumerate(slices, 1):
        inside = prepared.frame.select(found.expression()).to_series().to_numpy()
        own = inside & ~taken if (inside & ~taken & prepared.is_failure).any() else inside
        rows += [{"rank": rank, **row} for row in _of_slice(prepared, found, inside=inside, own=own, rng=rng)]
        taken |= inside
    return pl.DataFrame(rows, schema=types, orient="row")


def _schema() -> Iterator[tuple[str, "pl.DataType"]]:
    """Name and type of every column of `exemplars` but its build and outcome."""
    import polars as pl

    empty = pl.from_arrow(EXAMPLES.arrow_schema.empty_table())
    assert isinstance(empty, pl.DataFrame)
    return ((name, kind) for name, kind in empty.schema.items() if name not in ("build_id", "outcome"))


def _check(attempts: "pl.DataFrame", slices: Sequence[Slice]) -> None:
    wanted = (*IDENTITY, *(column for found in slices for column in found.columns))
    missing = sorted(set(wanted) - set(attempts.columns))
    if missing:
        raise SliceError(f"expected attempts with the columns {', '.join(missing)}, found {attempts.columns}")


def _prepare(attempts: "pl.DataFrame", slices: Sequence[Slice]) -> _Attempts:
    import polars as pl

    named = [name for found in slices for name in found.columns]
    asked = dict.fromkeys((*COLUMNS, *(BANDS_OF.get(name, name) for name in named)))
    names = tuple(name for name in asked if name in attempts.columns)
    frame = attempts.select(*dict.fromkeys((*IDENTITY, *names, *named))).sort("drop_id", "attempt_id")
    is_number = np.array([frame.schema[name].is_numeric() for name in names], dtype=np.bool_)
    columns = [
        _numbers(frame[name]) if number else _codes(frame[name]) for name, number in zip(names, is_number, strict=True)
    ]
    return _Attempts(
        frame=frame,
        conditions=_Conditions(names, np.column_stack(columns).astype(np.float32), is_number),
        score=_scaled(frame["score"].cast(pl.Float64).to_numpy()).astype(np.float32),
        subject=frame["subject_id"].rank("dense").cast(pl.Int64).to_numpy(),
        is_failure=frame["is_failure"].cast(pl.Boolean).fill_null(False).to_numpy(),
    )


def _numbers(column: "pl.Series") -> NDArray[np.float64]:
    import polars as pl

    values = column.cast(pl.Float64).to_numpy().copy()
    values[~np.isfinite(values)] = np.nan
    if column.name in LOGARITHMIC:
        values = np.log10(np.maximum(values, 0.1))
    return _scaled(values)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Numbers over the spread between their 5th and 95th percentile, or over their range where there is none."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return values
    low, high = np.quantile(known, (0.05, 0.95))
    spread = float(high - low) or float(known.max() - known.min()) or 1.0
    scaled: NDArray[np.float64] = (values - float(np.median(known))) / spread
    return scaled


def _codes(column: "pl.Series") -> NDArray[np.float64]:
    """Categories as the ranks of their names; null becomes NaN."""
    import polars as pl

    return column.cast(pl.String).rank("dense").cast(pl.Float64).to_numpy()


def _of_slice(
    attempts: _Attempts,
    found: Slice,
    *,
    inside: NDArray[np.bool_],
    own: NDArray[np.bool_],
    rng: np.random.Generator,
) -> list[Exemplar]:
    failures = _sample(np.flatnonzero(own & attempts.is_failure), FAILURES_SEARCHED, rng)
    if failures.size == 0:
        return []
    ordered = failures[np.argsort(_distance_to_centre(attempts, failures), kind="stable")]
    typical = _one_a_subject(attempts, ordered, N_TYPICAL)
    passes = np.flatnonzero(~attempts.is_failure)
    near = _nearest_passes(attempts, typical, _Passes.of(attempts, passes, rng))
    outside = _Passes.of(attempts, passes[~inside[passes]], rng)
    pairs = _pairs(attempts, found, ordered[:FAILURES_PAIRED], outside)
    return [
        *(_row(attempts, "failure", position, row) for position, row in enumerate(typical, 1)),
        *(
            _row(attempts, "nearest_pass", position, row, partner=failure)
            for position, (failure, row) in enumerate(zip(typical, near, strict=True), 1)
            if row is not None
        ),
        *(
            _row(attempts, "differs_in_one", position, pair.failure, partner=pair.passed, column=pair.column)
            for position, pair in enumerate(pairs, 1)
        ),
    ]


def _sample(rows: Rows, at_most: int, rng: np.random.Generator) -> Rows:
    return rows if rows.size <= at_most else np.sort(rng.choice(rows, at_most, replace=False))


def _distance_to_centre(attempts: _Attempts, failures: Rows) -> Distances:
    """Gower distance of each failure to what is usual among them, the score counted as one more column."""
    values = attempts.conditions.values[failures]
    centre = np.array(
        [
            _median(column) if number else _commonest(column)
            for column, number in zip(values.T, attempts.conditions.is_number, strict=True)
        ],
        dtype=np.float32,
    )
    score = attempts.score[failures]
    apart = np.abs(score - _median(score))
    score_distance = np.where(np.isnan(apart), np.isnan(score) != np.isnan(_median(score)), np.minimum(apart, 1))
    columns = np.column_stack([attempts.conditions.distances(centre, failures), score_distance])
    distances: Distances = columns.mean(axis=1).astype(np.float32)
    return distances


def _median(values: NDArray[np.float32]) -> np.float32:
    """The median; NaN where more than half of the values are missing."""
    known = values[~np.isnan(values)]
    return np.float32(np.median(known)) if 2 * known.size >= values.size else np.float32(np.nan)


def _commonest(codes: NDArray[np.float32]) -> np.float32:
    values, counts = np.unique(codes, return_counts=True)
    return np.float32(values[np.argmax(counts)])


def _one_a_subject(attempts: _Attempts, ordered: Rows, n: int) -> Rows:
    """The first row of each subject, up to `n`, in the order given."""
    _, first = np.unique(attempts.subject[ordered], return_index=True)
    return ordered[np.sort(first)[:n]]


@dataclass(frozen=True, slots=True)
class _Passes:
    """Passes to search: a sample of all, and all of any one subject."""

    sampled: Rows
    by_subject: Rows
    subjects: NDArray[np.int64]

    @classmethod
    def of(cls, attempts: _Attempts, passes: Rows, rng: np.random.Generator) -> "_Passes":
        by_subject = passes[np.argsort(attempts.subject[passes], kind="stable")]
        return cls(_sample(passes, PASSES_SEARCHED, rng), by_subject, attempts.subject[by_subject])

    def of_subject(self, subject: np.int64) -> Rows:
        first, last = np.searchsorted(self.subjects, subject, "left"), np.searchsorted(self.subjects, subject, "right")
        return self.by_subject[first:last]


def _nearest_passes(attempts: _Attempts, failures: Rows, passes: _Passes) -> "list[np.intp | None]":
    """For each failure the nearest pass of its own subject, else of anyone; None where nobody passed."""
    found: list[np.intp | None] = []
    for failure in failures:
        own = passes.of_subject(attempts.subject[failure])
        searched = own if own.size else passes.sampled
        distances = attempts.conditions.distances(attempts.conditions.values[failure], searched).mean(axis=1)
        found.append(searched[np.argmin(distances)] if searched.size else None)
    return found


@dataclass(frozen=True, slots=True, order=True)
class _Pair:
    """A failure and a pass that differ in one column; the order is that of preference."""

    is_other_subject: bool
    distance: float
    failure: np.intp
    passed: np.intp
    column: int


def _pairs(attempts: _Attempts, found: Slice, failures: Rows, passes: _Passes) -> list[_Pair]:
    """The best pairs, each of another subject's failure."""
    own = {BANDS_OF.get(name, name) for name in found.columns}
    is_own = np.array([name in own for name in attempts.conditions.names], dtype=np.bool_)
    best: dict[np.int64, _Pair] = {}
    for failure in failures:
        pair = _best_pair(attempts, failure, passes, is_own)
        subject = attempts.subject[failure]
        if pair is not None and (subject not in best or pair < best[subject]):
            best[subject] = pair
    return sorted(best.values())[:N_PAIRS]


def _best_pair(attempts: _Attempts, failure: np.intp, passes: _Passes, is_own: NDArray[np.bool_]) -> _Pair | None:
    """The pass that differs from the failure in one of the slice's columns and is nearest in all others."""
    subject = attempts.subject[failure]
    for is_other, searched in ((False, passes.of_subject(subject)), (True, passes.sampled)):
        distances = attempts.conditions.distances(attempts.conditions.values[failure], searched)
        differs = ~attempts.conditions.same(distances)
        fits = np.flatnonzero((differs.sum(axis=1) == 1) & differs[:, is_own].any(axis=1))
        if fits.size:
            rest = np.where(differs[fits], 0, distances[fits]).mean(axis=1)
            nearest = fits[np.argmin(rest)]
            column = int(np.flatnonzero(differs[nearest])[0])
            return _Pair(is_other, float(rest.min()), failure, searched[nearest], column)
    return None


def _row(
    attempts: _Attempts,
    role: str,
    position: int,
    row: np.intp,
    *,
    partner: "np.intp | None" = None,
    column: int | None = None,
) -> Exemplar:
    own = attempts.frame.row(int(row), named=True)
    other = attempts.frame.row(int(partner), named=True) if partner is not None else {}
    name = attempts.conditions.names[column] if column is not None else None
    return {
        "role": role,
        "position": position,
        **{key: own[key] for key in ("drop_id", "attempt_id", "subject_id", "score")},
        "partner_drop_id": other.get("drop_id"),
        "partner_attempt_id": other.get("attempt_id"),
        "difference": f"{name} {_words(own[name])} against {_words(other[name])}" if name is not None else None,
    }


def _words(value: object) -> str:
    """A value for people.

    >>> _words(4.2345), _words(1234.5), _words("glasses"), _words(None)
    ('4.23', '1234', 'glasses', 'missing')
    """
    if isinstance(value, float) and np.isfinite(value):
        return f"{value:.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return "missing" if value is None else str(value)
