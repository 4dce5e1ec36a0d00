"""The briefing of a liveness build: which artefact fools it how often, and what that protection costs people."""

from collections.abc import Iterable

from cv_quality.drops.tables import DROP_FILES
from cv_quality.lake.lake import TableKey
from cv_quality.metrics.results import percent
from cv_quality.reports.briefing import Briefing, Figure, Point, RateChange, ThinEvidence
from cv_quality.reports.data_quality import DATA_QUALITY
from cv_quality.reports.rates import RatePair
from cv_quality.reports.section import PageContent, ReportSource
from cv_quality.tasks.briefing import (
    cause_point,
    causes_of,
    headline,
    how_often,
    next_step,
    quality_point,
    rate_words,
    standing_of,
)
from cv_quality.tasks.liveness.build_metrics import WHOLE, read_outcomes
from cv_quality.tasks.liveness.report.root_causes import PASSES
from cv_quality.tasks.liveness.report.sections import CAUSES, NUMBERS, LivenessNumbers, SpeciesLine
from cv_quality.tasks.liveness.report.system import ASKED_RELEASE
from cv_quality.tasks.liveness.tables import LIVENESS_RATES
from cv_quality.tasks.release.section import ReleaseView

NAMES = {
    "apcer": "attacks of {} taken for a live person (APCER)",
    "bpcer": "live people taken for an attack (BPCER)",
    "bpnrr": "live people without a response (BPNRR)",
    "iapar": "attacks of {} accepted by the whole system (IAPAR)",
    "frr": "live people rejected by the whole system (FRR)",
    "far": "live people accepted as somebody else (FAR)",
}
"""The rates of a briefing in their order; of attacks, that of the worst species."""
TERMS = {
    "APCER": "Attack presentation classification error rate: attacks of one species that are taken for a live person",
    "BPCER": "Bona fide presentation classification error rate: live people who are taken for an attack",
    "BPNRR": "Bona fide presentation non-response rate: live people to whom the detector gives no answer",
    "IAPAR": "Impostor attack presentation acceptance rate: attacks of one species that the whole system accepts",
    "FRR": "False rejection rate: live people whom the whole system rejects",
    "FAR": "False acceptance rate: live people whom the whole system takes for the somebody else whom they claim to be",
    "95 % interval": "Made so that it holds the true rate in 95 of 100 such studies, counted by artefact or by person",
}


def brief_liveness(content: PageContent, source: ReportSource) -> Briefing:
    """Brief on a build of liveness from what the sections of its page read."""
    scope, numbers = source.scope, content.of(NUMBERS)
    outcomes = read_outcomes(source.lake, scope.build, list(scope.drops), source.modality)
    files = source.lake.scan(DROP_FILES, [TableKey(drop=drop) for drop in scope.drops]).collect()
    changes, found = tuple(_changes(numbers, scope.build)), content.of(CAUSES)
    causes = causes_of(found, source.modality, build=scope.build, failing=PASSES)
    release = content.of(ASKED_RELEASE)
    standing = standing_of(release, changes[0] if changes else None)
    return Briefing(
        build=scope.build,
        baseline=None,
        subject_matter=f"{source.modality.name} detection",
        standing=standing,
        headline=headline(scope.build, None, standing, _in_short(numbers.worst)),
        impact=_impact(numbers, changes, release),
        cause=cause_point(found, causes),
        gain=causes[0].gain if causes else None,
        groups=Point("Rates of people by group stand beside those by condition.", section=NUMBERS.id),
        quality=quality_point(content.of(DATA_QUALITY)),
        next_step=next_step(scope.build, standing, causes, release),
        changes=changes,
        causes=causes,
        group_lines=(),
        terms=TERMS,
        n_subjects=outcomes["subject_id"].n_unique(),
        n_attempts=outcomes.height,
        drops=scope.drops,
        sites=tuple(files["site"].unique().sort().to_list()),
        captured_from=files["captured_from"].min(),  # type: ignore[arg-type]
        captured_until=files["captured_until"].max(),  # type: ignore[arg-type]
        commands=(f"cvq report {scope.build}", f"cvq release {scope.build}"),
        trials="presentations",
        thin=tuple(_thin(numbers)),
    )


def _changes(numbers: LivenessNumbers, build: str) -> Iterable[RateChange]:
    for metric, name in NAMES.items():
        line = next((item for item in numbers.of(metric) if item.rate.value is not None), None)
        if line is not None:
            where: dict[str, object] = {"build_id": build, "metric": metric, "species": line.species}
            where |= {"dimension": WHOLE, "level": WHOLE}
            own = Figure(f"{metric.upper()} of {line.species}", line.rate, LIVENESS_RATES.name, where, "value")
            yield RateChange(name.format(line.species), RatePair(line.rate, None), None, (own,))


def _in_short(worst: SpeciesLine | None) -> str:
    if worst is None:
        return "no attack got a response"
    return f"{percent(worst.rate.value)} of attacks with {worst.species}, the worst species, get through"


def _impact(numbers: LivenessNumbers, changes: Iterable[RateChange], release: ReleaseView | None) -> Point:
    worst, people = numbers.worst, next(iter(numbers.of("bpcer")), None)
    text = "No attack got a response."
    if worst is not None:
        bound = f", at most {percent(worst.upper)} with 95 % confidence" if worst.upper is not None else ""
        text = (
            f"Of the attacks with {worst.species} {how_often(worst.rate)} taken for a live person. That is the worst "
            f"species, with an APCER of {rate_words(worst.rate)}{bound}."
        )
    if people is not None:
        text += f" Of live people {how_often(people.rate)} taken for an attack: a BPCER of {rate_words(people.rate)}."
    if release is not None:
        text += f" {_asked(release)}"
    return Point(text, tuple(figure for change in changes for figure in change.figures), NUMBERS.id)


def _asked(release: ReleaseView) -> str:
    """Say what the verdict rests on: how many requirements pass, fail, and are open."""
    verdicts = [row["verdict"] for row in release.requirements if row["role"] == "primary"]
    counted = ((verdicts.count("pass"), "pass"), (verdicts.count("fail"), "fail"))
    told = [f"{n:,} {word}" for n, word in (*counted, (verdicts.count("insufficient"), "have too little data")) if n]
    return f"Of what is required of it, for each species and group, {', '.join(told)}."


def _thin(numbers: LivenessNumbers) -> Iterable[ThinEvidence]:
    for line in numbers.of("apcer"):
        if line.rate.reason:
            yield ThinEvidence(f"APCER of {line.species}", line.rate.reason, line.rate.n_subjects, None)
