"""Rows that say why the synthetic build fails: low light first, a worn mask second, and what was ruled out."""

import json
import math
from typing import Any

import polars as pl

from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.lake.schema import Table
from cv_quality.tasks.root_causes.slices import example_rows
from cv_quality.tasks.root_causes.tables import (
    CHANGE_ATTRIBUTION,
    EXAMPLES,
    FAILURE_CLUSTERS,
    FAILURE_SLICES,
    SLICE_SEARCHES,
    SLICE_TRENDS,
)
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.populations import attempt_population
from cv_quality.tasks.verification.tables import COUNTERFACTUALS, EXPLANATIONS, OUTCOME_WATERFALL
from cv_quality.tasks.verification.waterfall import waterfall

DARK = Slice((Predicate("illuminance_lux", "<=", 9.5),))
MASK = Slice((Predicate("covering", "==", "mask"), Predicate("eyewear", "in", ("glasses", "sunglasses"))))
SLICES = (DARK, MASK)
EVENING = Slice((Predicate("condition_label", "==", "outdoors, evening"),))
TABLET = Slice((Predicate("device_model", "==", "Tablet-2"), Predicate("sex", "==", "other")))
CONCLUSION = "2 slices are confirmed on subjects who did not help to find them."
NOT_SHOWN = "inserting its pixels first raised the score no faster than a random order"
MAP_HEIGHT, MAP_WIDTH = 14, 12

Row = dict[str, Any]


def root_cause_tables(*, build: str, baseline: str, own: pl.DataFrame, before: pl.DataFrame) -> dict[Table, list[Row]]:
    """Rows by table, without the build.

    Args:
        own, before: the ledgers of the build's drops under its own model and under its baseline's.
    """
    own, before = (
        ledger.with_columns(is_failure=pl.col("outcome") != "accepted").sort("drop_id", "attempt_id")
        for ledger in (own, before)
    )
    return {
        SLICE_SEARCHES: _searches(own),
        FAILURE_SLICES: _slices(own),
        SLICE_TRENDS: _trends(build, baseline, own, before),
        OUTCOME_WATERFALL: [
            {"model_build_id": model, **row}
            for model, ledger in ((build, own), (baseline, before))
            for row in waterfall(ledger, SLICES).to_dicts()
        ],
        EXAMPLES: [dict(row) for row in example_rows(attempt_population(own, modality=FACE), SLICES)],
        CHANGE_ATTRIBUTION: [{"baseline_build_id": baseline, **row} for row in _changes(own, before)],
        FAILURE_CLUSTERS: _clusters(own),
        EXPLANATIONS: _explanations(),
        COUNTERFACTUALS: _counterfactuals(),
    }


def _searches(own: pl.DataFrame) -> list[Row]:
    counts = {"n_attempts": own.height, "n_subjects": own["subject_id"].n_unique(), "seed": 0}
    failures, unmatched = int(own["is_failure"].sum()), int((own["outcome"] == "non_match").sum())
    return [
        {
            **counts,
            "outcome": "frr",
            "n_failures": failures,
            "base_rate": failures / own.height,
            "n_slices": 2,
            "conclusion": CONCLUSION,
            "skipped_json": "{}",
        },
        {
            **counts,
            "outcome": "non_match",
            "n_failures": unmatched,
            "base_rate": unmatched / own.height,
            "n_slices": 1,
            "conclusion": "1 slice is confirmed.",
            "skipped_json": "{}",
        },
    ]


def _slices(own: pl.DataFrame) -> list[Row]:
    rows = [_confirmed(own, rank, where) for rank, where in enumerate(SLICES, 1)]
    rows.append({**_confirmed(own, 1, DARK), "outcome": "non_match"})
    described = {"outcome": "frr", "rank": 1, "rate": 0.0625, "rest_rate": 0.03125}
    few = {"finding": "insufficient", "support": 60, "n_subjects": 1, **_named(TABLET)}
    away = {"finding": "explained_away", "rate_after": 0.03, "explained_by": DARK.sentence(), **_named(EVENING)}
    return [*rows, {**described, **few}, {**described, **away}]


