"""The populations of verification: attempts by outcome, decisions that flip between device and re-inference, and
comparisons where all images of a drop are compared.

How they are searched, and what is written of them, is in `cv_quality.tasks.root_causes`.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cv_quality.builds import modality_of, own_drops
from cv_quality.drops.tables import DROP_FILES, FRAME_INDEX
from cv_quality.error_analysis.population import Outcome, Population
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.modality import Modality, of_modality
from cv_quality.tasks.verification.comparisons import involved_attempts
from cv_quality.tasks.verification.dimensions import dimensions_of, searched_columns
from cv_quality.tasks.verification.modality import biometric
from cv_quality.tasks.verification.parity import device_decisions
from cv_quality.tasks.verification.samples import BONA_FIDE, drop_facts
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, OUTCOMES, UNDECIDED
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    import polars as pl

ATTEMPT = "genuine attempt"
FRR = Outcome("frr", rate="FRR", failures="false rejects", trial=ATTEMPT)
"""The outcome sought first: any but accepted."""
FNMR = Outcome("fnmr", rate="FNMR", failures="false non-matches", trial=ATTEMPT)
"""Sought where all images of a drop are compared: a genuine comparison below the threshold."""
FAR = Outcome("far", rate="FAR", failures="false accepts", trial="impostor attempt")
"""Not searched, but looked through: an impostor attempt that really happened, and was accepted."""
FLIP = Outcome("decision_flip", rate="flip rate", failures="decision flips", trial="attempt decided on the device")
"""Sought where devices logged scores or decisions: the device accepts and re-inference does not, or the other way."""
ACCEPTED = "accepted"
OF_IMAGES = ("image_height_px", "site")
"""What else is searched where all images of a drop are compared: folders of images say little more of themselves."""
MIN_FAILURES = 20
"""Failures of a single stage, or flips, below which they are not searched: their subjects could explain them."""
MAX_SHARE_OF_REJECTS = 0.75
"""A stage that ended more than this part of the false rejects would only be found again."""


def genuine_attempts(
    lake: Lake, *, build: str, drops: Sequence[str], modality: Modality, model: str | None = None
) -> "pl.DataFrame":
    """Read the genuine bona fide attempts of a build's drops with their outcomes, and `is_failure`: not accepted.

    Attempts whose end is not known are left out.

    In a drop that pairs all images, every image is an attempt at the other images of its subject, and fails when it
    matches none of them.

    Args:
        lake: to read from.
        build: whose drops they are.
        drops: its own.
        modality: whose conditions the attempts have.
        model: whose outcomes; the build's own by default.

    Raises:
        MissingTable: the drop was not scored by the model.
    """
    import polars as pl

    rows = decided_attempts(lake, model=model or build, drops=drops, modality=modality).filter("is_genuine")
    return rows.with_columns(is_failure=pl.col("outcome") != ACCEPTED).collect()


def impostor_attempts(lake: Lake, *, build: str, drops: Sequence[str], modality: Modality) -> "pl.DataFrame":
    """Read the impostor attempts that really happened, bona fide ones, and `is_failure`: accepted.

    Args:
        lake, build, drops, modality: as for `genuine_attempts`.

    Raises:
        MissingTable: a drop was not scored.
    """
    import polars as pl

    rows = decided_attempts(lake, model=build, drops=drops, modality=modality).filter(~pl.col("is_genuine"))
    return rows.with_columns(is_failure=pl.col("outcome") == ACCEPTED).collect()


def decided_attempts(lake: Lake, *, model: str, drops: Sequence[str], modality: Modality) -> "pl.LazyFrame":
    """Scan the bona fide attempts under a model whose end is known, by drop and attempt.

    Raises:
        MissingTable: a drop was not scored by the model.
    """
    import polars as pl

    keys = [TableKey(build=model, drop=drop) for drop in sorted(drops)]
    rows = lake.scan(of_modality(ATTEMPT_OUTCOMES, modality), keys).filter(presentation=BONA_FIDE)
    return rows.filter(pl.col("outcome") != UNDECIDED).sort("drop_id", "attempt_id")


def attempt_population(rows: "pl.DataFrame", *, modality: Modality, outcome: Outcome = FRR) -> Population:
    """Make a population of genuine attempts.

    Args:
        rows: as `genuine_attempts` gives them, `is_failure` set for the outcome.
        modality: whose conditions they have.
        outcome: that is sought.
    """
    return Population(
        outcome,
        rows,
        failed="is_failure",
        unit="subject_id",
        columns=searched_columns(modality),
        key=("drop_id", "attempt_id"),
        score="score",
        dimensions=dimensions_of(modality),
    )


def false_rejects(workspace: Workspace, build: str, model: str) -> Population:
    """Read the population of a build's own drops whose failures are false rejects.

    Args:
        workspace: to read from.
        build: whose drops they are.
        model: whose outcomes.

    Raises:
        MissingTable: a drop was not scored by the model.
    """
    modality, drops = modality_of(workspace, TableKey(build=build)), own_drops(workspace, build)
    rows = genuine_attempts(workspace.lake, build=build, drops=drops, modality=modality, model=model)
    return attempt_population(rows, modality=modality)


def other_outcomes(workspace: Workspace, build: str, rejects: Population) -> Iterator[Population]:
    """Make the further populations of a build: of single stages, of flips, and of comparisons.

    Args:
        workspace: to read from.
        build: the build.
        rejects: its attempts.
    """
    modality, drops = modality_of(workspace, TableKey(build=build)), own_drops(workspace, build)
    yield from stage_populations(rejects, modality=modality)
    for make in (flip_population, comparison_population):
        found = make(workspace.lake, build=build, drops=drops, modality=modality)
        if found is not None:
            yield found


def stage_populations(rejects: Population, *, modality: Modality) -> Iterator[Population]:
    """Make a population of each stage that ended at least 20 attempts and not nearly all of the false rejects."""
    import polars as pl

    n_rejects = int(rejects.rows["is_failure"].sum())
    for name in OUTCOMES:
        rows = rejects.rows.with_columns(is_failure=pl.col("outcome") == name)
        if name != ACCEPTED and MIN_FAILURES <= int(rows["is_failure"].sum()) <= MAX_SHARE_OF_REJECTS * n_rejects:
            yield attempt_population(rows, modality=modality, outcome=Outcome(name, trial=ATTEMPT))


def flip_population(lake: Lake, *, build: str, drops: Sequence[str], modality: Modality) -> Population | None:
    """Make the population of decisions of the devices, impostors' too; None with fewer than 20 flips.

    Args:
        lake: to read from.
        build: whose drops they are.
        drops: its own.
        modality: whose conditions the attempts have.
    """
    decisions = device_decisions(lake, build=build, drops=drops, modality=biometric(modality))
    rows = decisions.drop_nulls("is_flip").with_columns(is_failure="is_flip").sort("drop_id", "attempt_id").collect()
    return attempt_population(rows, modality=modality, outcome=FLIP) if rows["is_flip"].sum() >= MIN_FAILURES else None


def comparison_population(lake: Lake, *, build: str, drops: Sequence[str], modality: Modality) -> Population | None:
    """Make the population of genuine comparisons of drops that compare all images; None without such a drop.

    Each comparison counts under both of its images. An image fails as an attempt only if it matches no other one of
    its subject, which few do of whom there are many.

    Args:
        lake: to read from.
        build: whose drops they are.
        drops: its own.
        modality: whose conditions the images have.
    """
    import polars as pl

    all_pairs = [drop for drop in sorted(drops) if drop_facts(lake, drop).protocol == "all_pairs"]
    if not all_pairs:
        return None
    rows = pl.concat([_comparisons(lake, build=build, drop=drop, modality=modality) for drop in all_pairs])
    columns = (*searched_columns(modality), *OF_IMAGES)
    return Population(FNMR, rows, failed="is_failure", unit="subject_id", columns=columns)


def _comparisons(lake: Lake, *, build: str, drop: str, modality: Modality) -> "pl.DataFrame":
    import polars as pl

    images = lake.read(FRAME_INDEX, TableKey(drop=drop)).select("frame", image_height_px="height_px")
    site = lake.read(DROP_FILES, TableKey(drop=drop))["site"].first()
    attempts = genuine_attempts(lake, build=build, drops=[drop], modality=modality).drop("score", "is_failure")
    attempts = attempts.join(images, on="frame", how="left").with_columns(site=pl.lit(site))
    compared = (
        involved_attempts(lake, build=build, drop=drop, protocol="all_pairs").filter("is_genuine").drop_nulls("score")
    )
    compared = compared.select("involved_id", "reference_id", "score")
    rows = attempts.join(compared, left_on="attempt_id", right_on="involved_id")
    is_match = biometric(modality).comparator.accepts(pl.col("score"), pl.col("decision_threshold"))
    rows = rows.with_columns(is_failure=~is_match)
    return rows.sort("attempt_id", "reference_id", "score")
