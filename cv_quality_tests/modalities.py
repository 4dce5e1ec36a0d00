"""What tests evaluate: the modalities by name, as a workspace has them, and tables as they are for faces."""

from cv_quality.drops import tables as drops
from cv_quality.modality import Modality, of_modality
from cv_quality.tasks.verification import tables
from cv_quality.tasks.verification.modalities.face import FACE

MODALITIES: dict[str, Modality] = {"face": FACE}
ATTEMPT_OUTCOMES = of_modality(tables.ATTEMPT_OUTCOMES, FACE)
VALIDATED_ATTEMPTS = of_modality(drops.VALIDATED_ATTEMPTS, FACE)
VALIDATED_ENROLS = of_modality(drops.VALIDATED_ENROLS, FACE)