def _named(where: Slice) -> Row:
    return {
        "condition": where.sentence(),
        "where_json": json.dumps(where.to_list()),
        "sentence": f"Attempts with {where.sentence()} fail more than the rest.",
    }


def _confirmed(own: pl.DataFrame, rank: int, where: Slice) -> Row:
    """The rate on half of the subjects; support, subjects and share over all."""
    inside = own.filter(where.expression())
    half = inside.filter(pl.col("subject_id").str.slice(-2).cast(pl.Int64) % 4 < 2)
    failures = int(half["is_failure"].sum())
    rate = failures / half.height
    margin = 2.2 * math.sqrt(rate * (1 - rate) / half.height) + 0.004
    outside = _rate(own.filter(~where.expression()))
    return {
        "outcome": "frr",
        "finding": "confirmed",
        "rank": rank,
        **_named(where),
        "rate": rate,
        "low": max(0.0, rate - margin),
        "high": min(1.0, rate + margin),
        "numerator": failures,
        "denominator": half.height,
        "rest_rate": 0.00125 * rank,
        "support": inside.height,
        "n_subjects": inside["subject_id"].n_unique(),
        "p_adjusted": 0.0004 * rank,
        "share_of_failures": int(inside["is_failure"].sum()) / int(own["is_failure"].sum()),
        "adjusted_odds_ratio": 6.25 if rank == 1 else None,
        "adjusted_for": "condition_label" if rank == 1 else None,
        "mended_rate": outside["value"],
        **{f"mended_{name}": outside[name] for name in ("low", "high", "numerator", "denominator")},
    }


def _trends(build: str, baseline: str, own: pl.DataFrame, before: pl.DataFrame) -> list[Row]:
    """The build first, then those that it follows, the nearest first."""
    return [
        {"outcome": "frr", "rank": rank, "trend_build_id": name, **_rate(ledger.filter(where.expression()))}
        for name, ledger in ((build, own), (baseline, before), ("face-1.0", before.head(900)))
        for rank, where in enumerate(SLICES, 1)
    ]


def _rate(rows: pl.DataFrame) -> Row:
    failures = int(rows["is_failure"].sum())
    value = failures / rows.height
    margin = 2.0 * math.sqrt(value * (1 - value) / rows.height) + 0.003
    return {
        "value": value,
        "numerator": failures,
        "denominator": rows.height,
        "low": max(0.0, value - margin),
        "high": min(1.0, value + margin),
        "method": "Korn-Graubard by subject",
        "n_subjects": rows["subject_id"].n_unique(),
    }


def _explanations() -> list[Row]:
    cells = [
        math.exp(-((row - 4) ** 2 + (column - 3.5) ** 2) / 5)
        - 0.5 * math.exp(-((row - 10) ** 2 + (column - 6) ** 2) / 8)
        for row in range(MAP_HEIGHT)
        for column in range(MAP_WIDTH)
    ]
    shared = {"rank": 1, "n_failures": 40, "n_passes": 38, "n_subjects": 21, "pointing": 0.9}
    size = {"height": MAP_HEIGHT, "width": MAP_WIDTH}
    return [
        {**shared, **size, "method": "integrated_gradients", "map": cells, "is_shown": True},
        {**shared, **size, "method": "occlusion", "map": cells, "is_shown": False, "reason": NOT_SHOWN},
    ]


def _counterfactuals() -> list[Row]:
    changes = (("illuminance_lux 4 to 210", 36, 0.801), ("without motion blur", 3, 0.401))
    return [
        {
            "rank": 1,
            "change": change,
            "source": "rerendered",
            "n_attempts": 40,
            "n_accepted": accepted,
            "score_before": 0.385,
            "score_after": after,
            "value": accepted / 40,
            "numerator": accepted,
            "denominator": 40,
            "low": max(0.0, accepted / 40 - 0.07),
            "high": min(1.0, accepted / 40 + 0.09),
            "method": "Korn-Graubard by subject",
            "n_subjects": 21,
        }
        for change, accepted, after in changes
    ]


