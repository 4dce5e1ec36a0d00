"""The summary of a liveness evaluation that a terminal shows. The full document is `LivenessEvaluation.to_dict`."""

from cv_quality.metrics.liveness.error_rates import SpeciesRate, WorstSpecies
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.scores.liveness import LivenessEvaluation, WorkingPoint
from cv_quality.scores.source import plural
from cv_quality.text import figures, span, told_apart

EER_DIGITS = 4
"""Significant digits of an equal error rate, which is published to a hundredth of a point."""


def liveness_headline(found: LivenessEvaluation) -> str:
    """Summarise sizes, direction and the pooled equal error rate in three lines."""
    species = f"{found.n_species} species" if found.n_species > 1 else "1 species"
    known = [(found.n_artefacts, "artefact"), (found.n_subjects, "subject")]
    who = ", ".join(plural(n, noun) for n, noun in known if n is not None) or "artefacts and subjects unknown"
    attacks = f"{plural(found.n_attacks, 'attack')} of {species}"
    sizes = f"{plural(found.n_bona_fide, 'bona fide presentation')} and {attacks}, {who}"
    silent = f"; {plural(found.n_no_response, 'presentation')} without a response" if found.n_no_response else ""
    lines = [f"{found.name}: {sizes}{silent}", f"bona fide when score {found.bona_fide_when} threshold"]
    if found.eer is not None:
        value, nearest = (percent(rate, digits=EER_DIGITS) for rate in (found.eer.value, found.eer.nearest))
        also = "" if value == nearest else f" ({nearest} where both rates are nearest)"
        lines.append(f"EER of all species pooled, for published figures only: {value}{also}")
    return "\n".join(lines)


def working_rows(found: LivenessEvaluation) -> list[dict[str, object]]:
    """List one row per working point, for a table."""
    thresholds = told_apart([point.threshold for point in found.points])
    return [
        {
            "working point": point.name + (f", on {point.chosen_on}" if point.chosen_on else ""),
            f"threshold {found.bona_fide_when}": "" if point.threshold is None else threshold,
            "worst species": _worst(point),
            "APCER of it": _worst_rate(point),
            "BPCER": _bpcer(point),
            "status": point.status + (f": {point.reason}" if point.reason else ""),
        }
        for point, threshold in zip(found.points, thresholds, strict=True)
    ]


def species_rows(point: WorkingPoint) -> list[dict[str, object]]:
    """List one row per PAI species at a working point that is defined."""
    return [] if point.rates is None else [_species(one) for one in point.rates.species]


def group_rows(found: LivenessEvaluation) -> list[dict[str, object]]:
    """List one row per group at the leading point."""
    return [
        {
            "group": one.group,
            "worst species": "" if one.rates.worst is None else one.rates.worst.species,
            "APCER of it": "" if one.rates.worst is None else bounded(one.rates.worst),
            "BPCER": rate_words(one.rates.bpcer),
            "BPNRR": rate_words(one.rates.bpnrr),
        }
        for one in found.groups
    ]


def _species(one: SpeciesRate) -> dict[str, object]:
    return {
        "species": one.species,
        "APCER": rate_words(one.rate),
        "at most": "" if one.upper.high is None else percent(one.upper.high),
        f"{one.unit}s": f"{one.n_artefacts:,}",
        "ICC": "" if one.icc is None else figures(one.icc, digits=2),
        "APNRR": rate_words(one.non_response) if one.non_response.numerator else "0 %",
        "status": (one.rate.reason or "").removeprefix("insufficient: "),
    }


def rate_words(rate: Rate) -> str:
    """Write a rate with its interval and its counts."""
    if rate.value is None:
        return "undefined"
    counts = f"{rate.numerator:,} / {rate.denominator:,}"
    if rate.low is None or rate.high is None:
        return f"{percent(rate.value)}, {counts}"
    return f"{percent(rate.value)} ({span(rate.low, rate.high, words=percent)}), {counts}"


def _worst(point: WorkingPoint) -> str:
    return "" if point.rates is None or point.rates.worst is None else point.rates.worst.species


def _worst_rate(point: WorkingPoint) -> str:
    if point.rates is None or point.rates.worst is None:
        return ""
    return bounded(point.rates.worst)


def bounded(worst: WorstSpecies) -> str:
    return f"{percent(worst.value)} ({span(worst.low, worst.high, words=percent)})"


def _bpcer(point: WorkingPoint) -> str:
    if point.rates is not None:
        return rate_words(point.rates.bpcer)
    return "" if point.bpcer_as_seen is None else f"undefined; {percent(point.bpcer_as_seen)} as seen"
