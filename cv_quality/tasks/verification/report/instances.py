"""Two eyes in the failure report: the claim, what failed to give a template, sides, fusion, rotations and doubts.

The numbers are those of `cv_quality.tasks.verification.instances`, and those of the embeddings and outcomes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cv_quality.lake.lake import TableKey
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.metrics.rates import Rate
from cv_quality.modality import of_modality
from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.rates import read_rate, target_text
from cv_quality.reports.scope import model_rows
from cv_quality.reports.section import ReportSource
from cv_quality.tasks.verification.modality import BiometricModality, biometric
from cv_quality.tasks.verification.tables import (
    ATTEMPT_OUTCOMES,
    CLOSEST_IMPOSTORS,
    EMBEDDINGS,
    INSTANCE_CAPTURES,
    INSTANCE_COMPARISONS,
    INSTANCE_DOUBTS,
    INSTANCE_FUSION,
    ROTATIONS,
)

if TYPE_CHECKING:
    import polars as pl

KINDS: Final = {
    "genuine": "one eye (genuine)",
    "other_instance": "one person’s left and right (neither genuine nor impostor)",
    "impostor": "different people (impostors)",
    "impostor_same_side": "… left with left, right with right",
    "impostor_other_side": "… left with right",
    "impostor_unknown": "… a side unknown",
}
FUSIONS: Final = {
    "each_eye": "each eye by itself, as everywhere",
    "left": "left alone",
    "right": "right alone",
    "or": "either (the closer)",
    "and": "both (the farther)",
    "mean": "mean of both",
}
DOUBTS: Final = {
    "other_instance": "left and right swapped, or one eye under both names",
    "other_subject": "one eye under two subjects",
}
LARGEST_TARGETS = (1e-2, 1e-3, 1e-4)
MOST_SHOWN = 20
CLOSEST_SHOWN = 10
_NORMS = {"raw": "not normalised", "linear": "normalised linearly (open-iris)", "daugman": "normalised as Daugman’s"}


@dataclass(frozen=True, slots=True)
class SideRow:
    """One kind of comparison."""

    name: str
    n_pairs: int
    n_incomparable: int
    mean: float | None
    sd: float | None
    freedom: float | None
    freedom_low: float | None
    freedom_high: float | None
    accepted: Rate


@dataclass(frozen=True, slots=True)
class FusedRow:
    """One rule: both rates at the decision threshold, and the FNMR at FMR targets, by their words."""

    name: str
    fnmr: Rate
    fmr: Rate
    at_targets: Mapping[str, Rate]


@dataclass(frozen=True, slots=True)
class QualityRow:
    """A figure measured of samples: medians over accepted and over rejected genuine attempts."""

    name: str
    accepted: float | None
    rejected: float | None


@dataclass(frozen=True, slots=True)
class Instances:
    """What the section shows of the build's own model.

    Attributes:
        claim: bits, shifts, normalisation and minimum of bits, in words.
        acquisition: samples by status, "ok" first, with those of references and of probes.
        captures: the row of `instance_captures`; None without a capture of two eyes.
        rotations, doubts: rows of these tables; of doubts the closest, of `n_doubts`.
        closest: rows of `closest_impostors`, the first ones.
        queries: by what they are about.
    """

    claim: str
    acquisition: tuple[tuple[str, int, int], ...]
    quality: tuple[QualityRow, ...]
    sides: tuple[SideRow, ...]
    fused: tuple[FusedRow, ...]
    captures: Mapping[str, Any] | None
    rotations: tuple[Mapping[str, Any], ...]
    doubts: tuple[Mapping[str, Any], ...]
    n_doubts: int
    closest: tuple[Mapping[str, Any], ...]
    queries: Mapping[str, Query]


def read_instances(source: ReportSource) -> Instances | None:
    """Read the section; None where instances are not measured.

    Raises:
        MissingTable: the build's instances were not measured.
    """
    build, modality = source.scope.build, biometric(source.modality)
    rule = rule_of(source)
    own = {
        table.name: model_rows(source.lake, table, build=build, model=build)
        for table in (
            INSTANCE_COMPARISONS,
            INSTANCE_FUSION,
            INSTANCE_CAPTURES,
            INSTANCE_DOUBTS,
            CLOSEST_IMPOSTORS,
            ROTATIONS,
        )
    }
    sides = own[INSTANCE_COMPARISONS.name]
    if sides.is_empty() or rule is None:
        return None
    captures, doubts = own[INSTANCE_CAPTURES.name].to_dicts(), own[INSTANCE_DOUBTS.name]
    where = {"model_build_id": build}
    return Instances(
        claim=claim_of(rule),
        acquisition=_acquisition(source, modality),
        quality=_quality(source, modality),
        sides=tuple(_side(row) for row in sides.iter_rows(named=True) if row["n_pairs"] + row["n_incomparable"]),
        fused=_fused(own[INSTANCE_FUSION.name]) if captures else (),
        captures=captures[0] if captures else None,
        rotations=tuple(own[ROTATIONS.name].to_dicts()),
        doubts=tuple({**row, "words": DOUBTS[row["kind"]]} for row in doubts.head(MOST_SHOWN).to_dicts()),
        n_doubts=doubts.height,
        closest=tuple(own[CLOSEST_IMPOSTORS.name].head(CLOSEST_SHOWN).to_dicts()),
        queries={
            "sides": rows_query(INSTANCE_COMPARISONS, build=build, where=where),
            "fusion": rows_query(INSTANCE_FUSION, build=build, where=where),
            "rotations": rows_query(ROTATIONS, build=build, where=where, order=("shifts",)),
            "closest": rows_query(
                CLOSEST_IMPOSTORS, build=build, where=where, order=("score", "reference_id", "attempt_id")
            ),
            "doubts": rows_query(INSTANCE_DOUBTS, build=build, where=where, order=("kind", "score")),
        },
    )


def rule_of(source: ReportSource) -> HammingRule | None:
    """By which rule the build's own model compares; None where its templates are no bits."""
    return None if source.scope.is_recorded else biometric(source.modality).of_build(source.entry).comparator.rule


