"""The table of release verdicts, one for every task."""

from cv_quality.lake.columns import BUILD_ID
from cv_quality.lake.schema import Column, Table, identifier

OVERALL = "overall"

RELEASE_VERDICTS = Table(
    "release_verdicts",
    "build",
    "requirement of the release policy with its verdict for a build, and a row of all primary ones together",
    (
        BUILD_ID,
        identifier("baseline_build_id", "the build that margins are held against", nullable=True),
        Column("policy", "text", "name of the policy"),
        Column("policy_sha256", "text", "digest of its file"),
        Column("requirement", "text", "its id in the policy; 'overall' of all primary ones together"),
        Column("role", "text", "'primary', or 'secondary': shown, and deciding nothing"),
        Column("kind", "text", "'margin' against the baseline, 'limit' of the rate itself, 'profile', or 'overall'"),
        Column("metric", "text", "what was measured", nullable=True),
        Column("fmr_target", "real", "highest FMR allowed, for fnmr_at_fmr", nullable=True, low=0, high=1),
        Column("dimension", "text", "'all', or a condition; of a profile the id of what it asks"),
        Column("level", "text", "'all', or its level; of a profile the species or group"),
        Column("allowed", "real", "the margin, or the limit", nullable=True, low=0),
        Column("alpha", "real", "one-sided chance of a pass at the margin", nullable=True, low=0, high=1),
        Column("value", "real", "the loss against the baseline, or the rate", nullable=True),
        Column("low", "real", "lower one-sided bound of the value", nullable=True),
        Column("high", "real", "upper one-sided bound of the value", nullable=True),
        Column("p_value", "real", "of a loss of at least the margin", nullable=True, low=0, high=1),
        Column("adjusted", "real", "the same after Holm, of secondary requirements", nullable=True, low=0, high=1),
        Column("subjects_needed", "integer", "that would settle an open margin", nullable=True, low=0),
        Column("verdict", "text", "'pass', 'fail' or 'insufficient'"),
        Column("reason", "text", "what the verdict rests on"),
    ),
    unique=("requirement", "dimension", "level"),
    asset="release_verdict",
    mart=True,
)
