"""The tables of liveness: every presentation with what became of it, and what it comes to for a build.

Rates by species, what the whole system makes of every kind of presentation, working points of one or two detectors, and
the answers to profiles.
"""

from cv_quality.drops.tables import DEVICES as DROP_DEVICES
from cv_quality.drops.tables import FRAME, PRESENTATIONS, SUBJECTS
from cv_quality.lake.columns import BUILD_ID, DEVICE_ID, DROP_ID, RATE, SUBJECT_ID
from cv_quality.lake.schema import Column, Table, identifier
from cv_quality.metrics.liveness.policies import POLICIES
from cv_quality.tasks.verification.modality import AS_RECORDED
from cv_quality.tasks.verification.tables import FRAME_STATUSES

OUTCOMES = ("taken for bona fide", "taken for an attack", "no response", "undecided")
LIVE, ATTACK, NO_RESPONSE, UNDECIDED = OUTCOMES
METRICS = ("apcer", "apnrr", "iapar", "bpcer", "bpnrr", "frr", "far")
UNITS = ("artefact", "subject", "presentation")
VERDICTS = ("pass", "fail", "insufficient")
SPECIES = Column("species", "text", "PAI species; all, of bona fide presentations")

PRESENTATION_SCORES = Table(
    "presentation_scores",
    "build_drop",
    "presentation to a liveness detector, scored by the build's models",
    (
        BUILD_ID,
        DROP_ID,
        identifier("presentation_id", "the presentation"),
        FRAME,
        Column(
            "status",
            "text",
            "ok, what kept the models from a score, or as_recorded: the build has no model",
            levels=(*FRAME_STATUSES, AS_RECORDED),
            bounds="status",
        ),
        Column("lab_score", "real", "of the models; higher is more surely bona fide; null unless ok", nullable=True),
        Column(
            "model_sha256",
            "text",
            "digest of all that makes a score; null where no model is run",
            nullable=True,
            pattern="[0-9a-f]{64}",
        ),
    ),
    unique=("presentation_id",),
)
PRESENTATION_OUTCOMES = Table(
    "presentation_outcomes",
    "build_drop",
    "presentation to a liveness detector with what became of it",
    (
        BUILD_ID,
        DROP_ID,
        identifier("presentation_id", "the presentation"),
        SUBJECT_ID,
        Column("is_attack", "flag", "whether an artefact was presented"),
        *(PRESENTATIONS.column(name) for name in ("pai_species", "pai_series", "artefact_id", "target_subject_id")),
        DEVICE_ID,
        *(DROP_DEVICES.column(name) for name in ("device_model", "os_version")),
        *(SUBJECTS.column(name) for name in ("age_band", "sex", "skin_tone")),
        Column("skin_tone_band", "text", "skin tone (Monk), in bands", nullable=True),
        FRAME,
        Column(
            "pad_score",
            "real",
            "that decides: of the build's models, else of the device; higher is more surely bona fide",
            nullable=True,
        ),
        Column("device_pad_score", "real", "as the device logged it", nullable=True),
        PRESENTATIONS.column("is_device_live"),
        PRESENTATIONS.column("second_pad_score"),
        Column("outcome", "text", "what became of it", levels=OUTCOMES),
        Column("is_error", "flag", "whether that is wrong; null where undecided or without a response", nullable=True),
        PRESENTATIONS.column("is_device_match"),
    ),
    unique=("presentation_id",),
    conditions="banded",
)
LIVENESS_RATES = Table(
    "liveness_rates",
    "build",
    "rate of a build's liveness: by PAI species, over all and by condition",
    (
        BUILD_ID,
        Column("metric", "text", "which rate", levels=METRICS),
        SPECIES,
        Column("dimension", "text", "the condition, or all"),
        Column("level", "text", "its level, or all"),
        *RATE,
        Column("upper", "real", "one-sided upper 95 % bound, of attacks", nullable=True, low=0, high=1),
        Column("icc", "real", "how alike presentations of one artefact are", nullable=True, low=-1, high=1),
        Column("unit", "text", "what the bounds cluster by", levels=UNITS),
        Column("is_worst", "flag", "whether no other species of the metric, dimension and level is worse"),
    ),
    unique=("metric", "species", "dimension", "level"),
    mart=True,
)
LIVENESS_WATERFALL = Table(
    "liveness_waterfall",
    "build",
    "kind of presentation with the stage of the whole system that decided it",
    (
        BUILD_ID,
        Column("kind", "text", "bona fide, zero-effort impostor, or the PAI species"),
        Column("is_attack", "flag", "whether an artefact was presented"),
        Column("presented", "integer", "presentations", low=1),
        Column("capture", "integer", "without a response", low=0),
        Column("liveness", "integer", "captured and taken for an attack", low=0),
        Column("matcher", "integer", "taken for bona fide, and not for the target", low=0),
        Column("accepted", "integer", "passed the whole system as the target", low=0),
        Column("undecided", "integer", "neither decided by liveness, or passed by it and not by a known match", low=0),
        Column("riapar", "real", "IAPAR of the species + FRR of the same system", nullable=True, low=0, high=2),
        Column("reason", "text", "why there is no RIAPAR", nullable=True),
    ),
    unique=("kind",),
    mart=True,
)
LIVENESS_POLICIES = Table(
    "liveness_policies",
    "build",
    "rate of a detector, or of two together, at a threshold that was chosen on other artefacts and subjects",
    (
        BUILD_ID,
        Column("policy", "text", "which detector decides, or how two do", levels=POLICIES),
        Column("target", "real", "highest APCER of every species where the threshold was chosen", low=0, high=1),
        Column("metric", "text", "which rate", levels=("apcer", "bpcer")),
        SPECIES,
        Column("threshold", "real", "of the first detector, or of the one score", nullable=True),
        Column("second_threshold", "real", "of the second detector, where both decide", nullable=True),
        Column("weight", "real", "of the first score in a fusion", nullable=True),
        Column("second_weight", "real", "of the second score in a fusion", nullable=True),
        *RATE,
        Column("is_worst", "flag", "whether no other species of the policy and target is worse"),
        Column("difference", "real", "the rate less that of the first detector", nullable=True, low=-1, high=1),
        Column("difference_low", "real", "lower 95 % bound of the difference", nullable=True),
        Column("difference_high", "real", "upper 95 % bound of the difference", nullable=True),
        Column("difference_reason", "text", "why bounds are missing or say nothing", nullable=True),
        Column("n_chosen_on", "integer", "presentations that the threshold was chosen on", low=0),
        Column("caution", "text", "what the scores near the threshold cannot tell", nullable=True),
    ),
    unique=("policy", "target", "metric", "species"),
    mart=True,
)
LIVENESS_PROFILES = Table(
    "liveness_profiles",
    "build",
    "requirement of a profile with its answer for a species or a group, and a row of all together",
    (
        BUILD_ID,
        Column("profile", "text", "its name"),
        Column("profile_file", "text", "as the build's entry or the release policy names it"),
        Column("source", "text", "where it stands"),
        Column("profile_sha256", "text", "digest of its file"),
        Column("requirement", "text", "its id in the profile; 'overall' of all together"),
        Column("metric", "text", "which rate", nullable=True, levels=METRICS),
        Column("dimension", "text", "'pai_species', a condition, or 'all'"),
        Column("level", "text", "the species, the condition's level, or 'all'"),
        Column("confidence", "real", "of the one-sided bound", nullable=True, low=0, high=1),
        Column("bound", "real", "the bound that decided", nullable=True, low=0, high=1),
        Column("allowed", "real", "the highest rate accepted", nullable=True, low=0),
        *RATE,
        Column("verdict", "text", "what came of it", levels=VERDICTS),
        Column("answer", "text", "what the verdict rests on"),
    ),
    unique=("profile_file", "requirement", "dimension", "level"),
    mart=True,
)
