"""The parts of a briefing that every task has: how the build stands, its causes, the data, and what to do next.

Only words are made here, from what the sections of a page read. What a task alone knows, its impact and its groups, is
in `report/briefing.py` of the task.
"""

import json
from collections.abc import Iterable, Mapping, Sequence

from cv_quality.error_analysis.holdout import MIN_SUBJECTS
from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.modality import Dimension, Modality
from cv_quality.reports.briefing import Cause, Example, Figure, Point, RateChange, Standing, ThinEvidence
from cv_quality.reports.data_quality import DataQuality
from cv_quality.reports.rates import Direction
from cv_quality.tasks.release.section import ReleaseView
from cv_quality.tasks.root_causes.report.records import ExamplePair, PicturedAttempt, RootCauses, SliceView
from cv_quality.tasks.root_causes.tables import FAILURE_SLICES
from cv_quality.text import figures, span

STANDINGS: Mapping[Direction, Standing] = {
    "worse": "worse",
    "better": "no worse",
    "unclear": "cannot tell",
    "unknown": "cannot tell",
}
EXAMPLES_SHOWN = 3
SMALLEST_P = 1e-4
_RARE = 0.01
"""A rate below it is told as one in so many."""


def rate_words(rate: Rate) -> str:
    """Write a rate within a sentence, its interval named, or why there is none.

    >>> from cv_quality.metrics.rates import clustered_rate
    >>> rate_words(clustered_rate([1, 0, 2, 1], [10, 10, 10, 10]))
    '10 % (95 % interval 0.112 to 49.9 %)'
    """
    if rate.value is None:
        return f"not known ({rate.reason or 'no trial'})"
    if not rate.has_interval:
        return f"{percent(rate.value)} ({rate.reason or 'no interval'})"
    return f"{percent(rate.value)} (95 % interval {_bounds(rate)})"


def _bounds(rate: Rate) -> str:
    return span(rate.low, rate.high, words=percent).replace(" % to ", " to ")


def how_often(rate: Rate) -> str:
    """Write a rate as people count: of every 100, or one in so many, with the verb.

    >>> from dataclasses import replace
    >>> from cv_quality.metrics.rates import NO_TRIAL
    >>> [how_often(replace(NO_TRIAL, value=value)) for value in (0.334, 0.0125, 0.004, 0.0)]
    ['33 of every 100 are', '1 of every 100 is', '1 in 250 is', 'none is']
    """
    if not rate.value:
        return "none is"
    if rate.value < _RARE:
        return f"1 in {figures(round(1 / rate.value))} is"
    count = round(100 * rate.value)
    return f"{count} of every 100 {'is' if count == 1 else 'are'}"


def chance_words(p: float) -> str:
    """Write a p value, one that is far below any level as such.

    >>> chance_words(0.0123), chance_words(6e-14)
    ('0.0123', 'below 0.0001')
    """
    return "below 0.0001" if p < SMALLEST_P else figures(p)


def standing_of(release: ReleaseView | None, change: RateChange | None) -> Standing:
    """Tell how the build stands: by the policy, and where it requires nothing, by the change it leads with."""
    if release is not None and release.requirements:
        standings: Mapping[str, Standing] = {"pass": "pass", "fail": "fail", "insufficient": "insufficient"}
        return standings[release.verdict]
    return STANDINGS[change.direction] if change is not None else "cannot tell"


def headline(build: str, baseline: str | None, standing: Standing, said: str) -> str:
    """Say in one sentence how the build stands.

    Args:
        build, baseline: their names.
        standing: one word of it.
        said: the figure that it is about, as a clause.
    """
    than = f" than {baseline}" if baseline else ""
    opening = {
        "pass": f"{build} may ship",
        "fail": f"{build} must not ship",
        "insufficient": f"{build} cannot be released on these data yet",
        "worse": f"{build} is worse{than}",
        "no worse": f"{build} is no worse{than}",
        "cannot tell": f"Whether {build} is worse{than} cannot be told" if baseline else f"{build} stands alone",
    }[standing]
    return f"{opening}: {said}."


