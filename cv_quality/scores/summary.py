"""The summary of an evaluation that a terminal shows. The full document is `Evaluation.to_dict`."""

from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.scores.evaluation import Evaluation


def headline(evaluation: Evaluation) -> str:
    """Summarise name, sizes, equal error rate and separation of one score set in three lines."""
    crossing, apart = evaluation.eer, evaluation.separation
    who = "subjects unknown" if evaluation.n_subjects is None else f"{evaluation.n_subjects:,} subjects"
    sizes = f"{evaluation.n_genuine:,} genuine and {evaluation.n_impostor:,} impostor comparisons, {who}"
    eer = f"EER {percent(crossing.value)}{_between(crossing.low, crossing.high)} at {crossing.threshold:.6g}"
    d_prime = apart.decidability.value
    others = f"AUC {apart.auc:.5f}, d' {'undefined' if d_prime is None else f'{d_prime:.2f}'}, "
    return f"{evaluation.name}: {sizes}\n{eer}, {others}minCllr {apart.min_cllr:.4f}"


def point_rows(evaluation: Evaluation) -> list[dict[str, object]]:
    """List one row per operating point, for a table."""
    fixed = [] if evaluation.fixed is None else [evaluation.fixed]
    return [
        {
            "FMR at most": "" if point.fmr_target is None else f"{point.fmr_target:g}",
            f"threshold {evaluation.accept_when}": "" if point.threshold is None else f"{point.threshold:.6g}",
            "FMR": _rate(point.fmr),
            "FNMR": _rate(point.fnmr),
            "status": point.status + (f": {point.reason.removeprefix('insufficient: ')}" if point.reason else ""),
        }
        for point in (*evaluation.operating_points, *fixed)
    ]


def _rate(rate: Rate | None) -> str:
    if rate is None or rate.value is None:
        return "undefined"
    counts = f"{rate.numerator:,} / {rate.denominator:,}"
    return f"{percent(rate.value)}{_between(rate.low, rate.high)}, {counts}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({percent(low)} to {percent(high)})"
