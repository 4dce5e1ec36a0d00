"""The briefing of a verification build: what it means for people at the device, and for those who try to get in."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cv_quality.metrics.differentials import ALLOWED_RATIO
from cv_quality.metrics.results import percent
from cv_quality.reports.briefing import Briefing, Figure, GroupLine, Point, RateChange, ThinEvidence
from cv_quality.reports.data_quality import DATA_QUALITY
from cv_quality.reports.rates import RatePair
from cv_quality.reports.section import PageContent, ReportSource
from cv_quality.tasks.briefing import (
    cause_point,
    causes_of,
    headline,
    how_often,
    limits_of,
    next_step,
    open_questions,
    quality_point,
    rate_words,
    standing_of,
)
from cv_quality.tasks.release.section import RELEASE
from cv_quality.tasks.root_causes.report.change import BuildChange
from cv_quality.tasks.verification.counts import WHOLE
from cv_quality.tasks.verification.populations import FRR
from cv_quality.tasks.verification.report.data import Headline, read_overview
from cv_quality.tasks.verification.report.groups import Attribute, GroupRate
from cv_quality.tasks.verification.report.key_finding import leading
from cv_quality.tasks.verification.report.sections import GROUPS, NUMBERS, PARITY, ROOT_CAUSES
from cv_quality.tasks.verification.tables import INTERVALS, OPERATING_POINTS
from cv_quality.text import span

NAMES: Mapping[str, str] = {
    "FRR": "genuine attempts rejected (FRR)",
    "FAR": "impostor attempts accepted (FAR)",
    "FTA": "attempts without a usable sample (FTA)",
}
TERMS: Mapping[str, str] = {
    "FRR": "False rejection rate: attempts of the right person that end without acceptance, of all their attempts",
    "FAR": "False acceptance rate: attempts under somebody else's identity that are accepted, of all such attempts",
    "FNMR": "False non-match rate: genuine comparisons that the threshold rejects, of all genuine comparisons",
    "FMR": "False match rate: comparisons of two different people that the threshold accepts, of all of them",
    "FTA": "Failure-to-acquire rate: attempts that give no usable sample, of all attempts",
    "95 % interval": "Made so that it holds the true rate in 95 of 100 such studies, counted by people",
}


def brief_verification(content: PageContent, source: ReportSource) -> Briefing:
    """Brief on a build of verification from what the sections of its page read."""
    scope, overview = source.scope, read_overview(source)
    release, causes_read = content.data.get(RELEASE.id), content.of(ROOT_CAUSES)
    baseline = scope.baseline or (causes_read.change.baseline if causes_read.change else None)
    headlines, attributes = content.of(NUMBERS), content.of(GROUPS)
    found = dict(_changes(headlines, source, limits=limits_of(release)))
    changes = tuple(found[metric] for metric in sorted(found, key=lambda metric: metric != source.leading))
    standing = standing_of(release, changes[0] if changes else None)
    lead = found.get("frr")
    causes = tuple(
        replace(cause, export=_export(scope.build, causes_read.outcome, cause.rank))
        for cause in causes_of(causes_read, source.modality, build=scope.build, failing="rejected")
    )
    recorded = causes_read.change if scope.is_recorded else None
    return Briefing(
        build=scope.build,
        baseline=baseline,
        subject_matter=f"{source.modality.name} verification",
        standing=standing,
        headline=headline(scope.build, baseline, standing, _in_short(lead, recorded)),
        impact=_impact(lead, baseline, recorded),
        cause=cause_point(causes_read, causes),
        gain=causes[0].gain if causes else None,
        groups=_groups(attributes),
        quality=_with_parity(quality_point(content.of(DATA_QUALITY)), content),
        next_step=next_step(scope.build, standing, causes, release),
        changes=changes,
        causes=causes,
        group_lines=tuple(_group_lines(attributes)),
        terms=TERMS,
        n_subjects=overview.n_subjects,
        n_attempts=overview.n_attempts,
        drops=scope.drops,
        sites=overview.sites,
        captured_from=overview.captured_from,
        captured_until=overview.captured_until,
        commands=(f"cvq report {scope.build}", f"cvq release {scope.build}"),
        thin=open_questions(release, causes_read, source.modality, _thin_groups(attributes)),
    )


def _export(build: str, outcome: str, rank: int) -> str:
    """The command that gives the attempts of a cause."""
    sought = "" if outcome == FRR.name else f" --outcome {outcome}"
    return f"cvq export {build} --slice {rank}{sought} --to slice-{rank}"


def _changes(
    headlines: Sequence[Headline], source: ReportSource, *, limits: Mapping[str, float]
) -> Iterable[tuple[str, RateChange]]:
    """The rejections first, then the strictest FNMR that can be measured, then acceptances and failures to acquire."""
    scope, by_name = source.scope, {item.name: item for item in headlines}
    first = leading(headlines, has_baseline=scope.baseline is not None)
    for item in (by_name.get("FRR"), first, by_name.get("FAR"), by_name.get("FTA")):
        if item is not None:
            metric = item.name.lower() if item.name in NAMES else "fnmr"
            name = NAMES.get(item.name, f"genuine comparisons rejected ({item.name})")
            yield metric, RateChange(name, item.rates, limits.get(metric), tuple(_figures(item, metric, source)))


def _figures(item: Headline, metric: str, source: ReportSource) -> Iterable[Figure]:
    pairs = ((source.scope.build, item.rates.build), (source.scope.baseline, item.rates.baseline))
    for model, rate in pairs:
        if model is None or rate is None or rate.value is None:
            continue
        where: dict[str, object] = {"build_id": source.scope.build, "model_build_id": model}
        if item.name in NAMES or source.scope.is_recorded:
            where |= {"metric": metric, "dimension": "all", "level": WHOLE}
            yield Figure(f"{item.name} of {model}", rate, INTERVALS.name, where, "value")
        else:
            point = "decision_threshold" if item.fmr_target is None else "fnmr_at_fmr"
            where |= {"point": point, "fmr_target": item.fmr_target}
            yield Figure(f"{item.name} of {model}", rate, OPERATING_POINTS.name, where, "fnmr")


def _in_short(lead: RateChange | None, recorded: BuildChange | None) -> str:
    if lead is None or lead.pair.build.value is None:
        return "how often genuine attempts are rejected is not known"
    after, before = lead.pair.build, lead.pair.baseline
    told = f"{percent(after.value)} of genuine attempts are rejected"
    earlier = before.value if before else recorded.recorded[0].before if recorded and recorded.recorded else None
    return told if earlier is None else f"{told}, {percent(earlier)} before"


def _impact(lead: RateChange | None, baseline: str | None, recorded: BuildChange | None) -> Point:
    """Who is rejected how often, in plain words, and how often before."""
    if lead is None or lead.pair.build.value is None:
        reason = lead.pair.build.reason if lead else "no genuine attempt could be judged"
        return Point(f"How often the right person is rejected is not known: {reason}.", section=NUMBERS.id)
    now, before = lead.pair.build, lead.pair.baseline
    text = (
        f"Of the attempts by the right person {how_often(now)} rejected. The false rejection rate (FRR) is "
        f"{rate_words(now)}"
    )
    if before is not None and before.value is not None:
        text += f"; with {baseline}, on the same recordings, it was {rate_words(before)}{_change_words(lead.pair)}"
    elif recorded is not None and recorded.recorded:
        text += f". Recorded with {recorded.baseline}, on its own data, it was {percent(recorded.recorded[0].before)}"
    return Point(f"{text}.", lead.figures, NUMBERS.id)


def _change_words(pair: RatePair) -> str:
    change = pair.change
    if change is None or change.low is None or change.high is None:
        return ""
    bounds = span(100 * change.low, 100 * change.high).replace(" to ", " and ")
    sure = "" if pair.direction in ("worse", "better") else ", which chance may explain"
    return f". The difference lies between {bounds} points{sure}"


def _groups(attributes: Sequence[Attribute]) -> Point:
    """Say whether a group of people fares worse, by the rule of 25 %."""
    judged = [(attribute.label, rate) for attribute in attributes for rate in attribute.rates if rate.verdict]
    worse = [item for item in judged if item[1].verdict == "fail" and (item[1].ratio or 0) > 1]
    if not judged:
        return Point("Groups of people were not compared: no group is recorded of enough of them.", section=GROUPS.id)
    if worse:
        label, worst = max(worse, key=lambda item: item[1].ratio or 0)
        metric, _, level = worst.name.partition(", ")
        others = f" {len(worse) - 1:,} more of {len(judged):,} figures fail it too." if len(worse) > 1 else ""
        return Point(
            f"Not all groups of people fare alike: the {metric} of {label} {level} is {worst.ratio:.2g} times that of "
            f"all (no more than 1.25 times is the rule).{others}",
            section=GROUPS.id,
        )
    open_ones = sum(rate.verdict == "insufficient" for _, rate in judged)
    told = f"; for {open_ones:,} of {len(judged):,} figures the data do not suffice to tell" if open_ones else ""
    return Point(f"No group of people is shown to fare worse than 1.25 times the rate of all{told}.", section=GROUPS.id)


def _group_lines(attributes: Sequence[Attribute]) -> Iterable[GroupLine]:
    for attribute in attributes:
        for rate in attribute.rates:
            if rate.verdict:
                metric = rate.name.partition(", ")[0]
                yield GroupLine(attribute.label, rate.name, _group_words(rate), rate.rates, metric)


def _thin_groups(attributes: Sequence[Attribute]) -> Iterable[ThinEvidence]:
    """The groups too small to be judged, with the subjects whose interval is a quarter of the rate of all."""
    for attribute in attributes:
        for rate in attribute.rates:
            if rate.verdict == "insufficient":
                own = rate.rates.build
                about = f"{attribute.label} {rate.name.partition(', ')[2]} ({rate.name.partition(', ')[0]})"
                yield ThinEvidence(about, f"{rate_words(own)}: too little to tell", own.n_subjects, _needed(rate))


def _needed(rate: GroupRate) -> int | None:
    """Subjects with whom half of the interval is a quarter of the rate of all, as intervals shrink by the root."""
    own = rate.rates.build
    if not own.value or not rate.ratio or not own.n_subjects or own.low is None or own.high is None:
        return None
    wanted = (ALLOWED_RATIO - 1) * own.value / rate.ratio
    return math.ceil(own.n_subjects * ((own.high - own.low) / 2 / wanted) ** 2)


def _group_words(rate: GroupRate) -> str:
    words = {
        "pass": "within 25 % of all",
        "fail": "more than 25 % from all",
        "insufficient": "too little data to tell",
    }
    times = f"{rate.ratio:.2g} times all; " if rate.ratio is not None else ""
    return f"{rate_words(rate.rates.build)}; {times}{words[str(rate.verdict)]}"


def _with_parity(quality: Point, content: PageContent) -> Point:
    """Add that devices disagree with the lab, where they do."""
    parity = content.data.get(PARITY.id)
    if parity is None or not parity.is_broken:
        return quality
    return Point(f"{quality.text} Devices disagree with re-inference beyond rounding.", section=PARITY.id)
