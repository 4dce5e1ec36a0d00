"""The scores of one model over a build's drops, with subjects as codes: what points, intervals and groups are made of.

Genuine scores come from the comparisons, impostor scores from the counted cross-subject pairs. How a threshold is found
is in `cv_quality.metrics.operating_points`, how sure it is in `cv_quality.metrics.bootstrap`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.pairs import PairCounts
from cv_quality.metrics.trials import CrossTrials
from cv_quality.tasks.verification.impostors import read_impostors
from cv_quality.tasks.verification.samples import BONA_FIDE
from cv_quality.tasks.verification.tables import COMPARISONS, IMPOSTOR_TRIALS

if TYPE_CHECKING:
    import polars as pl

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tail:
    """The highest impostor scores, highest first.

    Attributes:
        one, other: codes of the two subjects, shape (k,).
        scores: shape (k,).
    """

    one: Codes
    other: Codes
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)

    def at_least(self, threshold: float) -> tuple[Codes, Codes]:
        """The subjects of every impostor comparison at or above the threshold."""
        kept = int(np.searchsorted(-self.scores, -threshold, side="right"))
        return self.one[:kept], self.other[:kept]


@dataclass(frozen=True, slots=True)
class BuildScores:
    """Genuine and impostor scores of one model over the drops of a build.

    Attributes:
        subjects: the subject of each code, ascending.
        genuine_scores, genuine_subjects: every bona fide genuine comparison, shape (n_genuine,).
        counts: all cross-subject pairs.
        tail: the highest of them.
        trials: who was compared with whom; None when the subjects' samples do not account for every pair.
    """

    subjects: tuple[str, ...]
    genuine_scores: NDArray[np.float64]
    genuine_subjects: Codes
    counts: PairCounts
    tail: Tail
    trials: CrossTrials | None

    def reaches(self, threshold: float) -> bool:
        """Whether the tail has every impostor comparison at or above the threshold."""
        return threshold >= self.counts.floor


def read_build_scores(lake: Lake, *, build: str, model_build: str, drops: Sequence[str]) -> BuildScores:
    """Read what a model scored on a build's drops.

    Raises:
        MissingTable: a drop is not compared, or the build's impostor pairs are not counted.
    """
    import polars as pl

    counts = read_impostors(lake, build=build, model_build=model_build)
    samples = lake.read(IMPOSTOR_TRIALS, TableKey(build=build)).filter(model_build_id=model_build)
    genuine = _genuine(lake, model_build=model_build, drops=drops)
    names = pl.concat([samples["subject_id"], genuine["subject_id"]]).unique().sort()
    return BuildScores(
        subjects=tuple(names),
        genuine_scores=genuine["score"].to_numpy(),
        genuine_subjects=_codes(genuine["subject_id"], names),
        counts=counts,
        tail=_tail(counts.tail, names),
        trials=_trials(samples, names, n=counts.n),
    )


def _genuine(lake: Lake, *, model_build: str, drops: Sequence[str]) -> "pl.DataFrame":
    """Score and subject of every bona fide genuine comparison."""
    import polars as pl

    rows = lake.scan(COMPARISONS, [TableKey(build=model_build, drop=drop) for drop in drops])
    rows = rows.filter(pl.col("is_genuine") & (pl.col("presentation") == BONA_FIDE))
    return rows.select("subject_id", "score").sort("subject_id", "score").collect()


def _codes(subjects: "pl.Series", names: "pl.Series") -> Codes:
    import polars as pl

    codes: Codes = subjects.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    return codes


def _tail(rows: "pl.DataFrame", names: "pl.Series") -> Tail:
    ordered = rows.sort("score", "subject_id", "reference_subject_id", descending=True)
    one, other = (_codes(ordered[side], names) for side in ("subject_id", "reference_subject_id"))
    return Tail(one, other, ordered["score"].to_numpy())


def _trials(samples: "pl.DataFrame", names: "pl.Series", *, n: int) -> CrossTrials | None:
    """Trials of all subjects, unless some frame is only reference or only probe and they do not add up to `n`."""
    import polars as pl

    every = pl.DataFrame({"subject_id": names}).join(samples, on="subject_id", how="left", maintain_order="left")
    columns = ("n_references", "n_probes", "n_frames")
    trials = CrossTrials.of_drops(*(every[name].fill_null(0).to_numpy() for name in columns))
    return trials if trials.n == n else None
