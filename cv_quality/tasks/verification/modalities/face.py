"""Faces: unit vectors under the cosine."""

from cv_quality.drops.tables import CONDITIONS
from cv_quality.inference.registry import parse_model_entry
from cv_quality.modality import Dimension
from cv_quality.tasks.verification.modality import BiometricModality

FACE = BiometricModality(
    name="face",
    conditions=tuple(Dimension(column, column.meaning) for column in CONDITIONS),
    bounds={"score": (-1.0, 1.0), "threshold": (-1.0, 2.0)},
    parse_entry=parse_model_entry,
)
