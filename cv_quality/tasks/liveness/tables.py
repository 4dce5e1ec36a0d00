"""The tables of liveness: every presentation with what became of it, and the rates of a build by species."""

from cv_quality.drops.tables import DEVICES as DROP_DEVICES
from cv_quality.drops.tables import FRAME, PRESENTATIONS, SUBJECTS
from cv_quality.lake.columns import BUILD_ID, DEVICE_ID, DROP_ID, RATE, SUBJECT_ID
from cv_quality.lake.schema import Column, Table, identifier
from cv_quality.tasks.verification.modality import AS_RECORDED
from cv_quality.tasks.verification.tables import FRAME_STATUSES

OUTCOMES = ("taken for bona fide", "taken for an attack", "no response", "undecided")
LIVE, ATTACK, NO_RESPONSE, UNDECIDED = OUTCOMES
METRICS = ("apcer", "apnrr", "iapar", "bpcer", "bpnrr", "frr")
UNITS = ("artefact", "subject", "presentation")
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