def slice_words(where: Slice, modality: Modality) -> str:
    """Write a slice with what its columns are called, as "illuminance is at most 10 lux"."""
    return " and ".join(_predicate_words(item, modality) for item in where.where)


def _predicate_words(item: Predicate, modality: Modality) -> str:
    known: dict[str, Dimension] = {
        column: dimension
        for dimension in (*modality.conditions, *modality.measured)
        for column in (dimension.name, dimension.level_column)
    }
    label = known[item.column].label if item.column in known else item.column.replace("_", " ")
    name, of_what, unit = label.partition(" in ")
    if not of_what:
        name, of_what, unit = label.partition(", of ")
        unit = f"of {unit}" if of_what else ""
    if item.op in ("<=", ">"):
        bound = figures(float(str(item.value)))
        return f"{name} is {'at most' if item.op == '<=' else 'above'} {bound} {unit}".rstrip()
    return item.sentence().replace(item.column, name, 1)


def causes_of(found: RootCauses, modality: Modality, *, build: str, failing: str) -> tuple[Cause, ...]:
    """Put the confirmed slices as causes.

    Args:
        found: what the section of root causes read.
        modality: what columns are called.
        build: whose slices they are.
        failing: what happens to a trial that fails, as "rejected".
    """
    return tuple(_cause(view, found, modality, build=build, failing=failing) for view in found.slices)


def _cause(view: SliceView, found: RootCauses, modality: Modality, *, build: str, failing: str) -> Cause:
    condition, trials = slice_words(view.where, modality), f"{found.words.trial}s"
    rest = f", against {percent(view.rest_rate)} of the others" if view.rest_rate is not None else ""
    row = {"build_id": build, "outcome": found.outcome, "finding": "confirmed", "rank": view.rank}
    gain = None
    if view.mended.value is not None:
        mended = Figure(f"{found.words.rate} without it", view.mended, FAILURE_SLICES.name, row, "mended_rate")
        gain = Point(
            f"If {trials} there failed as often as the others, {rate_words(view.mended)} of all would be {failing}, in "
            f"place of {percent(found.n_failures / found.n_attempts)}.",
            (mended,),
            "why",
        )
    before = [point.rate for point in view.trend if point.build != build]
    return Cause(
        rank=view.rank,
        condition=condition,
        sentence=f"Where {condition}, {rate_words(view.rate)} of {trials} are {failing}{rest}.",
        rate=view.rate,
        rest=view.rest_rate,
        before=before[-1] if before else None,
        share_of_failures=view.share_of_failures,
        n_attempts=view.support,
        n_subjects=view.n_subjects,
        outcome=found.outcome,
        where=view.where,
        evidence=tuple(_evidence(view, found, build=build)),
        gain=gain,
        examples=tuple(map(_example, (*view.pairs, *view.typical)))[:EXAMPLES_SHOWN],
    )


def _evidence(view: SliceView, found: RootCauses, *, build: str) -> Iterable[str]:
    if view.p_adjusted is not None and view.n_subjects is not None:
        yield (
            f"Confirmed on {found.words.alike} without a part in finding it "
            f"(adjusted p {chance_words(view.p_adjusted)}); {view.n_subjects:,} {found.words.unit}s are in it."
        )
    earlier = [point for point in view.trend if point.build != build]
    if earlier:
        last = earlier[-1]
        yield f"In {last.build} the same conditions failed at {rate_words(last.rate)}."
    if view.counterfactuals:
        best = view.counterfactuals[0]
        yield (
            f"Run again with {best.change}, {best.n_accepted:,} of {best.n_attempts:,} of its failures are accepted."
        )
    shown = [item for item in view.maps if item.is_shown]
    if shown:
        methods = " and ".join(item.method for item in shown)
        yield f"Maps of the pixels that lower the score passed their checks ({methods})."


def _example(pair: ExamplePair) -> Example:
    return Example(
        failed=pair.failure.picture,
        failed_words=_attempt_words(pair.failure),
        passed=pair.passed.picture if pair.passed else None,
        passed_words=_attempt_words(pair.passed) if pair.passed else "",
        difference=pair.difference,
    )


