"""A plan in words and rows, as the terminal and the page show it."""

from cv_quality.studies.planning import PlannedEndpoint, StudyPlan
from cv_quality.studies.power import SimulatedPower
from cv_quality.text import figures

ASSUMPTIONS = {
    "icc": "ICC of the attempts of a subject",
    "fmr_cv": "variation of subjects’ FMR",
    "agreement": "agreement of the builds",
    "expected_attrition": "attrition",
}


def endpoint_rows(plan: StudyPlan) -> list[dict[str, object]]:
    """List the endpoints with what they ask for, and what the study's subjects tell of them."""
    return [
        {
            "endpoint": item.id,
            "role": item.role,
            "margin": item.margin,
            "complete": item.subjects,
            "enrolled": item.enrolled,
            "for precision": item.for_precision,
            "power": _digits(item.power),
            "half-width": _parts(item.half_width, item),
            "tolerated": _parts(item.tolerated, item),
        }
        for item in plan.endpoints
    ]


def plan_sentences(plan: StudyPlan) -> list[str]:
    """Write what the plan asks for and what it rests on, a sentence a line."""
    if plan.subjects is None:
        said = ["insufficient to plan: no primary endpoint can be sized"]
    else:
        said = [f"enrol {plan.enrolled:,} subjects, so that {plan.subjects:,} complete"]
    said += [note for note in plan.notes if note.startswith("insufficient")]
    if plan.power_of_all is not None:
        said.append(f"all primary endpoints pass with a power of at least {_digits(plan.power_of_all)}")
    for at, bound, spent in zip(plan.information, plan.bounds, plan.spent, strict=False):
        said.append(f"look at {figures(at)} of the information: Z above {bound:.4f}, alpha spent {figures(spent)}")
    if plan.expected_subjects is not None:
        mean, null = (figures(round(value)) for value in plan.expected_subjects)
        said.append(f"completing when it stops, on average: {mean} without a difference, {null} at the margin")
    said += [_simulated(item.id, item.simulated) for item in plan.endpoints if item.simulated]
    said += [f"{item.id}: cannot be sized: {item.reason}" for item in plan.endpoints if item.reason]
    said += [f"{item.id} assumes: {'; '.join(item.assumptions)}" for item in plan.endpoints if item.assumptions]
    said += [f"the plan rests on: {note}" for note in plan.notes if not note.startswith("insufficient")]
    return [*said, *_sensitivity(plan), *_costs(plan)]


def _simulated(endpoint: str, found: SimulatedPower) -> str:
    apart = abs(found.pilot_difference) > found.margin
    return (
        f"{endpoint}: power {found.power:.3f} ({found.low:.3f} to {found.high:.3f}) at one look of {found.subjects:,} "
        f"subjects, over {found.runs:,} studies resampled from {found.pilot_subjects:,} subjects, whose own difference "
        f"of {figures(100 * found.pilot_difference)} pp is taken off"
        + "; it is larger than the margin, and builds that err alike would pass more often"
        * apart
    )


def _sensitivity(plan: StudyPlan) -> list[str]:
    """How many subjects other assumptions ask for, a line an assumption."""
    lines = []
    for name, words in ASSUMPTIONS.items():
        points = [item for item in plan.sensitivity if item.assumption == name and item.enrolled is not None]
        told = [f"{figures(item.value)}{' (assumed)' * item.is_assumed} {item.enrolled:,}" for item in points]
        if told:
            lines.append(f"enrolled by {words}: {', '.join(told)}")
    return lines


def _costs(plan: StudyPlan) -> list[str]:
    told = [f"{item.attempts_per_subject:,} with {item.enrolled:,} at {figures(item.cost)}" for item in plan.costs]
    return [f"attempts of a subject, subjects and cost: {', '.join(told)}"] if told else []


def _digits(value: float | None) -> str | None:
    """A probability with three decimals, never rounded up to 1."""
    return None if value is None else ("> 0.999" if value > 0.9995 else f"{value:.3f}")


def _parts(value: float | None, endpoint: PlannedEndpoint) -> str | None:
    """A difference of rates in points, or a part of a time in percent."""
    return None if value is None else f"{figures(round(100 * value, 3))} {'%' if endpoint.is_ratio else 'pp'}"
