"""Commands of liveness: the evaluation of its score files, which `cvq evaluate` hands over, and the plan of a study."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from cv_quality.cli.common import JSON, print_document, print_rows, say
from cv_quality.text import figures

if TYPE_CHECKING:
    from cv_quality.reports.liveness_page import AnsweredLiveness
    from cv_quality.scores.liveness import LivenessEvaluation
    from cv_quality.scores.score_set import ScoreSet
    from cv_quality.studies.artefact_planning import ArtefactPlans
    from cv_quality.studies.pad_profiles import ProfileAnswer

NAMED_PATTERN = re.compile(r"([A-Za-z0-9][\w .+-]*)=(.+)", re.DOTALL)
"""NAME=REGEX; a pattern that begins otherwise is one for all species, with a group."""


def species_patterns(
    _context: click.Context, _option: click.Parameter, texts: Sequence[str]
) -> str | Mapping[str, str] | None:
    """Take one pattern with a group, or NAME=REGEX for each species."""
    named = [NAMED_PATTERN.fullmatch(text) for text in texts]
    if len(texts) == 1 and named[0] is None:
        return texts[0]
    found: dict[str, str] = {}
    for text, match in zip(texts, named, strict=True):
        if match is None or match[1] in found:
            raise click.BadParameter(f"{text!r}: give one REGEX with a group, or NAME=REGEX once for each species")
        found[match[1]] = match[2]
    return found or None


def share(_context: click.Context, option: click.Parameter, text: str) -> float:
    """Take a share as a number or in percent: 0.07, 7% or "7 %"."""
    try:
        return float(text.strip()[:-1]) / 100 if text.strip().endswith("%") else float(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no share: write 0.07 or 7%", param=option) from error


def shares(context: click.Context, option: click.Parameter, texts: Sequence[str]) -> tuple[float, ...]:
    """Take several shares."""
    return tuple(share(context, option, text) for text in texts)


def evaluate_liveness_set(
    scores: "ScoreSet",
    *,
    name: str,
    devel: "ScoreSet | None",
    apcer_targets: Sequence[float],
    threshold: float | None,
    profile: str | None,
    weights: tuple[float, float] | None = None,
) -> "AnsweredLiveness":
    """Evaluate one liveness set, answer a profile at its leading point where one is named, and compare two scores.

    Args:
        scores, name: the set.
        devel: where thresholds are chosen; None chooses them on the set.
        apcer_targets, threshold: at which rates are given.
        profile: name or file.
        weights: of two scores in a fusion; equal ones by default.
    """
    from cv_quality.metrics.liveness.error_rates import APCER_TARGETS
    from cv_quality.metrics.liveness.policies import EQUAL_WEIGHTS
    from cv_quality.reports.liveness_page import AnsweredLiveness
    from cv_quality.reports.liveness_policies import compare_scores
    from cv_quality.scores.liveness import evaluate_liveness

    targets = apcer_targets or APCER_TARGETS
    found = evaluate_liveness(scores, name=name, devel=devel, apcer_targets=targets, threshold=threshold)
    compared = compare_scores(scores, devel=devel, apcer_targets=targets, weights=weights or EQUAL_WEIGHTS)
    return AnsweredLiveness(found, None if profile is None else _answered(scores, found, profile), compared)


def _answered(scores: "ScoreSet", found: "LivenessEvaluation", profile: str) -> "ProfileAnswer":
    from cv_quality.scores.liveness import in_file_units, presentations_of
    from cv_quality.studies.pad_profiles import answer_profile, count_errors, load_profile

    asked, point = load_profile(profile), found.leading
    counted = (
        ()
        if point is None or point.threshold is None
        else count_errors(presentations_of(scores), threshold=in_file_units(scores, point.threshold))
    )
    return answer_profile(asked, counted)


def print_liveness(one: "AnsweredLiveness") -> None:
    """Print working points, species at the leading one, two detectors together, and the answers of a profile."""
    from cv_quality.reports.liveness_policies import policy_rows
    from cv_quality.scores.liveness import SAME_DATA
    from cv_quality.scores.liveness_summary import group_rows, liveness_headline, species_rows, working_rows

    found, answered = one.evaluation, one.profile
    print_rows(working_rows(found), as_json=False, title=liveness_headline(found))
    point = found.leading
    if point is not None:
        title = f"species at {point.name}, threshold {figures(point.threshold)}"
        print_rows(species_rows(point), as_json=False, title=title)
    if found.groups:
        print_rows(group_rows(found), as_json=False, title="by group, at the same threshold")
    if one.policies:
        on = (
            "the development set"
            if any(item.chosen_on != SAME_DATA for item in found.points if item.target)
            else "half"
        )
        title = f"two detectors: thresholds chosen on {on}, tried on the {'set' if on != 'half' else 'other half'}"
        print_rows(policy_rows(one.policies), as_json=False, title=title)
    if answered is not None:
        rows: list[dict[str, object]] = [
            {"requirement": item.requirement, "of": item.name, "verdict": item.verdict, "reason": item.reason}
            for item in answered.answers
        ]
        print_rows(rows, as_json=False, title=f"{answered.profile} ({answered.source}): {answered.verdict.upper()}")
    for warning in found.warnings:
        say(f"warning: {warning}", err=True)


def liveness_document(one: "AnsweredLiveness") -> dict[str, object]:
    """Make the document of an evaluation; answers of a profile are its `profile`, two detectors its `policies`."""
    document: dict[str, object] = {**one.evaluation.to_dict()}
    if one.profile is not None:
        document["profile"] = one.profile.to_dict()
    if one.policies:
        document["policies"] = [item.to_dict() for item in one.policies]
    return document


def pair(_context: click.Context, option: click.Parameter, text: str | None) -> tuple[float, float] | None:
    """Take two weights above 0, as in 2,1."""
    if text is None:
        return None
    try:
        one, other = (float(part) for part in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: give two weights, such as 2,1", param=option) from error
    if not (0 < one < math.inf and 0 < other < math.inf):
        raise click.BadParameter(f"{text!r}: weights lie above 0", param=option)
    return one, other


@click.group()
def plan() -> None:
    """Plan what a test needs before it is run.

    \b
      cvq plan artefacts --limit 7% --apcer 2%     how many artefacts of a species settle 7 %
    """


@plan.command()
@click.option("--limit", callback=share, default="7%", show_default=True, help="Highest APCER that is accepted.")
@click.option("--apcer", callback=share, required=True, help="APCER that is expected, below the limit.")
@click.option("--icc", type=float, default=0.1, show_default=True, help="How alike presentations of one artefact are.")
@click.option("--level", callback=share, default="95%", show_default=True, help="Of the one-sided upper bound.")
@click.option("--power", callback=share, default="80%", show_default=True, help="Chance that is asked for.")
@click.option(
    "--presentations",
    "shown",
    type=click.IntRange(min=1),
    multiple=True,
    help="Of each artefact; repeatable. [1 to 20]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the simulation.")
@JSON
def artefacts(
    limit: float,
    apcer: float,
    icc: float,
    level: float,
    power: float,
    shown: Sequence[int],
    seed: int,
    as_json: bool,
) -> None:
    """Plan how many artefacts of a PAI species, shown how often, settle a limit of its APCER.

    A limit is settled where the bound by artefact lies within it. Showing the same artefacts more often helps little
    where their presentations are alike; with no error at all each artefact counts once.

    \b
      cvq plan artefacts --limit 7% --apcer 2%
      cvq plan artefacts --limit 15% --apcer 5% --icc 0.3 --level 90% --presentations 10
    """
    from cv_quality.studies.artefact_planning import PRESENTATIONS, plan_artefacts

    found = plan_artefacts(
        limit, apcer=apcer, icc=icc, level=level, power=power, presentations=shown or PRESENTATIONS, seed=seed
    )
    if as_json:
        print_document(found.to_dict())
    else:
        _say_plan(found)


def _say_plan(found: "ArtefactPlans") -> None:
    from cv_quality.metrics.results import percent

    rows: list[dict[str, object]] = [
        {
            "presentations of each": one.presentations,
            "artefacts": one.artefacts if one.artefacts is not None else one.reason,
            "in all": one.in_all,
            "chance": "" if one.chance is None else percent(one.chance),
        }
        for one in found.plans
    ]
    expected, limit, power = percent(found.apcer), percent(found.limit), percent(found.power)
    title = f"artefacts of a species that settle an APCER of at most {limit} with a chance of {power}"
    print_rows(rows, as_json=False, title=title)
    say(
        f"assumed: APCER {expected}, ICC {figures(found.icc)}; one-sided bound of {percent(found.level)}; "
        f"{found.studies:,} studies simulated for each size, seed {found.seed}"
    )
    say(f"without an error it takes {found.fewest:,} artefacts, however often each is shown")
