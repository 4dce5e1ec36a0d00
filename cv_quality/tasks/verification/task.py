"""Verification as a task: its modalities, its stages and the sections of its page."""

from cv_quality.stage import Task
from cv_quality.tasks.ingest import INGEST
from cv_quality.tasks.verification.history import read_history
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.modalities.iris import IRIS
from cv_quality.tasks.verification.modality import BiometricModality
from cv_quality.tasks.verification.report.briefing import brief_verification
from cv_quality.tasks.verification.report.sections import SECTIONS
from cv_quality.tasks.verification.report.trials import read_trials
from cv_quality.tasks.verification.stages import POPULATIONS, STAGES


def verification(*modalities: BiometricModality) -> Task:
    """The task over these modalities."""
    return Task(
        "verification",
        "Verification",
        modalities,
        (*INGEST, *STAGES),
        SECTIONS,
        brief_verification,
        read_history,
        read_trials,
        POPULATIONS,
    )


VERIFICATION = verification(FACE, IRIS)
