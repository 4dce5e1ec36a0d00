"""Irises: packed codes with masks under the masked Hamming distance, the smallest over rotations; two a subject."""

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.builds import modality_of
from cv_quality.errors import RegistryError
from cv_quality.inference.iris.entry import IrisEntry, parse_iris_entry
from cv_quality.inference.registry import BuildEntry, ModelRegistry
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Column
from cv_quality.metrics.iris.rules import RANGES, HammingRule
from cv_quality.metrics.pairs import PairCounts, Rows, Side, TemplateArray
from cv_quality.modality import Bands, Dimension
from cv_quality.tasks.conditions import CONDITION_LABEL, ILLUMINANCE, THERMAL_STATE
from cv_quality.tasks.verification.modality import BiometricModality, Comparator, Encoder, biometric, codes_of
from cv_quality.tasks.verification.rules import ONE_LENGTH

if TYPE_CHECKING:
    from cv_quality.tasks.verification.explanations import ExplanationSummary
    from cv_quality.workspace import Workspace

EYE = "eye"
CONDITIONS = (
    Dimension(
        Column(EYE, "text", "which eye it is", nullable=True, levels=("left", "right", "unknown")),
        "eye",
        phrase="{} eye",
        level_phrase="{} eye",
        is_counted=True,
    ),
    replace(ILLUMINANCE, benign=("illuminance 200 lux", 200.0)),
    Dimension(
        Column("distance_cm", "real", "distance of the eye to the sensor", nullable=True, low=0, high=1_000),
        "distance in cm",
        phrase="{} cm",
    ),
    Dimension(
        Column("gaze_deg", "real", "angle of the gaze off the camera's axis", nullable=True, low=0, high=90),
        "gaze off axis in degrees",
        phrase="gaze {}° off axis",
        level_phrase="gaze {}° off axis",
        bands=Bands("gaze_band", (10.0, 20.0, 30.0), ("<10", "10-20", "20-30", ">=30"), "gaze off axis in degrees"),
        is_counted=True,
        benign=("gaze on the axis", 0.0),
    ),
    Dimension(
        Column("spectacles", "text", "spectacles worn", nullable=True, levels=("none", "clear", "tinted")),
        "spectacles",
        phrase="{} spectacles",
        is_counted=True,
        benign=("no spectacles", "none"),
        ordinary="none",
    ),
    Dimension(
        Column("contact_lens", "text", "contact lens worn", nullable=True, levels=("none", "soft", "patterned")),
        "contact lens",
        phrase="{} contact lens",
        is_counted=True,
        benign=("no contact lens", "none"),
        ordinary="none",
    ),
    Dimension(
        Column("days_since_enrol", "real", "days since the reference was enrolled", nullable=True, low=0, high=40_000),
        "days since enrolment",
        phrase="{} days since enrolment",
    ),
    THERMAL_STATE,
    CONDITION_LABEL,
)
MEASURED = (
    Dimension(
        Column("pupil_iris_ratio", "real", "diameter of the pupil by that of the iris", nullable=True, low=0, high=1),
        "pupil by iris",
        phrase="pupil {} of the iris",
        level_phrase="pupil {} of the iris",
        bands=Bands("pupil_band", (0.3, 0.45, 0.6), ("<0.3", "0.3-0.45", "0.45-0.6", ">=0.6"), "pupil by iris"),
        is_counted=True,
    ),
    Dimension(
        Column(
            "dilation_delta", "real", "difference of pupil by iris from the reference", nullable=True, low=0, high=1
        ),
        "difference in dilation",
        phrase="dilation {} off the reference",
        level_phrase="dilation {} off the reference",
        bands=Bands("dilation_band", (0.05, 0.15), ("<0.05", "0.05-0.15", ">=0.15"), "difference in dilation"),
        is_counted=True,
        benign=("dilated as the reference", 0.0),
    ),
    Dimension(
        Column("usable_area", "real", "part of the code's bits that the mask keeps", nullable=True, low=0, high=1),
        "usable area",
        phrase="usable area {}",
        level_phrase="usable area {}",
        bands=Bands("area_band", (0.5, 0.7, 0.85), ("<0.5", "0.5-0.7", "0.7-0.85", ">=0.85"), "usable area"),
        is_counted=True,
        is_searched=False,
    ),
    Dimension(
        Column("off_axis_deg", "real", "angle off the axis by the iris's ellipse", nullable=True, low=0, high=90),
        "measured angle off axis in degrees",
        phrase="iris seen {}° off axis",
    ),
    Dimension(
        Column("sharpness", "real", "of the iris's texture", nullable=True, low=0),
        "sharpness",
        phrase="sharpness {}",
        is_logarithmic=True,
        is_searched=False,
    ),
    Dimension(
        Column("iris_diameter_px", "real", "diameter of the iris", nullable=True, low=0),
        "iris diameter in pixels",
        phrase="iris {} px wide",
    ),
    Dimension(
        Column("centre_distance", "real", "of pupil and iris, by the iris's radius", nullable=True, low=0),
        "distance of the centres of pupil and iris",
        phrase="pupil {} off the centre",
        is_searched=False,
    ),
    Dimension(
        Column("specular_area", "real", "part of the iris that highlights cover", nullable=True, low=0, high=1),
        "specular area",
        phrase="highlights over {} of the iris",
        is_searched=False,
    ),
    Dimension(
        Column("periodicity", "real", "strongest line of the spectrum around the iris", nullable=True, low=0),
        "periodicity around the iris",
        phrase="periodicity {}",
        is_logarithmic=True,
        is_searched=False,
    ),
)
NO_OVERLAP: Final = "no_overlap"
"""Fewer bits than the rule's minimum are valid in both templates at every rotation."""
_BEYOND = 1e6
"""No distance is as far from 0, whatever its normalisation."""


