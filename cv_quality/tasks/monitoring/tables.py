"""The tables of watched builds, one for every task. No stage writes them: looks do, when somebody or a sensor asks."""

from cv_quality.lake.columns import BUILD_ID, DROP_ID
from cv_quality.lake.schema import Column, Table

MONITOR_ARRIVALS = Table(
    "monitor_arrivals",
    "build",
    "drop of a watched build with the look at which its attempts were counted; rows are only appended",
    (
        BUILD_ID,
        Column("look", "integer", "number of the look", low=1),
        Column("day", "text", "of the look, as ISO 8601; never before that of the look before"),
        DROP_ID,
        Column("drop_day", "text", "the date that the drop bears"),
        Column("is_late", "flag", "whether it bears the date of a day that was counted before it came"),
    ),
    unique=("drop_id",),
    mart=True,
)
MONITORING = Table(
    "monitoring",
    "build",
    "claim about a watched build after one look; made of the counts of the drops that have arrived, and of them alone",
    (
        BUILD_ID,
        Column("look", "integer", "number of the look", low=1),
        Column("day", "text", "of the look, as ISO 8601"),
        Column(
            "claim",
            "text",
            "level: the population's mean rate is at most the target; change: this panel's is no higher than the "
            "baseline's",
            levels=("level", "change"),
        ),
        Column("metric", "text", "the rate"),
        Column("dimension", "text", "'all', or the condition that attempts are counted by"),
        Column("level", "text", "'all', or a level of the dimension"),
        Column("reference", "real", "the target, or the baseline's mean rate", low=0, high=1),
        Column("value", "real", "mean rate of the subjects, or clips, that were bet on", low=0, high=1),
        Column("n_subjects", "integer", "subjects, or clips, that were bet on so far", low=0),
        Column("n_returning", "integer", "of those seen so far, how many were seen at several looks", low=0),
        Column("e_value", "real", "capital of the bet against the claim", low=0),
        Column("is_alarm", "flag", "whether e-BH over all claims has chosen it by now"),
        Column("state", "text", "what is known of it", levels=("quiet", "alarm", "cannot tell")),
    ),
    unique=("look", "claim", "metric", "dimension", "level"),
    mart=True,
)
MONITOR_TABLES = (MONITOR_ARRIVALS, MONITORING)
