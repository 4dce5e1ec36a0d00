"""Video as a task: its modality, its stages and the sections of its page."""

from cv_quality.stage import Task
from cv_quality.tasks.ingest import VIDEO_INGEST
from cv_quality.tasks.video.history import read_history
from cv_quality.tasks.video.modality import VIDEO_MODALITY
from cv_quality.tasks.video.report.briefing import brief_video
from cv_quality.tasks.video.report.sections import SECTIONS
from cv_quality.tasks.video.report.trials import read_trials
from cv_quality.tasks.video.stages import POPULATIONS, STAGES

VIDEO = Task(
    "video",
    "Video",
    (VIDEO_MODALITY,),
    (*VIDEO_INGEST, *STAGES),
    SECTIONS,
    brief_video,
    read_history,
    read_trials,
    POPULATIONS,
)
