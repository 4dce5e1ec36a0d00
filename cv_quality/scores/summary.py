"""The summary of an evaluation that a terminal shows. The full document is `Evaluation.to_dict`."""

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import area_words, percent
from cv_quality.scores.evaluation import Evaluation
from cv_quality.text import figures, span, told_apart


def headline(evaluation: Evaluation) -> str:
    """Summarise name, sizes, equal error rate and separation of one score set in three lines."""
    crossing, apart = evaluation.eer, evaluation.separation
    who = "subjects unknown" if evaluation.n_subjects is None else f"{evaluation.n_subjects:,} subjects"
    sizes = f"{evaluation.n_genuine:,} genuine and {evaluation.n_impostor:,} impostor comparisons, {who}"
    eer = f"EER {percent(crossing.value)}{_between(crossing.low, crossing.high)} at {figures(crossing.threshold)}"
    d_prime = apart.decidability.value
    others = f"AUC {area_words(apart.auc)}, d' {figures(d_prime)}, minCllr {figures(apart.min_cllr)}"
    return f"{evaluation.name}: {sizes}\n{eer}, {others}"


def point_rows(evaluation: Evaluation) -> list[dict[str, object]]:
    """List one row per operating point, for a table."""
    points = [*evaluation.operating_points, *([] if evaluation.fixed is None else [evaluation.fixed])]
    thresholds = told_apart([point.threshold for point in points])
    return [
        {
            "FMR at most": "" if point.fmr_target is None else f"{point.fmr_target:g}",
            f"threshold {evaluation.accept_when}": "" if point.threshold is None else threshold,
            "FMR": _rate(point.fmr),
            "FNMR": _rate(point.fnmr),
            "status": point.status + (f": {point.reason.removeprefix('insufficient: ')}" if point.reason else ""),
        }
        for point, threshold in zip(points, thresholds, strict=True)
    ]


def _rate(rate: Rate | None) -> str:
    if rate is None or rate.value is None:
        return "undefined"
    counts = f"{rate.numerator:,} / {rate.denominator:,}"
    return f"{percent(rate.value)}{_between(rate.low, rate.high)}, {counts}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({span(low, high, words=percent)})"
