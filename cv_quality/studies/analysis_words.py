"""An analysis of a study in words, for the terminal and for its page."""

from collections.abc import Mapping, Sequence

from cv_quality.studies.analysis import Look, StudyAnalysis, StudyFlow
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


def flow_lines(flow: StudyFlow) -> Rows:
    """List who came how far."""
    rows: list[dict[str, object]] = []
    if flow.assigned is not None:
        rows += [{"": "assigned", "subjects": flow.assigned}, {"": "without an attempt", "subjects": flow.dropped}]
    rows += [{"": "with an attempt", "subjects": flow.enrolled}, {"": "completed", "subjects": flow.completed}]
    rows += [{"": f"deviation: {DEVIATIONS[code]}", "subjects": count} for code, count in flow.deviations.items()]
    rows += [{"": f"arm {arm}", "subjects": count} for arm, count in flow.arms.items()]
    if flow.ratio_p_value is not None:
        rows.append({"": "p of the arms' ratio", "subjects": figures(flow.ratio_p_value)})
    return rows


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
            "subjects": item.differences[name].n_subjects,
            "verdict": item.verdict if len(item.judgements) == 1 else judged.verdict,
            "why": item.reason if len(item.judgements) == 1 else judged.reason,
        }
        for item in found.endpoints
        for name, judged in item.judgements.items()
    ]
