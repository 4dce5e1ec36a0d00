"""A build measured by instance: both eyes of people, one person's eyes against each other, and two eyes together.

A person's other instance is neither genuine nor an impostor. Reads templates over all drops of a build, under its own
model and its baseline's, and writes `instance_comparisons`, `instance_doubts`, `closest_impostors`, `instance_fusion`,
`instance_captures` and `rotations`; a modality without instances, or whose templates are no bits, has none of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.iris.counting import shift_curves
from cv_quality.metrics.iris.rotations import rotation_rates
from cv_quality.metrics.iris.rules import HammingRule
from cv_quality.metrics.pairs import Rows
from cv_quality.metrics.point_intervals import Row
from cv_quality.tasks.root_causes.tables import write_rows
from cv_quality.tasks.verification.build_scores import read_families
from cv_quality.tasks.verification.fusion import fusion_rows
from cv_quality.tasks.verification.impostors import drop_templates, owned_references
from cv_quality.tasks.verification.instance_pairs import Eyes, closest_rows, comparison_rows, count_kinds, doubt_rows
from cv_quality.tasks.verification.modality import BiometricModality, Comparator
from cv_quality.tasks.verification.samples import BONA_FIDE, Templates
from cv_quality.tasks.verification.tables import (
    CLOSEST_IMPOSTORS,
    COMPARISONS,
    INSTANCE_CAPTURES,
    INSTANCE_COMPARISONS,
    INSTANCE_DOUBTS,
    INSTANCE_FUSION,
    OPERATING_POINTS,
    ROTATIONS,
)

if TYPE_CHECKING:
    import polars as pl

TABLES = (
    INSTANCE_COMPARISONS,
    INSTANCE_DOUBTS,
    CLOSEST_IMPOSTORS,
    INSTANCE_FUSION,
    INSTANCE_CAPTURES,
    ROTATIONS,
)
LAST_RANK = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class InstanceSummary:
    """Rows written of a build, by table, and how many doubts are among them."""

    build: str
    rows: dict[str, int]
    doubts: int


def measure_instances(
    lake: Lake,
    *,
    build: str,
    models: Mapping[str, tuple[BiometricModality, float | None]],
    drops: Sequence[str],
) -> InstanceSummary:
    """Write the six tables of a build; without rows where its modality has no instances or compares no bits.

    Every pair of templates is compared about four times: by side, at all rotations, and fused.

    Args:
        models: by model build, the modality with its comparator and the native decision threshold.
        drops: the build's own.

    Raises:
        MissingTable: a drop has no embeddings or comparisons of a model, or the build is not measured.
    """
    rows: dict[str, list[Row]] = {table.name: [] for table in TABLES}
    for model, (modality, decided) in models.items():
        rule = modality.comparator.rule
        if modality.instance is None or rule is None:
            continue
        eyes = read_eyes(lake, model_build=model, drops=drops, comparator=modality.comparator)
        genuine = _genuine(lake, model_build=model, drops=drops)
        kinds = count_kinds(eyes, modality, decided)
        found: dict[str, list[Row]] = {
            INSTANCE_COMPARISONS.name: comparison_rows(eyes, kinds, genuine, modality, rule, decided),
            INSTANCE_DOUBTS.name: doubt_rows(eyes, kinds, genuine, modality, decided),
            CLOSEST_IMPOSTORS.name: closest_rows(eyes, kinds, rule, modality),
            ROTATIONS.name: _rotations(eyes, genuine, modality.comparator, rule, decided),
        }
        found[INSTANCE_FUSION.name], found[INSTANCE_CAPTURES.name] = fusion_rows(
            eyes, modality, rule, decided, family_of=read_families(lake, drops=drops)
        )
        found[INSTANCE_FUSION.name] = [*_each_eye(lake, build, model), *found[INSTANCE_FUSION.name]]
        for name, own in found.items():
            rows[name] += [{"model_build_id": model} | row for row in own]
    written = {table.name: write_rows(lake, table, build, rows[table.name]) for table in TABLES}
    return InstanceSummary(build, written, doubts=written[INSTANCE_DOUBTS.name])


def _each_eye(lake: Lake, build: str, model: str) -> list[Row]:
    """The operating points of every comparison by itself, as everywhere."""
    points = lake.read(OPERATING_POINTS, TableKey(build=build)).filter(model_build_id=model)
    return [{"rule": "each_eye"} | row for row in points.drop("build_id", "model_build_id").to_dicts()]


def read_eyes(lake: Lake, *, model_build: str, drops: Sequence[str], comparator: Comparator) -> Eyes:
    """Read all references and bona fide probes of some drops under one model.

    Which of them are paired is told by ranks: every reference of an enrolled drop meets every probe, two frames of
    all-pairs drops meet once, the earlier one as the reference. These are the pairs of `impostors`.

    Args:
        lake, model_build, drops: whose templates.
        comparator: fuses the samples of a reference.

    Raises:
        MissingTable: a drop has no embeddings of the model.
    """
    import polars as pl

    chosen = sorted(drops)
    owned = owned_references(lake, model_build, chosen, comparator)
    sides: tuple[list[Templates], list[Templates]] = ([], [])
    for drop in chosen:
        *both, is_all_pairs = drop_templates(lake, model_build, drop, owned[drop], comparator)
        for side, templates in zip(sides, both, strict=True):
            facts = {"drop_id": pl.lit(drop), "is_all_pairs": pl.lit(is_all_pairs), "frame": pl.col("frame")}
            side.append(replace(templates, rows=templates.rows.with_columns(**facts)))
    reference, probe = (_joined(side) for side in sides)
    frames = pl.concat([part.rows.select("drop_id", "frame") for part in (reference, probe)])
    order = frames.unique().sort("drop_id", "frame", nulls_last=False).with_row_index("rank")
    return Eyes(_ranked(reference, order, -1), _ranked(probe, order, LAST_RANK))


def _joined(parts: Sequence[Templates]) -> Templates:
    import polars as pl

    filled = [part for part in parts if len(part)] or list(parts[:1])
    rows = pl.concat([part.rows for part in filled], how="diagonal")
    return Templates(rows, np.concatenate([part.vectors for part in filled]))


def _ranked(templates: Templates, order: "pl.DataFrame", enrolled: int) -> Templates:
    import polars as pl

    placed = templates.rows.join(order, on=["drop_id", "frame"], how="left", nulls_equal=True, maintain_order="left")
    rank = pl.when("is_all_pairs").then(pl.col("rank").cast(pl.Int64)).otherwise(enrolled)
    return replace(templates, rows=placed.with_columns(rank=rank))


def _genuine(lake: Lake, *, model_build: str, drops: Sequence[str]) -> "pl.DataFrame":
    """The bona fide genuine comparisons, with those that have no score."""
    import polars as pl

    rows = lake.scan(COMPARISONS, [TableKey(build=model_build, drop=drop) for drop in sorted(drops)])
    own = rows.filter("is_genuine", pl.col("presentation") == BONA_FIDE)
    return own.select("drop_id", "subject_id", "reference_id", "attempt_id", "score").collect()


def _rotations(
    eyes: Eyes, genuine: "pl.DataFrame", comparator: Comparator, rule: HammingRule, decided: float | None
) -> list[Row]:
    references, probes = eyes.side(eyes.references), eyes.side(eyes.probes)
    own = shift_curves(references, probes, rule=rule, rows=_places(eyes, genuine))
    other = shift_curves(references, probes, rule=rule)
    threshold = None if decided is None else comparator.oriented(decided)
    rows: list[Row] = []
    for rates in rotation_rates(own, other, scale=comparator.scale, decided=threshold):
        means = {name: getattr(rates, name) for name in ("threshold", "genuine_mean", "impostor_mean")}
        native = {name: None if mean is None else comparator.written(mean) for name, mean in means.items()}
        numbers: Row = {name: getattr(rates, name) for name in ("shifts", "n_genuine", "n_impostor", "eer", "fnmr")}
        rows.append(numbers | native | {"fmr": rates.fmr})
    return rows


def _places(eyes: Eyes, genuine: "pl.DataFrame") -> Rows:
    """The rows of both sides of listed comparisons; those whose templates an earlier drop has are left out."""
    left = eyes.references.rows.select("drop_id", "reference_id").with_row_index("left")
    right = eyes.probes.rows.select("drop_id", attempt_id="event_id").with_row_index("right")
    pairs = genuine.join(left, on=["drop_id", "reference_id"]).join(right, on=["drop_id", "attempt_id"])
    places: list[NDArray[np.int64]] = [pairs[name].to_numpy().astype(np.int64) for name in ("left", "right")]
    return places[0], places[1]
