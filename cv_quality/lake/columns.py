"""Columns that several tables share: the ids, and a rate with its interval.

Tables are declared by those who write them: `cv_quality.drops.tables` and the `tables` modules below
`cv_quality.tasks`.
"""

from cv_quality.lake.schema import Column, identifier

DROP_ID = identifier("drop_id", "the drop that delivered the row")
BUILD_ID = identifier("build_id", "the build under evaluation")
MODEL_BUILD_ID = identifier("model_build_id", "whose model scored the build's drops: the build itself or its baseline")
SUBJECT_ID = identifier("subject_id", "pseudonym of the person presented to the sensor")
DEVICE_ID = identifier("device_id", "one unit of a device model")
SESSION_ID = identifier("session_id", "one sitting of one subject at one device")
REFERENCE_ID = identifier("reference_id", "the enrolled biometric reference")
RATE = (
    Column("value", "real", "the rate; null when undefined", nullable=True, low=0, high=1),
    Column("numerator", "integer", "errors", nullable=True, low=0),
    Column("denominator", "integer", "trials", nullable=True, low=0),
    Column("low", "real", "lower 95 % bound", nullable=True, low=0, high=1),
    Column("high", "real", "upper 95 % bound", nullable=True, low=0, high=1),
    Column("method", "text", "how the interval was computed", nullable=True),
    Column("n_effective", "real", "independent trials that would be as sure", nullable=True, low=0),
    Column("n_subjects", "integer", "subjects behind the rate, or families", nullable=True, low=0),
    Column("reason", "text", "why a value or an interval is missing", nullable=True),
)
