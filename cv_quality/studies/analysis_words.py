"""An analysis of a study in words, for the terminal and for its page."""

from collections.abc import Mapping, Sequence

from cv_quality.studies.analysis import Look, StudyAnalysis
from cv_quality.text import figures

DEVIATIONS = {
    "not_assigned": "not on the sheet",
    "wrong_arm": "met a build that was not assigned",
    "too_few_attempts": "fewer attempts than planned",
    "wrong_order": "conditions in another order",
}
Rows = Sequence[Mapping[str, object]]


def look_words(look: Look) -> str:
    """Say which look it is and by which bound it is judged."""
    last = "the last look" if look.is_last else f"look {look.number}"
    return (
        f"{last}, {figures(look.information)} of the information, bound Z {look.bound:.3f} (one-sided alpha "
        f"{figures(look.alpha)}, spent {figures(look.alpha_spent)})"
    )


def flow_lines(found: StudyAnalysis) -> Rows:
    """List who came how far."""
    flow, unit = found.flow, f"{found.unit}s"
    counts: dict[str, object] = {}
    if flow.assigned is not None:
        counts |= {"assigned": flow.assigned, "without an attempt": flow.dropped}
    counts |= {"with an attempt": flow.enrolled, "completed": flow.completed}
    counts |= {f"deviation: {DEVIATIONS[code]}": count for code, count in flow.deviations.items()}
    counts |= {f"arm {arm}": count for arm, count in flow.arms.items()}
    if flow.ratio_p_value is not None:
        counts["p of the arms' ratio"] = figures(flow.ratio_p_value)
    return [{"": name, unit: count} for name, count in counts.items()]


def endpoint_lines(found: StudyAnalysis) -> Rows:
    """List every endpoint on every analysis set."""
    return [
        {
            "endpoint": item.endpoint.id,
            "role": item.endpoint.role,
            "set": name.replace("_", " "),
            "loss": judged.value,
            "at least": judged.low,
            "at most": judged.high,
            "margin": judged.margin,
            f"{found.unit}s": item.differences[name].n_subjects,
            "verdict": item.verdict if len(item.judgements) == 1 else judged.verdict,
            "why": item.reason if len(item.judgements) == 1 else judged.reason,
        }
        for item in found.endpoints
        for name, judged in item.judgements.items()
    ]
