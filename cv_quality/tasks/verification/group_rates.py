"""Rates of a build by groups of people, at its decision threshold: age, sex and skin tone as the subjects stated them.

Reads the lake; what a differential is, and when a group counts as worse, is in `cv_quality.metrics.differentials`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.differentials import Differentials, RatioCheck, differentials
from cv_quality.metrics.point_intervals import BuildScores, Row
from cv_quality.tasks.verification.counts import WHOLE
from cv_quality.tasks.verification.tables import ATTEMPT_OUTCOMES, GROUP_ATTRIBUTES, METRIC_COUNTS


def group_rows(
    lake: Lake, scores: BuildScores, *, model_build: str, drops: Sequence[str], threshold: float | None
) -> list[Row]:
    """The rows of `differentials` of one model at an oriented threshold, without the build's columns.

    None for an attribute of which fewer than two groups are known, and none at all without a threshold or a
    cross-subject pair, where the exact tail of impostor scores ends above the threshold, or the subjects' samples do
    not account for every pair.
    """
    clustered = scores.by_subject
    if (
        threshold is None
        or not scores.counts.n
        or clustered is None
        or not scores.reaches(threshold)
        or not scores.genuine_scores.size
    ):
        return []
    attempts, failures = _acquisitions(lake, scores, model_build=model_build, drops=drops)
    rows: list[Row] = []
    for attribute, groups in _groups(lake, scores, model_build=model_build, drops=drops).items():
        named = {group for group in groups if group}
        if 1 < len(named) < len(groups):
            found = differentials(
                groups=groups,
                threshold=threshold,
                genuine=(clustered.genuine, clustered.people),
                impostor=(clustered.impostor, clustered.one, clustered.other),
                trials=clustered.trials,
                floor=scores.counts.floor,
                acquisitions=(attempts, failures),
            )
            rows += [{"attribute": attribute} | row for row in _rows(found)]
    return rows


def _rows(found: Differentials) -> Iterator[Row]:
    checks = {(check.rate, check.group): check for check in found.checks}
    for pair in found.pairs:
        is_within = pair.group_a == pair.group_b
        check = checks.get(("fmr", pair.group_a)) if is_within else None
        yield {"metric": "fmr", "level": pair.group_a, "other_level": pair.group_b} | asdict(pair.fmr) | _ratio(check)
    for group in found.groups:
        same = {"level": group.group, "other_level": group.group}
        yield {"metric": "fnmr"} | same | asdict(group.fnmr) | _ratio(checks.get(("fnmr", group.group)))
        if group.fta is not None:
            yield {"metric": "fta"} | same | asdict(group.fta)


def _ratio(check: RatioCheck | None) -> Row:
    if check is None:
        return {}
    return {"ratio": check.ratio, "ratio_low": check.low, "ratio_high": check.high, "verdict": check.verdict}


def _groups(lake: Lake, scores: BuildScores, *, model_build: str, drops: Sequence[str]) -> dict[str, list[str | None]]:
    """The group of each subject by attribute; None where it is unknown, or the drops contradict each other."""
    import polars as pl

    rows = lake.scan(ATTEMPT_OUTCOMES, [TableKey(build=model_build, drop=drop) for drop in drops])
    stated = rows.group_by("subject_id").agg(
        pl.when(pl.col(name).drop_nulls().n_unique() == 1).then(pl.col(name).drop_nulls().first()).alias(name)
        for name in GROUP_ATTRIBUTES
    )
    every = pl.LazyFrame({"subject_id": scores.subjects}, schema={"subject_id": pl.String})
    known = every.join(stated, on="subject_id", how="left", maintain_order="left").collect()
    return {name: known[name].to_list() for name in GROUP_ATTRIBUTES}


def _acquisitions(
    lake: Lake, scores: BuildScores, *, model_build: str, drops: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    import polars as pl

    counts = lake.scan(METRIC_COUNTS, [TableKey(build=model_build, drop=drop) for drop in drops])
    counts = counts.filter(metric="fta", dimension=WHOLE)
    summed = counts.group_by("subject_id").agg(pl.col("denominator", "numerator").sum())
    every = pl.LazyFrame({"subject_id": scores.subjects}, schema={"subject_id": pl.String})
    known = every.join(summed, on="subject_id", how="left", maintain_order="left").collect().fill_null(0)
    return known["denominator"].to_numpy(), known["numerator"].to_numpy()
