"""Faces: unit vectors under the cosine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from cv_quality.builds import modality_of, own_drops
from cv_quality.inference.encoded import Encoded
from cv_quality.inference.preprocessing import Frame
from cv_quality.inference.registry import BuildEntry, ModelRegistry, parse_model_entry
from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Column
from cv_quality.metrics.pairs import ALGORITHM, Rows, TemplateArray, count_block
from cv_quality.modality import Dimension
from cv_quality.tasks.conditions import CONDITION_LABEL, ILLUMINANCE, THERMAL_STATE
from cv_quality.tasks.verification.modality import BiometricModality, Comparator, Conditions, biometric, vectors_of
from cv_quality.tasks.verification.rules import ONE_DIMENSION, UNIT_NORM

if TYPE_CHECKING:
    import polars as pl

    from cv_quality.inference.embedder import Embedder
    from cv_quality.tasks.verification.explanations import ExplanationSummary
    from cv_quality.workspace import Workspace


CONDITIONS = (
    replace(ILLUMINANCE, benign=("illuminance 200 lux", 200.0)),
    Dimension(
        Column("distance_cm", "real", "distance of the face to the sensor", nullable=True, low=0, high=1_000),
        "distance in cm",
        phrase="{} cm",
        benign=("distance 40 cm", 40.0),
    ),
    Dimension(
        Column("yaw_deg", "real", "head yaw, positive to the subject's left", nullable=True, low=-90, high=90),
        "yaw in degrees",
        phrase="yaw {}°",
        benign=("yaw 0 degrees", 0.0),
    ),
    Dimension(
        Column("pitch_deg", "real", "head pitch, positive up", nullable=True, low=-90, high=90),
        "pitch in degrees",
        phrase="pitch {}°",
        benign=("pitch 0 degrees", 0.0),
    ),
    Dimension(
        Column("motion_blur_px", "real", "length of the motion blur in the frame", nullable=True, low=0, high=500),
        "motion blur in pixels",
        phrase="blur {} px",
        benign=("no motion blur", 0.0),
    ),
    Dimension(
        Column("eyewear", "text", "what the eyes wear", nullable=True, levels=("none", "glasses", "sunglasses")),
        "eyewear",
        is_counted=True,
        benign=("no eyewear", "none"),
        ordinary="none",
    ),
    Dimension(
        Column("covering", "text", "what covers the face", nullable=True, levels=("none", "mask", "scarf")),
        "face covering",
        is_counted=True,
        benign=("nothing covers the face", "none"),
        ordinary="none",
    ),
    THERMAL_STATE,
    CONDITION_LABEL,
)


@dataclass(frozen=True, slots=True)
class FaceEncoder:
    """A build's face model; see `Encoder`."""

    embedder: "Embedder"

    def encode(
        self,
        frames: Sequence[Frame],
        conditions: Sequence[Conditions],
        names: Sequence[str],  # noqa: ARG002 - as every encoder is asked
    ) -> Encoded:
        """Embed frames; the illuminance is what preprocessing may adapt to."""
        lux = [cast("float | None", row["illuminance_lux"]) for row in conditions]
        batch = self.embedder.embed(frames, illuminance_lux=lux)
        return Encoded(batch.status, batch.embeddings)


def load_encoder(entry: BuildEntry, registry: ModelRegistry, threads: int) -> FaceEncoder:
    """Load a build's model; see `load_embedder`."""
    from cv_quality.inference.embedder import load_embedder

    return FaceEncoder(load_embedder(registry.model_entry(entry.build_id), registry=registry, threads=threads))


def explain_faces(workspace: "Workspace", build: str) -> "ExplanationSummary":
    """Explain a build's confirmed slices; frames of the simulation are rendered again under other conditions."""
    from cv_quality.simulation.rerender import rerenderer
    from cv_quality.tasks.root_causes.slices import read_slices
    from cv_quality.tasks.verification.explanations import explain_build
    from cv_quality.tasks.verification.populations import FRR

    return explain_build(
        workspace.lake,
        landing=workspace.landing,
        entry=workspace.registry.model_entry(build),
        registry=workspace.registry,
        build=build,
        drops=own_drops(workspace, build),
        slices=read_slices(workspace.lake, build, FRR.name),
        modality=biometric(modality_of(workspace, TableKey(build=build))),
        rerender=rerenderer(workspace.landing),
        pairs=workspace.settings.explained_pairs,
        threads=workspace.settings.threads,
    )


def unit_vectors(rows: "pl.DataFrame") -> NDArray[np.float64]:
    """Read templates as float64 vectors of unit norm."""
    return _unit(vectors_of(rows))


def fuse(samples: TemplateArray, starts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Fuse samples: their mean, brought back to unit norm; samples that cancel to nothing have no direction."""
    sums = np.add.reduceat(samples, starts, axis=0)
    is_usable = np.linalg.norm(sums, axis=1) > np.finfo(np.float32).eps
    return _unit(sums[is_usable]), is_usable


def cosine(references: TemplateArray, probes: TemplateArray, rows: Rows) -> NDArray[np.float64]:
    """Score listed pairs of unit vectors by their cosine, in [-1, 1]."""
    scores: NDArray[np.float64] = np.einsum("ij,ij->i", references[rows[0]], probes[rows[1]])
    return scores.clip(-1.0, 1.0)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


FACE = BiometricModality(
    name="face",
    conditions=CONDITIONS,
    encoder=load_encoder,
    comparator=Comparator(
        name="cosine",
        algorithm=ALGORITHM,
        direction="similarity",
        score_range=(-1.0, 1.0),
        accepts_none=2.0,
        accepts_all=-1.0,
        parity_tolerance=0.01,
        read=unit_vectors,
        fuse=fuse,
        score=cosine,
        count=count_block,
    ),
    failure_statuses=("no_face", "non_finite", "zero_norm"),
    template_rules=(UNIT_NORM, ONE_DIMENSION),
    explain=explain_faces,
    parse_entry=parse_model_entry,
)
