"""Everything after inference on a small drop, for tests of what reads the result."""

from collections.abc import Sequence

import numpy as np

from cv_quality.lake.lake import Lake
from cv_quality.tasks.verification.build_metrics import measure_build
from cv_quality.tasks.verification.comparisons import compare_drop
from cv_quality.tasks.verification.counts import count_metrics
from cv_quality.tasks.verification.impostors import count_impostors, write_impostors
from cv_quality.tasks.verification.modalities.face import FACE
from cv_quality.tasks.verification.outcomes import attempt_outcomes
from cv_quality_tests.tasks.verification.tiny_drops import Sample, random_drop, unit, write_drop

THRESHOLD = 0.6


def score_drop(lake: Lake, drop: str, *, model: str = "b1", threshold: float = THRESHOLD) -> None:
    """Compare, judge and count one drop."""
    compare_drop(lake, build=model, drop=drop, modality=FACE)
    attempt_outcomes(lake, modality=FACE, build=model, decision_threshold=threshold, drop=drop)
    count_metrics(lake, modality=FACE, build=model, drop=drop)


def measure(
    lake: Lake, *, build: str, drops: Sequence[str], models: Sequence[str] = (), threshold: float = THRESHOLD
) -> None:
    """Count the impostor pairs of a build and measure it."""
    models = models or (build,)
    counted = [
        count_impostors(lake, build=build, model_build=m, drops=drops, modality=FACE, decision_threshold=threshold)
        for m in models
    ]
    write_impostors(lake, counted, comparator=FACE.comparator)
    measure_build(lake, build=build, model_builds=models, drops=drops, comparator=FACE.comparator)


def stranger(seed: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    """A template of nobody enrolled."""
    return unit(np.random.default_rng(seed).normal(size=16))


def mixed_drop(lake: Lake, drop: str, *, seed: int) -> None:
    """A drop of build b1 with an attempt for every outcome, an impostor and an attack; b0 has embedded it too."""
    enrols, attempts = random_drop(seed=seed, subjects=["ann", "bob", "cyd"], attempts=6, prefix=f"{drop}-")
    attempts += [
        Sample(f"a-{drop}-timeout", "ann", stranger(1), reference="r-ann", columns={"device_stage": "timeout"}),
        Sample(f"a-{drop}-quality", "ann", stranger(2), reference="r-ann", columns={"device_stage": "quality"}),
        Sample(f"a-{drop}-liveness", "bob", stranger(3), reference="r-bob", columns={"device_stage": "liveness"}),
        Sample(f"a-{drop}-acquire", "bob", None, reference="r-bob", columns={"device_stage": "acquisition"}),
        Sample(f"a-{drop}-noface", "cyd", None, reference="r-cyd", columns={"illuminance_lux": 3.0}),
        Sample(f"a-{drop}-impostor", "cyd", stranger(4), reference="r-ann", claimed="ann"),
        Sample(f"a-{drop}-mask", "cyd", stranger(5), reference="r-ann", columns={"presentation": "mask"}),
    ]
    write_drop(lake, drop=drop, build="b1", enrols=enrols, attempts=attempts, models=("b1", "b0"))
