"""The comparisons that a drop's protocol performs: every genuine one, and the impostor attempts that really happened.

One row per comparison, scored in float64. The many more cross-subject pairs that nobody attempted are only counted,
in `cv_quality.tasks.verification.impostors`; what became of an attempt is in `cv_quality.tasks.verification.outcomes`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cv_quality.drops.tables import VALIDATED_ATTEMPTS, VALIDATED_ENROLS
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.tasks.verification.modality import BiometricModality
from cv_quality.tasks.verification.samples import DropFacts, Protocol, Templates, drop_facts, probes, references
from cv_quality.tasks.verification.tables import COMPARISONS

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class ComparisonSummary:
    """How many comparisons of a drop were made.

    Attributes:
        n_attempts: sound attempts of the drop.
        n_not_compared: those that are the probe of no comparison (never reached matching, no template, no reference).
    """

    build: str
    drop: str
    protocol: Protocol
    n_attempts: int
    n_genuine: int
    n_impostor: int
    n_not_compared: int


def compare_drop(lake: Lake, *, build: str, drop: str, modality: BiometricModality) -> ComparisonSummary:
    """Score a drop's comparisons with one build's templates, and write them to the table `comparisons`.

    Protocol "enrolled": each probe against the fused reference that it claims. Protocol "all_pairs": every unordered
    pair of different frames of one subject and instance once, the later frame (by name) as the probe. A pair that
    cannot be compared is written without a score and with the reason.

    Args:
        build: whose model made the templates.
        drop: the drop whose samples are compared.
        modality: knows how.

    Raises:
        MissingTable: the drop is not validated, or not yet run through the build's model.
        MetricError: references and probes differ in dimension, or a score leaves the range that the modality declares.
    """
    facts, comparator = drop_facts(lake, drop), modality.comparator
    reference, probe = (side(lake, build=build, drop=drop, comparator=comparator) for side in (references, probes))
    pair = claimed_pairs if facts.protocol == "enrolled" else subject_pairs
    rows = _scored(reference, probe, pair(reference.rows, probe.rows), modality)
    lake.write(COMPARISONS, TableKey(build=build, drop=drop), _as_table(rows, facts, build, modality))
    return summary_of(lake, rows, build=build, drop=drop, protocol=facts.protocol)


def involved_attempts(lake: Lake, *, build: str, drop: str, protocol: Protocol) -> "pl.DataFrame":
    """Each comparison of a drop under every attempt whose sample is in it.

    A comparison with an enrolled reference has one row. One between two frames of an all-pairs drop has two: the
    attempt of the later frame, and the attempt of the earlier frame, where there is one.

    Returns:
        The columns of `comparisons`, and `involved_id`, the attempt.
    """
    import polars as pl

    rows = lake.read(COMPARISONS, TableKey(build=build, drop=drop))
    as_probe = rows.with_columns(involved_id=pl.col("attempt_id"))
    if protocol == "enrolled":
        return as_probe
    partners = _attempt_of_reference(lake, drop)
    return pl.concat([as_probe, rows.join(partners, on="reference_id")])


def claimed_pairs(reference: "pl.DataFrame", probe: "pl.DataFrame") -> "pl.DataFrame":
    """Row numbers (`reference_row`, `probe_row`) of each probe with the reference that it claims, where that exists."""
    left = probe.select("reference_id").with_row_index("probe_row").drop_nulls()
    right = reference.select("reference_id").with_row_index("reference_row")
    return left.join(right, on="reference_id").select("reference_row", "probe_row").sort("probe_row")


def subject_pairs(reference: "pl.DataFrame", probe: "pl.DataFrame") -> "pl.DataFrame":
    """Row numbers of every pair of different frames of one instance of a subject, once, the earlier first."""
    import polars as pl

    left = _by_frame(reference, "reference")
    right = _by_frame(probe, "probe")
    pairs = left.join(right, on=["subject_id", "instance"], nulls_equal=True).filter(
        pl.col("reference_frame") < pl.col("probe_frame")
    )
    return pairs.select("reference_row", "probe_row").sort("probe_row", "reference_row")


def _attempt_of_reference(lake: Lake, drop: str) -> "pl.DataFrame":
    """For an all-pairs drop: the attempt (`involved_id`) that shows the same frame as a reference."""
    import polars as pl

    frames = ["subject_id", "frame"]
    attempts = lake.read(VALIDATED_ATTEMPTS, TableKey(drop=drop), columns=["event_id", *frames])
    enrols = lake.read(VALIDATED_ENROLS, TableKey(drop=drop), columns=["reference_id", *frames])
    pairs = enrols.join(attempts, on=frames).rename({"event_id": "involved_id"})
    return pairs.select("reference_id", "involved_id").sort(pl.all()).unique("reference_id", keep="first")


def _by_frame(rows: "pl.DataFrame", side: str) -> "pl.DataFrame":
    """One row per subject and frame, with the row number under the name of the side."""
    import polars as pl

    numbered = rows.select("subject_id", "instance", pl.col("frame").alias(f"{side}_frame")).with_row_index(
        f"{side}_row"
    )
    return numbered.drop_nulls(f"{side}_frame").unique(
        ["subject_id", f"{side}_frame"], keep="first", maintain_order=True
    )


def _scored(
    reference: Templates, probe: Templates, pairs: "pl.DataFrame", modality: BiometricModality
) -> "pl.DataFrame":
    import polars as pl

    comparator, attempt = modality.comparator, ("event_id", "subject_id", "presentation", "device_score")
    left = reference.rows[pairs["reference_row"]].select(
        "reference_id", pl.col("subject_id").alias("reference_subject_id")
    )
    right = probe.rows[pairs["probe_row"]].select(attempt).rename({"event_id": "attempt_id"})
    places = pairs["reference_row"].to_numpy(), pairs["probe_row"].to_numpy()
    scores = pl.Series("score", modality.scores(reference.vectors, probe.vectors, places)).fill_nan(None)
    return pl.concat([left, right], how="horizontal").with_columns(
        scores,
        not_comparable=pl.when(scores.is_null()).then(pl.lit(comparator.not_comparable)),
        is_genuine=pl.col("reference_subject_id") == pl.col("subject_id"),
    )


def _as_table(rows: "pl.DataFrame", facts: DropFacts, build: str, modality: BiometricModality) -> "pl.DataFrame":
    """Scores that devices logged on a scale of their own need not agree with the comparator's."""
    import polars as pl

    # A device scores an attempt against the reference that it claims, not against every other image of its subject.
    is_own = pl.lit(build == facts.build and facts.protocol == "enrolled" and modality.device_scores is None)
    differs = (pl.col("device_score") - pl.col("score")).abs() > modality.comparator.parity_tolerance
    return rows.with_columns(
        build_id=pl.lit(build),
        drop_id=pl.lit(facts.drop),
        is_parity_expected=is_own,
        is_parity_broken=pl.when(is_own).then(differs),
    ).select(COMPARISONS.names)


def summary_of(lake: Lake, rows: "pl.DataFrame", *, build: str, drop: str, protocol: Protocol) -> ComparisonSummary:
    """Count the comparisons of a drop.

    Args:
        lake: with its attempts.
        rows: of `comparisons`.
        build, drop, protocol: whose they are.
    """
    import polars as pl

    attempts = lake.read(VALIDATED_ATTEMPTS, TableKey(drop=drop), columns=["event_id", "frame"])
    genuine = rows.filter(pl.col("is_genuine")).height
    compared = rows["attempt_id"].n_unique()
    return ComparisonSummary(
        build, drop, protocol, attempts.height, genuine, rows.height - genuine, attempts.height - compared
    )
