"""Reads the oriented scores of one model over a build's drops: what points, intervals and groups are made of.

Genuine scores come from the comparisons, impostor scores from the counted cross-subject pairs. How a threshold is found
is in `cv_quality.metrics.operating_points`, its uncertainty in `cv_quality.metrics.point_intervals`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cv_quality.drops.tables import FAMILY_ID, SUBJECTS
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.pairs import PairCounts
from cv_quality.metrics.point_intervals import BuildScores
from cv_quality.metrics.trials import Codes, CrossTrials
from cv_quality.tasks.verification.impostors import read_impostors
from cv_quality.tasks.verification.modality import Comparator
from cv_quality.tasks.verification.samples import BONA_FIDE
from cv_quality.tasks.verification.tables import COMPARISONS, IMPOSTOR_TRIALS

if TYPE_CHECKING:
    import polars as pl


MOST_INCOMPARABLE_SHARE = 0.01
"""Up to so many pairs that cannot be compared stay among the trials of their subjects, where intervals are made."""


def read_build_scores(
    lake: Lake,
    *,
    build: str,
    model_build: str,
    drops: Sequence[str],
    comparator: Comparator,
    family_of: Mapping[str, str],
    subjects: Iterable[str] = (),
) -> BuildScores:
    """Read what a model scored on a build's drops.

    Args:
        build: the build under evaluation.
        model_build: whose model made the templates.
        drops: the drops of the genuine comparisons; the impostor pairs are those of the build's counted pairs.
        comparator: turns the tables' scores into oriented ones.
        family_of: the first subject of the family of each subject that has one (`read_families`).
        subjects: who has a code though the model may not have compared them.

    Raises:
        MissingTable: a drop is not compared, or the build's impostor pairs are not counted.
    """
    counts = read_impostors(lake, build=build, model_build=model_build, comparator=comparator)
    samples = lake.read(IMPOSTOR_TRIALS, TableKey(build=build)).filter(model_build_id=model_build)
    genuine = _genuine(lake, model_build=model_build, drops=drops, comparator=comparator)
    return scores_of(counts, samples, genuine, family_of=family_of, subjects=subjects)


def scores_of(
    counts: PairCounts,
    samples: "pl.DataFrame",
    genuine: "pl.DataFrame",
    *,
    family_of: Mapping[str, str],
    subjects: Iterable[str] = (),
) -> BuildScores:
    """Bring genuine scores and counted pairs together, subjects as codes.

    Args:
        counts: all cross-subject pairs.
        samples: of each subject, as `impostor_trials` has them: `n_references`, `n_probes`, `n_frames`.
        genuine: `subject_id` and the oriented `score` of every genuine comparison.
        family_of: as `read_families` gives it.
        subjects: who has a code beside those of samples and scores.
    """
    import polars as pl

    others = pl.Series("subject_id", list(subjects), pl.String)
    names = pl.concat([samples["subject_id"], genuine["subject_id"], others]).unique().sort()
    tail = counts.tail.sort("score", "subject_id", "reference_subject_id", descending=True)
    one, other = (_codes(tail[side], names) for side in ("subject_id", "reference_subject_id"))
    scores, people, trials = genuine["score"].to_numpy(), _codes(genuine["subject_id"], names), _trials(samples, names)
    highest, families = tail["score"].to_numpy(), _codes(names.replace(family_of), names)
    by_subject = clustered = None
    if accounts_for(trials, counts):
        by_subject = clustered = ClusteredScores.of(scores, people, (one, other, highest), trials)
        if family_of:
            relatives = families[one], families[other], highest
            clustered = ClusteredScores.of(scores, families[people], relatives, trials.clustered(families))
    return BuildScores(
        subjects=tuple(names),
        families=families,
        genuine_scores=scores,
        genuine_subjects=people,
        counts=counts,
        by_subject=by_subject,
        clustered=clustered,
    )


def accounts_for(trials: CrossTrials, counts: PairCounts) -> bool:
    """Tell whether subjects' samples are those of the pairs counted, but for a few that cannot be compared."""
    most_missing = min(counts.n_incomparable, MOST_INCOMPARABLE_SHARE * counts.n)
    return counts.n <= trials.n <= counts.n + most_missing


def read_families(lake: Lake, *, drops: Sequence[str]) -> dict[str, str]:
    """Read who is alike: each subject that shares a family, to the first subject of all families that hang together.

    A subject that drops name in several families joins them.

    Args:
        drops: those whose subject events are asked.
    """
    import polars as pl
    from scipy.sparse import coo_array, csgraph

    rows = lake.scan(SUBJECTS, [TableKey(drop=drop) for drop in drops]).select("subject_id", FAMILY_ID.name)
    named = rows.drop_nulls().unique().sort("subject_id").collect()
    people, families = (np.unique(named[name].to_numpy(), return_inverse=True)[1] for name in named.columns)
    ties = coo_array((np.ones(len(people)), (people, len(people) + families)), shape=(2 * len(people),) * 2)
    parts = csgraph.connected_components(ties, directed=False)[1] if len(people) else people
    joined = named.with_columns(part=parts[people]).select(
        "subject_id", first=pl.col("subject_id").first().over("part")
    )
    shared = joined.filter(pl.col("subject_id").n_unique().over("first") > 1)
    return dict(shared.iter_rows())


def _genuine(lake: Lake, *, model_build: str, drops: Sequence[str], comparator: Comparator) -> "pl.DataFrame":
    import polars as pl

    rows = lake.scan(COMPARISONS, [TableKey(build=model_build, drop=drop) for drop in drops])
    rows = rows.filter("is_genuine", pl.col("presentation") == BONA_FIDE, pl.col("score").is_not_null())
    return rows.select("subject_id", score=comparator.oriented(pl.col("score"))).sort("subject_id", "score").collect()


def _codes(subjects: "pl.Series", names: "pl.Series") -> Codes:
    import polars as pl

    codes: Codes = subjects.cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
    return codes


def _trials(samples: "pl.DataFrame", names: "pl.Series") -> CrossTrials:
    """Trials of all subjects; fewer than the counted pairs where some frame is only reference or only probe."""
    import polars as pl

    every = pl.DataFrame({"subject_id": names}).join(samples, on="subject_id", how="left", maintain_order="left")
    columns = ("n_references", "n_probes", "n_frames")
    return CrossTrials.of_drops(*(every[name].fill_null(0).to_numpy() for name in columns))