def impostor_freedom(source: ReportSource) -> tuple[float, float | None, float | None] | None:
    """Read the degrees of freedom of the build's impostors, with their bounds; None where they are not known."""
    if rule_of(source) is None:
        return None
    build = source.scope.build
    rows = model_rows(source.lake, INSTANCE_COMPARISONS, build=build, model=build).filter(kind="impostor")
    numbers = rows.select("degrees_of_freedom", "freedom_low", "freedom_high").rows()
    return numbers[0] if numbers and numbers[0][0] is not None else None


def claim_of(rule: HammingRule) -> str:
    """Say what distances rest on.

    >>> claim_of(HammingRule(bits=2048, step=8, shifts=15, minimum_bits=500))
    'smallest masked Hamming distance of 2,048 bits over 15 shifts, not normalised, at least 500 bits in common'
    """
    least = f"at least {rule.minimum_bits:,} bit{'s' if rule.minimum_bits > 1 else ''} in common"
    over = f"smallest masked Hamming distance of {rule.bits:,} bits over {rule.shifts} shifts"
    return f"{over}, {_NORMS[rule.norm]}, {least}"


def _keys(source: ReportSource) -> list[TableKey]:
    return [TableKey(build=source.scope.build, drop=drop) for drop in source.scope.drops]


def _acquisition(source: ReportSource, modality: BiometricModality) -> tuple[tuple[str, int, int], ...]:
    import polars as pl

    rows = source.lake.scan(of_modality(EMBEDDINGS, modality), _keys(source))
    role = pl.col("role")
    counts = rows.group_by("status").agg(
        references=(role == "reference").sum(), probes=(role == "probe").sum(), n=pl.len()
    )
    order = counts.sort(pl.col("status") != "ok", -pl.col("n").cast(pl.Int64), "status").drop("n")
    return tuple(order.collect().iter_rows())


def _quality(source: ReportSource, modality: BiometricModality) -> tuple[QualityRow, ...]:
    """Figures of genuine attempts that were accepted, and of those that were not."""
    import polars as pl

    rows = source.lake.scan(of_modality(ATTEMPT_OUTCOMES, modality), _keys(source)).filter("is_genuine")
    names = [item.name for item in modality.measured]
    is_accepted = pl.col("outcome") == "accepted"
    parts = (
        rows.filter(chosen).select(pl.col(names).median()).collect().row(0, named=True)
        for chosen in (is_accepted, ~is_accepted)
    )
    accepted, rejected = parts
    labels = {item.name: item.label for item in modality.measured}
    found = (QualityRow(labels[name], accepted[name], rejected[name]) for name in names)
    return tuple(row for row in found if row.accepted is not None or row.rejected is not None)


def _side(row: Mapping[str, Any]) -> SideRow:
    numbers = ("n_pairs", "n_incomparable", "mean", "sd", "freedom_low", "freedom_high")
    shown = {name: row[name] for name in numbers}
    return SideRow(KINDS[row["kind"]], **shown, freedom=row["degrees_of_freedom"], accepted=read_rate(row))


def _fused(rows: "pl.DataFrame") -> tuple[FusedRow, ...]:
    fnmr = {"value": "fnmr", "numerator": "n_false_non_matches", "denominator": "n_genuine"}
    fmr = {"value": "fmr", "numerator": "n_false_matches", "denominator": "n_impostor"}
    bounds = [{part: f"{name}_{part}" for part in ("low", "high")} for name in ("fnmr", "fmr")]
    found = []
    for rule, words in FUSIONS.items():
        own = {(row["point"], row["fmr_target"]): row for row in rows.filter(rule=rule).iter_rows(named=True)}
        decided = own.get(("decision_threshold", None), {"reason": "no decision threshold"})
        targets = [own[("fnmr_at_fmr", target)] for target in LARGEST_TARGETS if ("fnmr_at_fmr", target) in own]
        at_targets = {target_text(row["fmr_target"]): read_rate(row, **fnmr, **bounds[0]) for row in targets}
        rates = read_rate(decided, **fnmr, **bounds[0]), read_rate(decided, **fmr, **bounds[1])
        found.append(FusedRow(words, *rates, at_targets))
    return tuple(found)