def _clusters(own: pl.DataFrame) -> list[Row]:
    failed = own.filter("is_failure", DARK.expression()).sort("score")
    names = json.dumps([list(name) for name in failed.select("drop_id", "attempt_id").head(4).iter_rows()])
    shared = {
        "embedding_source": "model",
        "rate": 0.15625,
        "low": 0.11,
        "high": 0.21,
        "numerator": 25,
        "denominator": 160,
        "rest_rate": 0.01875,
        "support": 310,
        "n_subjects": 38,
        "p_adjusted": 0.002,
        "examples_json": names,
    }
    described = {"is_described": True, "condition": DARK.sentence(), "where_json": json.dumps(DARK.to_list())}
    return [
        {
            **shared,
            **described,
            "cluster": 1,
            "precision": 0.875,
            "recall": 0.9375,
            "share_of_failures": 0.71875,
            "sentence": "It is associated with low light.",
        },
        {
            **shared,
            "cluster": 2,
            "is_described": False,
            "share_of_failures": 0.046875,
            "sentence": "Its attempts fail more, and no recorded condition tells them from the rest.",
        },
    ]


def _changes(own: pl.DataFrame, before: pl.DataFrame) -> list[Row]:
    """The baseline's own drops are taken to be fewer attempts of the same, which fail less often."""
    earlier = before.filter(~pl.col("is_failure") | (pl.col("subject_id").str.slice(-2).cast(pl.Int64) % 3 == 0)).head(
        1_900
    )
    return [*_compared("data", earlier, before), *_compared("algorithm", before, own)]


def _compared(comparison: str, old: pl.DataFrame, new: pl.DataFrame) -> list[Row]:
    """Each part's mix and rate (Kitagawa, weights of both averaged), and their sums."""
    total = [ledger["is_failure"].mean() for ledger in (old, new)]
    middle = sum(float(str(value)) for value in total) / 2
    rows = []
    for part, (condition, where, inside) in enumerate(_parts(), 1):
        groups = [ledger.filter(inside) for ledger in (old, new)]
        share = [group.height / ledger.height for group, ledger in zip(groups, (old, new), strict=True)]
        rate = [float(str(group["is_failure"].mean())) for group in groups]
        mix = (share[1] - share[0]) * ((rate[0] + rate[1]) / 2 - middle)
        rows.append(
            _part(comparison, part, condition, where, groups, mix, (rate[1] - rate[0]) * (share[0] + share[1]) / 2)
        )
    mix, rate_ = (sum(row[name] for row in rows) for name in ("mix", "rate"))
    return [_part(comparison, 0, "all", None, [old, new], mix, rate_), *rows]


def _parts() -> list[tuple[str, str | None, pl.Expr]]:
    first, second = DARK.expression(), MASK.expression()
    return [
        (DARK.sentence(), json.dumps(DARK.to_list()), first),
        (MASK.sentence(), json.dumps(MASK.to_list()), second & ~first),
        ("the rest", None, ~first & ~second),
    ]


def _part(
    comparison: str, part: int, condition: str, where: str | None, groups: list[pl.DataFrame], mix: float, rate: float
) -> Row:
    values = {"mix": mix, "rate": rate, "change": mix + rate}
    bounds = {f"{name}_low": value - 0.004 for name, value in values.items()}
    bounds |= {f"{name}_high": value + 0.004 for name, value in values.items()}
    return {
        "comparison": comparison,
        "part": part,
        "condition": condition,
        "where_json": where,
        "failures_before": int(groups[0]["is_failure"].sum()),
        "attempts_before": groups[0].height,
        "failures_after": int(groups[1]["is_failure"].sum()),
        "attempts_after": groups[1].height,
        **values,
        **bounds,
        "n_subjects": 40,
        "n_paired": 40,
        "method": "bootstrap over subjects",
    }
