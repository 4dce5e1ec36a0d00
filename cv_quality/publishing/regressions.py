"""Causes of earlier builds, and a later build held against them: fixed, still there, worse, or cannot tell.

A build's causes are published as `regressions.json` beside its tickets. Such a list may come from anywhere: nothing of
it is run, its conditions are read one by one, and only the conditions of the build's own trials are looked at.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from cv_quality.error_analysis.population import Population
from cv_quality.error_analysis.slices import Op, Predicate, Slice
from cv_quality.errors import PublishingError, SliceError, near
from cv_quality.lake.store import Store
from cv_quality.metrics.rates import Rate
from cv_quality.publishing.product import Edition
from cv_quality.stage import Task
from cv_quality.studies.decisions import Verdict, judge_limit, overall
from cv_quality.tasks.root_causes.searched import searched_population
from cv_quality.tasks.root_causes.slices import rate_where
from cv_quality.text import told_apart
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from cv_quality.publishing.publish import Publication

FILE = "regressions.json"
MAX_BYTES = 4_000_000
SHARE_LEFT = 0.25
"""A cause counts as fixed where less than this part is left of what it failed beyond the others."""

State = Literal["fixed", "still there", "worse", "cannot tell"]
VERDICTS: Mapping[State, Verdict] = {
    "fixed": "pass",
    "still there": "fail",
    "worse": "fail",
    "cannot tell": "insufficient",
}
Text = Annotated[str, msgspec.Meta(max_length=10_000)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Whole = Annotated[int, msgspec.Meta(gt=-(2**53), lt=2**53)]
Plain = Text | Whole | float | bool | None


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One condition of a listed slice, as `cv_quality.error_analysis.slices.Predicate` has it."""

    column: Text
    op: Op
    value: Plain | list[Plain]


class ListedCause(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A cause as it was found in one build.

    Attributes:
        condition, where: in words, and as SQL; for people alone.
        outcome: that was searched.
        conditions: the slice.
        rate, numerator, denominator, low, high: how often its trials failed.
        expected: how often the others did; None where there were none.
    """

    condition: Text
    outcome: Text
    conditions: list[Condition]
    where: Text
    rate: Share
    numerator: Count
    denominator: Count
    low: Share | None
    high: Share | None
    expected: Share | None

    @property
    def slice(self) -> Slice:
        """The trials that it is about."""
        return Slice(
            tuple(
                Predicate(item.column, item.op, tuple(item.value) if isinstance(item.value, list) else item.value)
                for item in self.conditions
            )
        )


class CauseList(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The causes of one build.

    Attributes:
        modality: of it; builds of another one are not held against them.
    """

    build: Text
    modality: Text
    causes: list[ListedCause]


@dataclass(frozen=True, slots=True)
class Regression:
    """A cause of an earlier build in a later one.

    Attributes:
        found_in: the earlier build.
        rate: of the later one, of the trials that the cause is about.
        margin: what its rate may lie above `cause.expected`.
        reason: what the state rests on, in words.
    """

    found_in: str
    cause: ListedCause
    state: State
    rate: Rate | None
    margin: float | None
    reason: str


def list_causes(edition: Edition) -> CauseList:
    """List the causes of a build for later ones."""
    return CauseList(
        build=edition.briefing.build,
        modality=edition.source.modality.name,
        causes=[
            ListedCause(
                condition=cause.condition,
                outcome=cause.outcome,
                conditions=[_condition(item) for item in cause.where.where],
                where=cause.predicate,
                rate=cause.rate.value or 0.0,
                numerator=cause.rate.numerator,
                denominator=cause.rate.denominator,
                low=cause.rate.low,
                high=cause.rate.high,
                expected=cause.rest,
            )
            for cause in edition.briefing.causes
        ],
    )


def _condition(item: Predicate) -> Condition:
    value = list(item.value) if isinstance(item.value, tuple) else item.value
    return Condition(column=item.column, op=item.op, value=value)


def written(causes: CauseList) -> bytes:
    """Write a list of causes as JSON that `read_causes` reads."""
    text = json.dumps(msgspec.to_builtins(causes), indent=1, ensure_ascii=False)
    return text.encode(errors="backslashreplace") + b"\n"


def read_causes(data: bytes, *, file: str) -> CauseList:
    """Read a list of causes strictly.

    Args:
        data: of the file.
        file: its name, for errors.

    Raises:
        PublishingError: it is too large, or something in it is not as `cvq publish` writes it.
    """
    if len(data) > MAX_BYTES:
        raise PublishingError(f"{file}: a list of causes has at most {MAX_BYTES:,} bytes, this one {len(data):,}")
    try:
        found = msgspec.json.decode(data, type=CauseList)
        for cause in found.causes:
            _check(cause)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, SliceError) as error:
        raise PublishingError(f"{file} is no list of causes: {error}; `cvq publish BUILD` writes one") from error
    return found


def _check(cause: ListedCause) -> None:
    """Refuse a cause that is no slice, or whose counts make no rate."""
    if not cause.slice.where:
        raise SliceError(f"{cause.condition!r} has no condition, and all trials are no cause")
    if cause.numerator > cause.denominator:
        raise SliceError(f"{cause.condition!r} failed {cause.numerator:,} times of {cause.denominator:,}")


