"""Liveness as a task: its modality, its stages and the sections of its page."""

from cv_quality.stage import Task
from cv_quality.tasks.ingest import LIVENESS_INGEST
from cv_quality.tasks.liveness.history import read_history
from cv_quality.tasks.liveness.modality import LIVENESS_MODALITY
from cv_quality.tasks.liveness.report.briefing import brief_liveness
from cv_quality.tasks.liveness.report.sections import SECTIONS
from cv_quality.tasks.liveness.report.trials import read_trials
from cv_quality.tasks.liveness.stages import POPULATIONS, STAGES

LIVENESS = Task(
    "liveness",
    "Liveness",
    (LIVENESS_MODALITY,),
    (*LIVENESS_INGEST, *STAGES),
    SECTIONS,
    brief_liveness,
    read_history,
    populations=POPULATIONS,
    trials=read_trials,
)
