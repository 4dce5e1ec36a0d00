"""What the gates of video ask of its scores and metrics, beyond the declarations of its tables."""

from cv_quality.gates.rules import Rule

PREDICT_RULES: tuple[Rule, ...] = ()
SCORE_FRAMES_RULES: tuple[Rule, ...] = ()
MEASURE_VIDEO_RULES: tuple[Rule, ...] = ()
