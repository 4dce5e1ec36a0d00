"""The summary of an evaluation that a terminal shows. The full document is `Evaluation.to_dict`."""

from cv_quality.metrics.detection_cost import CostWeights
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import area_words, percent
from cv_quality.scores.evaluation import CrossingPoint, Evaluation
from cv_quality.text import figures, span, told_apart

EER_DIGITS = 4
"""Significant digits of an equal error rate, which is published to a hundredth of a point."""


def headline(evaluation: Evaluation) -> str:
    """Summarise sizes, equal error rate, separation and detection costs of one score set in three lines."""
    crossing, apart = evaluation.eer, evaluation.separation
    who = "subjects unknown" if evaluation.n_subjects is None else f"{evaluation.n_subjects:,} subjects"
    sizes = f"{evaluation.n_genuine:,} genuine and {evaluation.n_impostor:,} impostor comparisons, {who}"
    interval = _between(crossing.low, crossing.high)
    rate = percent(crossing.value, digits=EER_DIGITS)
    eer = f"EER {rate}{_nearest(crossing)}{interval} at {figures(crossing.threshold)}"
    d_prime = apart.decidability.value
    others = f"AUC {area_words(apart.auc)}, d' {figures(d_prime)}, minCllr {figures(apart.min_cllr)}"
    costs = "; ".join(f"minDCF {figures(cost.value)} at {cost_weights(cost.weights)}" for cost in evaluation.min_dcf)
    return f"{evaluation.name}: {sizes}\n{eer}, {others}" + (f"\n{costs}" if costs else "")


def _nearest(crossing: CrossingPoint) -> str:
    """The convention of many published figures, where it reads differently."""
    text = percent(crossing.nearest, digits=EER_DIGITS)
    is_same = text == percent(crossing.value, digits=EER_DIGITS)
    return "" if is_same else f", {text} where both rates are nearest,"


def cost_weights(weights: CostWeights) -> str:
    """Write the prior, and the costs where they are not both 1.

    >>> cost_weights(CostWeights(0.01)), cost_weights(CostWeights(0.01, 10))
    ('P 0.01', 'P 0.01, costs 10 and 1')
    """
    costs = "" if weights.c_miss == weights.c_fa == 1 else f", costs {weights.c_miss:g} and {weights.c_fa:g}"
    return f"P {weights.p_target:g}{costs}"


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


def attack_rows(evaluation: Evaluation) -> list[dict[str, object]]:
    """List one row per PAI species among the comparisons, for a table."""
    found = evaluation.attacks
    return [
        {
            "species": one.species,
            "IAPAR": _rate(one.iapar),
            "RIAPAR": "" if one.riapar is None else percent(one.riapar),
            "status": (one.iapar.reason or "ok").removeprefix("insufficient: "),
        }
        for one in (found.species if found else ())
    ]


def attack_headline(evaluation: Evaluation) -> str:
    """Say where attacks were tried, and the cost of all three errors."""
    found = evaluation.attacks
    assert found is not None
    cost = f"a-DCF {figures(found.a_dcf.value)} at {figures(found.a_dcf.threshold)}"
    return f"attacks at threshold {figures(found.threshold)}; {cost}" if found.species else f"attacks; {cost}"


def _rate(rate: Rate | None) -> str:
    if rate is None or rate.value is None:
        return "undefined"
    counts = f"{rate.numerator:,} / {rate.denominator:,}"
    return f"{percent(rate.value)}{_between(rate.low, rate.high)}, {counts}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({span(low, high, words=percent)})"