def load_encoder(entry: BuildEntry, registry: ModelRegistry, threads: int) -> Encoder:
    """Load a build's encoder, or its ready templates; see `load_iris_encoder`."""
    from cv_quality.inference.iris.encoder import load_iris_encoder

    return load_iris_encoder(_iris_entry(entry), registry, threads)


def explain(workspace: "Workspace", build: str) -> "ExplanationSummary":
    """Change the failures of a build's confirmed slices; simulated eyes are rendered again under other conditions."""
    from cv_quality.simulation.rerender import rerenderer
    from cv_quality.tasks.verification.iris_counterfactuals import explain_irises

    modality = biometric(modality_of(workspace, TableKey(build=build)))
    return explain_irises(workspace, build, modality=modality, rerender=rerenderer(workspace.landing))


def largest_mask(samples: TemplateArray, starts: NDArray[np.int64]) -> tuple[TemplateArray, NDArray[np.bool_]]:
    """Let the sample with most valid bits stand for each reference, the first one of equals; none without any."""
    valid = np.bitwise_count(samples[:, 1]).sum(axis=1, dtype=np.int64)
    ends = [*starts[1:], len(samples)]
    best = np.array([start + np.argmax(valid[start:end]) for start, end in zip(starts, ends, strict=True)], np.int64)
    is_usable = valid[best] > 0
    return samples[best[is_usable]], is_usable


def comparator_of(entry: BuildEntry) -> Comparator:
    """Compare as a build's entry claims: its bits, rotations and normalisation."""
    return hamming(_iris_entry(entry).comparison)


def hamming(rule: HammingRule) -> Comparator:
    """Make the comparator of a rule: the smallest masked Hamming distance over its rotations, normalised."""

    def score(references: TemplateArray, probes: TemplateArray, rows: Rows) -> NDArray[np.float64]:
        from cv_quality.metrics.iris.hamming import compare

        return compare(references, probes, rows, rule).hd_norm

    def count(references: Side, probes: Side, *, threshold: float | None) -> PairCounts:
        from cv_quality.metrics.iris.counting import count_codes

        return count_codes(references, probes, rule=rule, threshold=threshold)

    algorithm, bounds = f"hamming-1 {rule}", rule.score_range
    return replace(_HAMMING, algorithm=algorithm, score_range=bounds, score=score, count=count, rule=rule)


def _iris_entry(entry: BuildEntry) -> IrisEntry:
    if not isinstance(entry, IrisEntry):
        raise RegistryError(f"{entry.build_id}.yaml: a build of modality {entry.modality} has no iris encoder")
    return entry


def _no_rule(
    references: TemplateArray,  # noqa: ARG001 - as comparators are asked
    probes: TemplateArray,  # noqa: ARG001
    rows: Rows,  # noqa: ARG001
) -> NDArray[np.float64]:
    raise RegistryError("irises are compared by the rule of a build: take the modality of that build")


_HAMMING = Comparator(
    name="Hamming distance",
    algorithm="hamming-1",
    direction="dissimilarity",
    score_range=RANGES["daugman"],
    accepts_none=-_BEYOND,
    accepts_all=_BEYOND,
    parity_tolerance=0.01,
    read=codes_of,
    fuse=largest_mask,
    score=_no_rule,
    not_comparable=NO_OVERLAP,
    template="bits",
)
IRIS = BiometricModality(
    name="iris",
    conditions=CONDITIONS,
    encoder=load_encoder,
    comparator=_HAMMING,
    failure_statuses=(
        "no_eye",
        "gaze",
        "occlusion",
        "dilation",
        "constriction",
        "off_centre",
        "sharpness",
        "mask_too_small",
        "specular",
        "lens",
        "strip_size",
        "no_template",
    ),
    template_rules=(ONE_LENGTH,),
    explain=explain,
    parse_entry=parse_iris_entry,
    measured=MEASURED,
    differences={"dilation_delta": "pupil_iris_ratio"},
    instance=EYE,
    comparator_of=comparator_of,
)
