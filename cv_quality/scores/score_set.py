"""A score set: comparisons with their truth (genuine or impostor), and every row that was excluded.

Only the result type lives here; `cv_quality.scores.reading` makes it, `cv_quality.metrics` evaluates it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ScoreFileError
from cv_quality.scores.rows import QUALITIES, SUBJECTS
from cv_quality.scores.source import Kind, Polarity, PolaritySource, Reason

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class SubjectCodes:
    """The subjects of every row as whole numbers.

    Attributes:
        a: code of `subject_a`, 0 to len(names) - 1; shape (n,).
        b: code of `subject_b`; shape (n,).
        names: the subject of each code, ascending.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ScoreSet:
    """Comparisons of one evaluation. Higher scores mean more alike (liveness: more surely bona fide).

    Attributes:
        rows: one row per comparison that counts. `score` (Float64, or Float32 where every file holds float32) and
            `is_genuine` (Boolean) are always there and never null. `subject_a`, `subject_b` (the claimed or reference
            side first), `group_a`, `group_b`, `family_a`, `family_b`, `sample_a`, `sample_b`, `species` (all String)
            are columns only when a file has them, null in rows of other files. So are `quality_a`, `quality_b`
            (Float64, higher is better).
        excluded: the rows of the files that do not count: `file`, `line` (line, row or entry, from 1), `reason`,
            `score` (as in the file, never negated), `is_genuine`, `subject_a`, `subject_b`, `text` (a broken line).
        attacks: presentation attacks within a verification set, with the columns of `rows`. They are neither genuine
            nor zero-effort impostors: they give IAPAR, not FMR. Empty for most files.
        sources: the files, as named.
        format: the format or formats, joined by " + ".
        kind: "liveness" when every row that is not genuine is a presentation attack.
        polarity: what a score in the *files* means: "similarity" (higher is more alike), "distance" (lower is more
            alike) or "attack" (higher is more surely an attack). In `rows` the latter two are negated.
        polarity_source: "declared" by the caller or the file, "detected" from the scores, or "assumed".
        failed_subjects: subjects whose every comparison on one side is a sentinel; None where that cannot be told.
        notes: what was done, in sentences.
        warnings: what a reader of the results must know, in sentences.
    """

    rows: "pl.DataFrame"
    excluded: "pl.DataFrame"
    attacks: "pl.DataFrame"
    sources: tuple[str, ...]
    format: str
    kind: Kind
    polarity: Polarity
    polarity_source: PolaritySource
    failed_subjects: tuple[str, ...] | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def is_negated(self) -> bool:
        """Whether the scores of `rows` are those of the files with the sign turned."""
        return self.polarity != "similarity"

    @property
    def genuine(self) -> NDArray[np.floating]:
        """Scores of genuine comparisons, in the order of the files; shape (n_genuine,)."""
        return self._scores(is_genuine=True)

    @property
    def impostor(self) -> NDArray[np.floating]:
        """Scores of impostor comparisons (liveness: of attacks), in the order of the files; shape (n_impostor,)."""
        return self._scores(is_genuine=False)

    @property
    def n_genuine(self) -> int:
        return int(self.rows["is_genuine"].sum())

    @property
    def n_impostor(self) -> int:
        return len(self.rows) - self.n_genuine

    @property
    def n_failed_enrolments(self) -> int | None:
        """Number of subjects that failed to enrol; None where the files cannot tell."""
        return None if self.failed_subjects is None else len(self.failed_subjects)

    @property
    def has_subjects(self) -> bool:
        """Whether both subjects of every row are known."""
        return all(name in self.rows.columns and self.rows[name].null_count() == 0 for name in SUBJECTS)

    @property
    def has_qualities(self) -> bool:
        """Whether a quality of both samples of every genuine comparison is known."""
        if not set(QUALITIES) <= set(self.rows.columns):
            return False
        genuine = self.rows.filter(self.rows["is_genuine"])
        return all(genuine[name].null_count() == 0 for name in QUALITIES)

    def n_excluded(self, reason: Reason | None = None) -> int:
        """Count excluded rows, for one reason or for all."""
        return len(self.excluded) if reason is None else int((self.excluded["reason"] == reason).sum())

    def excluded_by_reason(self) -> dict[str, int]:
        """Count excluded rows by reason."""
        counts = self.excluded["reason"].value_counts(sort=True)
        return dict(zip(counts["reason"].to_list(), counts["count"].to_list(), strict=True))

    def in_file_units(self, score: float) -> float:
        """Convert a score or threshold of `rows` to units of the files: negated back where reading negated."""
        return -score if self.is_negated else score

    def subject_codes(self) -> SubjectCodes:
        """Number the subjects 0 to S - 1, the same code on either side.

        Raises:
            ScoreFileError: some row has no subjects.
        """
        import polars as pl

        if not self.has_subjects:
            raise ScoreFileError(f"{', '.join(self.sources)}: the files do not name both subjects of every comparison")
        names = pl.concat([self.rows["subject_a"].unique(), self.rows["subject_b"].unique()]).unique().sort()
        kind = pl.Enum(names)
        a, b = (self.rows[side].cast(kind).to_physical().to_numpy() for side in ("subject_a", "subject_b"))
        return SubjectCodes(a.astype(np.int64), b.astype(np.int64), tuple(names))

    def of_subjects(self, attribute: str) -> tuple[list[str | None], list[str]]:
        """Read what `attribute`_a and `attribute`_b say of each subject, in the order of the codes.

        Returns:
            One text for each subject, None where none is named; and the subjects of which several are.
        """
        import polars as pl

        sides = [
            self.rows.select(subject=f"subject_{side}", attribute=f"{attribute}_{side}").unique()
            for side in ("a", "b")
            if f"{attribute}_{side}" in self.rows.columns
        ]
        known = pl.concat(sides).drop_nulls().unique()
        torn = known.filter(pl.col("subject").is_duplicated())["subject"].unique().sort().to_list()
        named = dict(known.iter_rows())
        return [named.get(name) for name in self.subject_codes().names], torn

    def _scores(self, *, is_genuine: bool) -> NDArray[np.floating]:
        mask = self.rows["is_genuine"]
        return self.rows["score"].filter(mask if is_genuine else ~mask).to_numpy()
