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
from cv_quality.reports.trials import TrialColumn, TrialKind, TrialName, Trials, TrialSlice

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
    TrialColumn("claimed_subject_id", "claimed subject", "name"),
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
            "claimed_subject_id": [None] * n,
        },
        schema_overrides={"eyewear": pl.String, "claimed_subject_id": pl.String},
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


def trials_of(
    rows: pl.DataFrame, *further: TrialKind, columns: tuple[TrialColumn, ...] = COLUMNS, max_thumbnails: int = 40
) -> Trials:
    """Make trials of rows, and of further kinds."""
    return Trials(
        kinds=(kind_of(rows), *further),
        columns=columns,
        table="attempts",
        score="score",
        thresholds=(0.5,),
        max_thumbnails=max_thumbnails,
        read_thumbnails=draw_all,
    )


def kind_of(rows: pl.DataFrame) -> TrialKind:
    """Make the genuine attempts of rows."""
    return TrialKind(
        name="genuine",
        label="genuine attempts",
        population=population_of(rows, Outcome("frr", rate="FRR", failures="false rejects", trial="genuine attempt")),
        slices=(TrialSlice(1, DARK, "dim light and glasses", "In dim light with glasses 80 % fail."),),
        where="claimed_subject_id IS NULL",
        failed="outcome <> 'accepted'",
    )


def population_of(rows: pl.DataFrame, outcome: Outcome) -> Population:
    """Make a population of attempts."""
    return Population(
        outcome,
        rows,
        failed="is_failure",
        unit="subject_id",
        columns=("light_lux", "eyewear"),
        key=("drop_id", "attempt_id"),
    )


def impostors_of(rows: pl.DataFrame, *, n_subjects: int, rate: float = 0.03, seed: int = 2) -> TrialKind:
    """Make impostor attempts of rows: each claims another of some subjects, and a few are accepted."""
    drawn = np.random.default_rng(seed)
    one = drawn.integers(0, n_subjects, rows.height)
    other = (one + drawn.integers(1, n_subjects, rows.height)) % n_subjects
    is_failure = drawn.random(rows.height) < rate * (1 + 2 * (one % 5 == 0))
    rows = rows.with_columns(
        attempt_id=pl.format("i{}", "attempt_id"),
        subject_id=pl.Series([f"s{number:05d}" for number in one]),
        claimed_subject_id=pl.Series([f"s{number:05d}" for number in other]),
        is_failure=pl.Series(is_failure),
        outcome=pl.Series(np.where(is_failure, "accepted", "non_match")),
        badness=pl.col("score"),
    )
    return TrialKind(
        name="impostor",
        label="impostor attempts",
        population=population_of(rows, Outcome("far", rate="FAR", failures="false accepts", trial="impostor attempt")),
        slices=(),
        where="claimed_subject_id IS NOT NULL",
        failed="outcome = 'accepted'",
        interval="pair",
        other_unit="claimed_subject_id",
    )


def attacks_of(rows: pl.DataFrame, *, artefacts: int) -> TrialKind:
    """Make attacks of rows with three species, each of so many artefacts, and one of three that nothing passes."""
    place = np.arange(rows.height)
    species = np.array(["mask", "print", "replay"])[place % 3]
    item = (place // 3) % artefacts
    drawn = np.random.default_rng(7).random(rows.height)
    is_failure = (species == "mask") & (drawn < 0.1 + 0.5 * (item % 4 == 0)) | (species == "print") & (drawn < 0.05)
    rows = rows.with_columns(
        eyewear=pl.Series(species),
        subject_id=pl.Series([f"{name} {number}" for name, number in zip(species, item, strict=True)]),
        is_failure=pl.Series(is_failure),
        outcome=pl.Series(np.where(is_failure, "accepted", "non_match")),
    )
    outcome = Outcome("attack_passed", rate="APCER", failures="attacks that passed", trial="attack", unit="artefact")
    return TrialKind(
        name="attack",
        label="attacks",
        population=population_of(rows, outcome),
        slices=(),
        where="true",
        failed="outcome = 'accepted'",
        interval="artefact",
        worst_of="eyewear",
    )
