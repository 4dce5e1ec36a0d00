"""Makes trials by hand: as many as are wanted, with images of those who agreed, and some that are hard to show."""

import base64
import io
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import polars as pl

from cv_quality.error_analysis.population import Outcome, Population
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.reports.pictures import NO_CONSENT, NO_FRAME, Picture
from cv_quality.reports.trials import TrialColumn, TrialName, Trials, TrialSlice

DARK = Slice((Predicate("light_lux", "<=", 9.5), Predicate("eyewear", "in", ("glasses", None))))
HOSTILE = "</script><img src=x onerror=alert(1)>"
RIGHT_TO_LEFT = "משקפיים"
COLUMNS = (
    TrialColumn("outcome", "outcome", "level"),
    TrialColumn("score", "score", "number"),
    TrialColumn("baseline_score", "score before", "number"),
    TrialColumn("light_band", "light in lux", "level"),
    TrialColumn("light_lux", "light", "number"),
    TrialColumn("yaw_deg", "yaw in degrees", "number"),
    TrialColumn("eyewear", "eyewear", "level"),
    TrialColumn("is_indoors", "indoors", "level"),
    TrialColumn("device_model", "device model", "level"),
    TrialColumn("drop_id", "drop", "level"),
    TrialColumn("subject_id", "subject", "name"),
    TrialColumn("attempt_id", "attempt", "name"),
)


def rows_of(n: int, *, seed: int = 1) -> pl.DataFrame:
    """Make attempts of as many subjects as have twenty each; a third of the subjects agreed to nothing."""
    drawn = np.random.default_rng(seed)
    subjects = drawn.integers(0, max(n // 20, 2), n)
    light, yaw = np.round(drawn.lognormal(4, 2, n), 3), drawn.normal(0, 12, n)
    eyewear = drawn.choice(np.array(["none", "glasses", "sun'glasses", RIGHT_TO_LEFT, None], dtype=object), n)
    score = np.where(light < 10, 0.45, 0.75) + drawn.normal(0, 0.12, n) + 0.05 * (subjects % 3)
    edges = ["<10", "10-100", "100-1000", ">=1000"]
    rows = pl.DataFrame(
        {
            "drop_id": [f"2026-0{1 + place % 3}-01_b-2_site" for place in range(n)],
            "attempt_id": [f"a{place:06d}" for place in range(n)],
            "subject_id": [f"s{subject:05d}" for subject in subjects],
            "score": np.where(drawn.random(n) < 0.02, np.nan, score),
            "baseline_score": score + drawn.normal(0.02, 0.05, n),
            "light_lux": light,
            "light_band": [edges[int(np.searchsorted([10, 100, 1000], value, side="right"))] for value in light],
            "yaw_deg": yaw,
            "eyewear": eyewear.tolist(),
            "is_indoors": drawn.random(n) < 0.5,
            "device_model": [f"model {place}" for place in drawn.integers(0, 20, n)],
        },
        schema_overrides={"eyewear": pl.String},
        strict=False,
    ).with_columns(pl.col("score").fill_nan(None))
    outcome = pl.when(pl.col("score").is_null()).then(pl.lit("not_acquired"))
    rows = rows.with_columns(
        outcome=outcome.when(pl.col("score") < 0.5).then(pl.lit("non_match")).otherwise(pl.lit("accepted")),
        badness=-pl.col("score"),
    )
    refuses = pl.col("subject_id").str.slice(1).cast(pl.Int64, strict=False) % 3 == 0
    hidden = pl.when(pl.col("score").is_null()).then(pl.lit(NO_FRAME)).when(refuses).then(pl.lit(NO_CONSENT))
    return rows.with_columns(is_failure=pl.col("outcome") != "accepted", why_hidden=hidden).with_columns(
        may_show=pl.col("why_hidden").is_null()
    )


@cache
def picture(number: int) -> Picture:
    """Make an image that does not compress well, as photographs do not."""
    from PIL import Image

    noise = np.random.default_rng(number).normal(120, 18, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    target = io.BytesIO()
    Image.fromarray(noise).save(target, "WEBP", quality=60)
    return Picture(f"data:image/webp;base64,{base64.b64encode(target.getvalue()).decode()}")


def draw_all(names: Sequence[TrialName]) -> Mapping[TrialName, Picture]:
    """Draw one of a few images for each trial."""
    return {name: picture(place % 7) for place, name in enumerate(names)}


def trials_of(rows: pl.DataFrame, *, columns: tuple[TrialColumn, ...] = COLUMNS, max_thumbnails: int = 40) -> Trials:
    """Make trials of rows."""
    return Trials(
        population=Population(
            Outcome("frr", rate="FRR", failures="false rejects", trial="genuine attempt"),
            rows,
            failed="is_failure",
            unit="subject_id",
            columns=("light_lux", "eyewear"),
            key=("drop_id", "attempt_id"),
        ),
        columns=columns,
        slices=(TrialSlice(1, DARK, "dim light and glasses", "In dim light with glasses 80 % fail."),),
        table="attempts",
        where="true",
        failed="outcome <> 'accepted'",
        score="score",
        thresholds=(0.5,),
        max_thumbnails=max_thumbnails,
        read_thumbnails=draw_all,
    )