def published_causes(store: Store, editions: "Sequence[Publication]", modality: str) -> tuple[CauseList, ...]:
    """Read the lists of causes that were published, the newest of every build.

    Args:
        store, editions: where they lie, and which there are, the newest of a build first.
        modality: whose; lists of others are left out.
    """
    found: dict[str, CauseList] = {}
    for edition in editions:
        names = [file.name for file in edition.files if file.name.rpartition("/")[2] == FILE]
        if names and edition.build not in found:
            key = f"{edition.name}/{names[0]}"
            found[edition.build] = read_causes(store.read_bytes(key, limit=MAX_BYTES + 1), file=key)
    return tuple(causes for causes in found.values() if causes.modality == modality)


def hold_against(
    workspace: Workspace, task: Task, build: str, lists: Iterable[CauseList], *, margin: float | None = None
) -> tuple[Regression, ...]:
    """Hold a build against causes of others.

    A cause is fixed where the upper 95 % bound of its trials' rate lies below what was expected of them plus the
    margin, and still there where the lower one lies above. It is worse where, besides, the rate rose: the lower bound
    of the difference from the listed rate, both taken as independent (MOVER), lies above 0.

    Args:
        workspace, task, build: read from, of the task, for the build.
        lists: of causes; those of the build itself are left out.
        margin: what a rate may lie above the expected one; by default a quarter of what the cause failed beyond it.

    Raises:
        GateFailed: the build's slices are not those of the lake as it is now.
        PublishingError: a list is of another modality.
    """
    modality = workspace.registry.entry(build).modality

    @cache
    def population(outcome: str) -> Population | str:
        try:
            return searched_population(workspace, task, build, outcome)
        except SliceError as error:
            return str(error)

    found = []
    for causes in lists:
        if causes.modality != modality:
            raise PublishingError(f"the causes of {causes.build} are of {causes.modality}, and {build} of {modality}")
        if causes.build != build:
            found += [
                hold_cause(item, population(item.outcome), found_in=causes.build, margin=margin)
                for item in causes.causes
            ]
    return tuple(found)


def verdict_of(regressions: Iterable[Regression]) -> Verdict:
    """Combine what was found of all causes; without a cause nothing is open."""
    found = [VERDICTS[item.state] for item in regressions]
    return overall(found) if found else "pass"


def hold_cause(
    cause: ListedCause, population: Population | str, *, found_in: str, margin: float | None = None
) -> Regression:
    """Hold trials of a later build against one cause, as `hold_against` does.

    Args:
        cause: as it was listed.
        population: of its outcome; a text says why there is none.
        found_in: the build in which it was found.
        margin: as for `hold_against`.
    """
    build, allowed = found_in, _margin(cause, margin)
    trouble = population if isinstance(population, str) else _misfit(cause.slice, population)
    if trouble or isinstance(population, str):
        return Regression(build, cause, "cannot tell", None, allowed, trouble)
    rate = rate_where(population, cause.slice.expression(), expected=cause.rate)
    if allowed is None or cause.expected is None:
        return Regression(build, cause, "cannot tell", rate, None, "the list does not say how often the others failed")
    if not 0 < cause.expected + allowed < 1:
        told = f"a margin of {allowed:g} above {cause.expected:g} leaves nothing to hold the rate against"
        return Regression(build, cause, "cannot tell", rate, allowed, told)
    judged = judge_limit(cause.outcome, rate, limit=cause.expected + allowed)
    if judged.verdict == "pass":
        return Regression(build, cause, "fixed", rate, allowed, judged.reason)
    if judged.verdict == "insufficient":
        return Regression(build, cause, "cannot tell", rate, allowed, judged.reason)
    rise = _least_rise(cause, rate)
    if rise is None or rise <= 0:
        return Regression(build, cause, "still there", rate, allowed, judged.reason)
    now, before = told_apart([rate.value, cause.rate])
    told = f"{judged.reason}; {now} in place of {before}, a rise of at least {told_apart([rise])[0]}"
    return Regression(build, cause, "worse", rate, allowed, told)


def _margin(cause: ListedCause, asked: float | None) -> float | None:
    if asked is not None:
        return asked
    return None if cause.expected is None else SHARE_LEFT * (cause.rate - cause.expected)


def _least_rise(cause: ListedCause, rate: Rate) -> float | None:
    """The lower bound of how much a rate rose, by the bounds of both rates (Zou and Donner, Stat. Med. 27, 2008)."""
    if rate.value is None or rate.low is None or cause.high is None:
        return None
    return rate.value - cause.rate - math.hypot(rate.value - rate.low, cause.high - cause.rate)


def _misfit(where: Slice, population: Population) -> str:
    """Say why a slice cannot be looked for in a population; empty where it can."""
    if population.is_loss:
        return f"{population.outcome.name} is a loss, which has no rate"
    for item in where.where:
        if item.column not in population.columns:
            known = near(item.column, population.columns)
            return f"the {population.outcome.trial}s of the build have no condition {item.column!r}; {known}"
        kind = _kind(population, item.column)
        if not all(_is_of(value, kind) for value in item.values if value is not None):
            return f"{item.column} is {kind} in the build, and the list asks for {item.sentence()!r}"
    return ""


def _kind(population: Population, column: str) -> str:
    import polars as pl

    kind = population.rows.schema[column]
    return "a number" if kind.is_numeric() else "true or false" if kind == pl.Boolean else "text"


def _is_of(value: object, kind: str) -> bool:
    if kind == "a number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, bool if kind == "true or false" else str)