def _attempt_words(attempt: PicturedAttempt) -> str:
    return ", ".join((attempt.outcome.replace("_", " "), *attempt.conditions))


def cause_point(found: RootCauses, causes: Sequence[Cause]) -> Point:
    """Say what the first cause is, or that none was found."""
    if not causes:
        return Point(f"No cause is confirmed. {found.conclusion}", section="why")
    first = causes[0]
    share = f"{percent(first.share_of_failures)} of all failures lie there. " if first.share_of_failures else ""
    return Point(f"{first.sentence} {share}{first.evidence[0] if first.evidence else ''}".strip(), section="why")


def quality_point(quality: DataQuality) -> Point:
    """Say how many rows were set aside, and whether every gate passed."""
    rows = sum(drop.rows_in for drop in quality.drops)
    rejected = sum(drop.n_rejected for drop in quality.drops)
    failed = sorted({verdict.gate for verdict in quality.verdicts if not verdict.passed})
    gates = f"gates refused: {', '.join(failed)}" if failed else "every gate passed"
    if not rejected:
        return Point(f"None of the {rows:,} rows that the devices delivered was set aside; {gates}.", section="data")
    named = "row was" if rejected == 1 else "rows were"
    share = f" ({percent(rejected / rows)})" if rows else ""
    return Point(
        f"Of {rows:,} rows that the devices delivered {rejected:,} {named} set aside{share}, each with its reason; "
        f"{gates}.",
        section="data",
    )


def next_step(build: str, standing: Standing, causes: Sequence[Cause], release: ReleaseView | None) -> Point:
    """Say what to do, or what would settle the question.

    Args:
        build, standing: which, and how it stands.
        causes: confirmed.
        release: verdicts of the policy; None without one.
    """
    needed = [row["subjects_needed"] for row in (release.requirements if release else ()) if row["subjects_needed"]]
    if standing in ("insufficient", "cannot tell") and needed:
        return Point(
            f"Record about {max(needed):,} subjects in all: that would settle the open requirements.", (), "release"
        )
    if causes and standing not in ("pass", "no worse"):
        how = f" `{causes[0].export}` gives its attempts as a table." if causes[0].export else ""
        return Point(f"Mend first what happens where {causes[0].condition}.{how}", section="why")
    if standing in ("pass", "no worse"):
        return Point(f"Ship it, and watch it in the field: `cvq monitor {build}`.", section="release")
    reason = f": {release.reason}" if release else ""
    return Point(f"Settle first what keeps the verdict open{reason}.", section="release")


def open_questions(
    release: ReleaseView | None, found: RootCauses, modality: Modality, groups: Iterable[ThinEvidence] = ()
) -> tuple[ThinEvidence, ...]:
    """List what the data leave open: requirements of the policy, groups, and conditions that stand out on too few.

    Args:
        release: verdicts of the policy; None without one.
        found: what the section of root causes read.
        modality: what columns are called.
        groups: those too small to be judged.
    """
    requirements = (
        ThinEvidence(
            row["requirement"] + ("" if row["level"] == "all" else f" ({row['dimension']} {row['level']})"),
            row["reason"],
            None,
            row["subjects_needed"],
        )
        for row in (release.requirements if release else ())
        if row["verdict"] == "insufficient"
    )
    slices = (
        ThinEvidence(
            slice_words(Slice.from_list(json.loads(row["where_json"])), modality),
            f"fails at {percent(row['rate'])}, which too few {found.words.unit}s show",
            row["n_subjects"],
            MIN_SUBJECTS,
        )
        for row in found.insufficient
    )
    return (*requirements, *groups, *slices)


def limits_of(release: ReleaseView | None) -> Mapping[str, float]:
    """The most that the policy allows of a rate itself, by metric, over all attempts."""
    rows = release.requirements if release else ()
    return {
        row["metric"]: row["allowed"]
        for row in rows
        if row["kind"] == "limit" and row["level"] == "all" and row["allowed"] is not None
    }
