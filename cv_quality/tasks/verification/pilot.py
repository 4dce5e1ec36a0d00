"""What drops of earlier builds show for the plan of a study: rates, and how alike attempts and builds are."""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from cv_quality.drops.manifest import completed_drops
from cv_quality.errors import MetricError, MissingTable, UnknownKey, near
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.studies.planned_variance import PilotRate, pilot_agreement, pilot_rate
from cv_quality.studies.power import SimulatedPower, simulated_power
from cv_quality.studies.protocol import StudyEndpoint, StudyProtocol
from cv_quality.tasks.verification.build_metrics import BETWEEN_SUBJECTS
from cv_quality.tasks.verification.build_scores import read_build_scores, read_families
from cv_quality.tasks.verification.counts import WHOLE
from cv_quality.tasks.verification.modality import biometric
from cv_quality.tasks.verification.tables import METRIC_COUNTS, METRICS, OPERATING_POINTS
from cv_quality.workspace import Workspace

COUNTED_AS: Final = {name: name for name in METRICS} | {"fnmr_at_fmr": "fnmr"}
"""Whose counts tell how alike the attempts of a subject are, by metric."""


def read_pilot(lake: Lake, protocol: StudyProtocol, drops: Sequence[str]) -> dict[str, PilotRate]:
    """Read what drops show of a protocol's endpoints, by endpoint; those that they show nothing of are left out.

    Of FNMR at an FMR the value is that of the build over all its drops; scopes are not looked at.

    Args:
        lake: with the metric counts of the drops.
        protocol: of the study.
        drops: the pilot.

    Raises:
        UnknownKey: a drop has not been measured; the near ones are named.
    """
    measured: dict[str, list[TableKey]] = {}
    for key in lake.keys(METRIC_COUNTS):
        measured.setdefault(str(key.drop), []).append(key)
    for drop in drops:
        if drop not in measured:
            raise UnknownKey(f"no drop {drop!r} has been measured, so it is no pilot: {near(drop, measured)}")
    keys = [key for drop in drops for key in measured[drop]]
    found = {item.id: _endpoint(lake, item, protocol, keys) for item in protocol.endpoints}
    return {id: rate for id, rate in found.items() if rate is not None}


def _endpoint(
    lake: Lake, endpoint: StudyEndpoint, protocol: StudyProtocol, keys: Sequence[TableKey]
) -> PilotRate | None:
    """What the pilot shows of an endpoint: of the reference where it is measured there, else of the first build."""
    metric = COUNTED_AS.get(endpoint.metric)
    builds = sorted({str(key.build) for key in keys}, key=lambda build: (build != protocol.purpose.reference, build))
    if metric is None or not builds:
        return None
    counts = {build: _counts(lake, [key for key in keys if key.build == build], metric) for build in builds[:2]}
    own = counts[builds[0]]
    if not own.height:
        return None
    rate = pilot_rate(own["errors"], own["trials"])
    value = rate.value if endpoint.fmr is None else _fnmr_at(lake, builds[0], endpoint.fmr)
    if value is None:
        return None
    agreement = None
    if len(builds) > 1 and metric not in BETWEEN_SUBJECTS:
        both = own.join(counts[builds[1]], on="subject_id", suffix="_other")
        agreement = pilot_agreement((both["errors"], both["trials"]), (both["errors_other"], both["trials_other"]))
    return PilotRate(value, None if metric in BETWEEN_SUBJECTS else rate.icc, rate.n_subjects, agreement)


def _counts(lake: Lake, keys: Sequence[TableKey], metric: str) -> pl.DataFrame:
    """Errors and trials of each subject over drops."""
    of = (pl.col("metric") == metric) & (pl.col("dimension") == WHOLE)
    sums = (pl.col("numerator").sum().alias("errors"), pl.col("denominator").sum().alias("trials"))
    rows = lake.scan(METRIC_COUNTS, keys).filter(of).group_by("subject_id").agg(*sums)
    return rows.sort("subject_id").collect()


def _fnmr_at(lake: Lake, build: str, fmr: float) -> float | None:
    """FNMR of a build at an FMR, over all its drops."""
    try:
        rows = lake.read(OPERATING_POINTS, TableKey(build), columns=["model_build_id", "point", "fmr_target", "fnmr"])
    except MissingTable:
        return None
    at = (pl.col("fmr_target") / fmr - 1).abs() < 1e-9
    found = rows.filter((pl.col("model_build_id") == build) & (pl.col("point") == "fnmr_at_fmr") & at)
    return None if found.is_empty() else found["fnmr"][0]


def simulate_power(
    workspace: Workspace, protocol: StudyProtocol, drops: Sequence[str], *, subjects: int, runs: int, seed: int
) -> tuple[dict[str, SimulatedPower], dict[str, str]]:
    """Resample a pilot's subjects for the power of endpoints of FNMR at an FMR; by endpoint, and why others lack it.

    Args:
        workspace: where the drops' build and its baseline are measured.
        protocol: of the study.
        drops: the pilot, of one build.
        subjects: of a study.
        runs: studies.
        seed: of the draws.
    """
    found, missing = dict[str, SimulatedPower](), dict[str, str]()
    alpha = protocol.analysis.alpha / (2 if protocol.analysis.sides == "two" else 1)
    try:
        both: tuple[ClusteredScores, ClusteredScores] | str = _pilot_scores(workspace, drops)
    except (MetricError, MissingTable) as error:
        both = str(error)
    for item in protocol.endpoints:
        if item.fmr is None or item.margin is None or item.scope or item.threshold == "fixed" or protocol.arms:
            missing[item.id] = "only paired FNMR at an FMR of all attempts, with a margin as a difference, is resampled"
        elif isinstance(both, str):
            missing[item.id] = both
        else:
            try:
                found[item.id] = simulated_power(
                    *both, fmr=item.fmr, margin=item.margin, subjects=subjects, alpha=alpha, runs=runs, seed=seed
                )
            except MetricError as error:
                missing[item.id] = str(error)
    return found, missing


def _pilot_scores(workspace: Workspace, drops: Sequence[str]) -> tuple[ClusteredScores, ClusteredScores]:
    """Scores of the pilot's build and of its baseline on the pilot's drops.

    Raises:
        MetricError: the drops are of several builds, of a build without a baseline, or pairs are not accounted for.
        MissingTable: the build is not measured.
    """
    delivered: Mapping[str, str | None] = {drop.drop_id: drop.build for drop in completed_drops(workspace.landing)}
    builds = sorted({build for drop in drops if (build := delivered.get(drop))})
    baseline = workspace.registry.baseline(builds[0]) if len(builds) == 1 else None
    if baseline is None:
        told = ", ".join(builds) or "none"
        raise MetricError(f"a pilot of one build that follows another is resampled, found {told}")
    comparator = biometric(workspace.modality(workspace.registry.entry(builds[0]).modality)).comparator
    families = read_families(workspace.lake, drops=drops)
    read = [
        read_build_scores(
            workspace.lake,
            build=builds[0],
            model_build=model,
            drops=drops,
            comparator=comparator,
            family_of=families,
        ).by_subject
        for model in (baseline, builds[0])
    ]
    if read[0] is None or read[1] is None:
        raise MetricError("the pilot's cross-subject pairs are not accounted for by its subjects' samples")
    return read[0], read[1]
