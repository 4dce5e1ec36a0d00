"""Everything after inference on a small drop, for tests of what reads the result."""

from collections.abc import Sequence

from cv_quality.failures.outcomes import attempt_outcomes
from cv_quality.lake.lake import Lake
from cv_quality.metrics.comparisons import compare_drop
from cv_quality.metrics.counts import count_metrics
from cv_quality.metrics.impostors import count_impostors, write_impostors
from cv_quality.metrics.measure import measure_build

THRESHOLD = 0.6


def score_drop(lake: Lake, drop: str, *, model: str = "b1") -> None:
    """Compare, judge and count one drop."""
    compare_drop(lake, build=model, drop=drop)
    attempt_outcomes(lake, build=model, decision_threshold=THRESHOLD, drop=drop)
    count_metrics(lake, build=model, drop=drop)


def measure(lake: Lake, *, build: str, drops: Sequence[str], models: Sequence[str] = ()) -> None:
    """Count the impostor pairs of a build and measure it."""
    models = models or (build,)
    write_impostors(lake, [count_impostors(lake, build=build, model_build=m, drops=drops) for m in models])
    measure_build(lake, build=build, model_builds=models, drops=drops)
