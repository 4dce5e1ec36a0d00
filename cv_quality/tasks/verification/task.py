"""Verification as a task: its modalities and its stages."""

from cv_quality.stage import Task
from cv_quality.tasks.ingest import INGEST
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.modality import BiometricModality
from cv_quality.tasks.verification.stages import STAGES


def verification(*modalities: BiometricModality) -> Task:
    """The task over these modalities."""
    return Task("verification", "Verification", modalities, (*INGEST, *STAGES))


VERIFICATION = verification(FACE)
