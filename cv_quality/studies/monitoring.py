"""Watching the rates of a build in the field, look by look, without false alarms by looking often.

Two claims can be watched. "The mean rate of the population is at most the target" is bet on once a subject, when he has
completed: given the past, the rate of a subject who returns is his own, and a bet on it would be no fair one. "The mean
rate of this panel is no higher than the baseline's" is bet on at every look, paired on the same attempts, and speaks of
these subjects. An absolute level of a panel is a claim that nobody can be told about in time: the answer is "cannot
tell". How a bet is made is in `cv_quality.studies.betting`; where attempts come from is the caller's to say.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

from cv_quality.errors import MonitorError
from cv_quality.metrics.results import Result
from cv_quality.studies.betting import Capital, bet_on_change, bet_on_level
from cv_quality.studies.multiplicity import e_bh
from cv_quality.text import figures

if TYPE_CHECKING:
    import polars as pl

WHOLE = "all"
"""Dimension and level of what is not sliced."""
Claim = Literal["level", "change"]
WatchState = Literal["quiet", "alarm", "cannot tell"]
Unit = Literal["subject", "subject_day"]
GROUP = ("metric", "dimension", "level")
BLIND = 0.5
"""A look of which a larger part of the attempts is of subjects who were bet on before says nothing of a level."""


class MonitorPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is watched of a build, declared before the first look.

    Attributes:
        build: that is watched.
        metrics: rates of attempts.
        targets: the highest mean rate of the population that is fine, by metric; without one no level is watched.
        against: the baseline of claims about a change; without one no change is watched.
        alpha: chance that anything ever raises a false alarm.
        slices: dimensions of which each level is watched besides the whole.
        unit: what is bet on of a level: a subject once, or each day of his, where nobody returns.
        attempts: with which a subject has completed; None: at the end of the first day on which he is seen.
        task: of the build.
        follows: digest of the monitor in whose place this was put; None of the first one.
    """

    build: str
    metrics: tuple[str, ...]
    targets: dict[str, float] = msgspec.field(default_factory=dict)
    against: str | None = None
    alpha: float = 0.05
    slices: tuple[str, ...] = ()
    unit: Unit = "subject"
    attempts: int | None = None
    task: str = "verification"
    follows: str | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without data.

        Raises:
            MonitorError: nothing is claimed, or a number is out of range.
        """
        if not self.targets and self.against is None:
            raise MonitorError(
                f"{self.build}: nothing is claimed; name a target rate, a baseline to compare with, or both"
            )
        if len({*self.metrics}) < len(self.metrics) or not self.metrics:
            raise MonitorError(f"{self.build}: expected metrics, each once, found {', '.join(self.metrics) or 'none'}")
        if unknown := {*self.targets}.difference(self.metrics):
            raise MonitorError(f"{self.build}: a target for {', '.join(sorted(unknown))}, which is not watched")
        for metric, target in self.targets.items():
            if not 0 < target < 1:
                raise MonitorError(f"{metric}: expected a target between 0 and 1, such as 0.03, found {target:g}")
        if not 0 < self.alpha < 1:
            raise MonitorError(f"expected an alpha between 0 and 1, found {self.alpha:g}")
        if self.attempts is not None and self.attempts < 1:
            raise MonitorError(f"expected at least 1 attempt of a completed subject, found {self.attempts}")
        if self.against == self.build:
            raise MonitorError(f"{self.build}: a build cannot have changed against itself; name its baseline")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A drop with the look at which its attempts were counted.

    Attributes:
        look: from 1.
        day: of the look, as ISO 8601; never before that of the look before.
        drop_id: what came.
        drop_day: the date that the drop bears.
        is_late: whether that lies before the day of a look that was made already.
    """

    look: int
    day: str
    drop_id: str
    drop_day: str
    is_late: bool


def with_arrivals(known: Sequence[Arrival], drops: Mapping[str, str]) -> list[Arrival]:
    """Append what came to what was counted; of that nothing changes.

    Each new day is a look. Drops that bear the date of a day that was counted before make a look of their own, on the
    last day counted.

    Args:
        known: counted before, in the order of the looks.
        drops: what is there, with the dates that they bear.
    """
    look, last = (known[-1].look, known[-1].day) if known else (0, "")
    counted = {item.drop_id for item in known}
    by_day: dict[tuple[str, bool], list[str]] = {}
    for drop, day in sorted(drops.items()):
        if drop not in counted:
            by_day.setdefault((max(day, last), day <= last), []).append(drop)
    found = [*known]
    for number, ((day, is_late), names) in enumerate(sorted(by_day.items(), key=lambda item: item[0][0]), look + 1):
        found += [Arrival(number, day, name, drops[name], is_late) for name in names]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRate(Result):
    """What is known of one claim after a look.

    Attributes:
        look: from 1.
        claim: "level", of the population, or "change", of the panel.
        metric, dimension, level: of what; "all" of the whole.
        reference: the target, or the mean rate of the baseline.
        value: mean rate of the subjects that were bet on; None before the first.
        n_subjects: that were bet on.
        n_returning: of those seen so far, how many were seen at several looks.
        e_value: capital of the bet against the claim.
        is_alarm: whether e-BH over all claims has chosen it, at this look or before.
        state: "cannot tell" where the look says nothing of the claim.
    """

    look: int
    claim: Claim
    metric: str
    dimension: str
    level: str
    reference: float | None
    value: float | None
    n_subjects: int
    n_returning: int
    e_value: float
    is_alarm: bool
    state: WatchState


def watch(rows: "pl.DataFrame", plan: MonitorPlan) -> list[WatchedRate]:
    """Bet on every claim of a plan, look by look.

    At every look e-BH chooses which claims raise an alarm, over metrics, slices and kinds of claim, under any
    dependence; one that was raised stays. A level that appears late begins with the mean capital of the others, at most
    1, so that the chance of any false alarm stays below alpha.

    Args:
        rows: counts with `look` (from 1), `metric`, `dimension`, `level`, `subject_id`, `errors` and `trials`, and for
            claims about a change `baseline_errors` and `baseline_trials`, null where the baseline has none.
        plan: what is watched.

    Raises:
        MonitorError: days of subjects are to be bet on, and some return; or there is nothing to look at.
    """
    import polars as pl

    dimensions = (WHOLE, *plan.slices)
    rows = rows.filter(pl.col("metric").is_in(plan.metrics), pl.col("dimension").is_in(dimensions))
    if rows.is_empty():
        raise MonitorError(
            f"{plan.build}: there is no attempt of {', '.join(plan.metrics)} yet; watch it when there is"
        )
    if missing := {*plan.slices}.difference(rows["dimension"].unique()):
        known = ", ".join(sorted(rows["dimension"].unique()))
        raise MonitorError(f"{plan.build}: no attempt has a level of {', '.join(sorted(missing))}; known: {known}")
    return list(_followed(rows, plan))


def require_no_return(rows: "pl.DataFrame") -> None:
    """Refuse bets on the days of subjects where a subject returns.

    Args:
        rows: with `look` and `subject_id`.

    Raises:
        MonitorError: a subject was seen at several looks.
    """
    import polars as pl

    seen = rows.group_by("subject_id").agg(pl.col("look").n_unique())
    returning = seen.filter(pl.col("look") > 1).height
    if returning:
        raise MonitorError(
            f"{returning:,} of {seen.height:,} subjects return on another day: given the past, the rate of one who "
            "returns is his own and not the population's, and bets on his days raise false alarms (a fifth of quiet "
            "builds, in 60 days); bet once per subject, or on the change against a baseline"
        )


@dataclass(slots=True)
class _Watched:
    """A claim as it is followed."""

    claim: Claim
    group: tuple[str, str, str]
    capital: Capital
    total: float = 0.0
    total_baseline: float = 0.0
    n_looks: int = 0
    subjects: set[str] = field(default_factory=set)
    is_alarm: bool = False

    @property
    def place(self) -> tuple[str, tuple[str, str, str]]:
        return self.claim, self.group


Part = Mapping[tuple[int, str, str, str], "pl.DataFrame"]


def _followed(rows: "pl.DataFrame", plan: MonitorPlan) -> Iterator[WatchedRate]:
    levels, changes = _level_bets(rows, plan), _change_bets(rows, plan)
    returns = _returns(rows)
    watched: dict[tuple[str, tuple[str, str, str]], _Watched] = {}
    for look in range(1, int(rows["look"].max()) + 1):  # type: ignore[arg-type]
        start = _mean([item.capital.e_value for item in watched.values()])
        for claim, parts in (("level", levels), ("change", changes)):
            for key in sorted(key for key in parts if key[0] == look):
                item = _Watched("level" if claim == "level" else "change", key[1:], Capital(start=min(start, 1.0)))
                _bet(watched.setdefault(item.place, item), parts[key], plan)
        ordered = [watched[place] for place in sorted(watched)]
        for item, chosen in zip(ordered, e_bh([i.capital.e_value for i in ordered], alpha=plan.alpha), strict=True):
            item.is_alarm |= bool(chosen)
            yield _state(item, look, plan, returns)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 1.0


def _bet(item: _Watched, part: "pl.DataFrame", plan: MonitorPlan) -> None:
    rates = (part["errors"] / part["trials"]).to_numpy()
    if item.claim == "level":
        target = plan.targets[item.group[0]]
        item.capital = bet_on_level(item.capital, rates, attempts=part["trials"].to_numpy(), target=target)
    else:
        baseline = (part["baseline_errors"] / part["baseline_trials"]).to_numpy()
        item.capital = bet_on_change(item.capital, baseline, rates)
        item.total_baseline += float(baseline.sum())
    item.n_looks += 1
    item.total += float(rates.sum())
    item.subjects.update(part["subject_id"])


def _state(
    item: _Watched, look: int, plan: MonitorPlan, returns: Mapping[tuple[int, str, str, str], tuple[int, float]]
) -> WatchedRate:
    metric, dimension, level = item.group
    capital, n = item.capital, item.capital.n
    n_returning, share = returns.get((look, *item.group), (0, 1.0))
    is_blind = share > BLIND if item.claim == "level" else item.n_looks < 2
    reference = plan.targets[metric] if item.claim == "level" else item.total_baseline / n
    return WatchedRate(
        look=look,
        claim=item.claim,
        metric=metric,
        dimension=dimension,
        level=level,
        reference=reference,
        value=item.total / n,
        n_subjects=len(item.subjects),
        n_returning=n_returning,
        e_value=capital.e_value,
        is_alarm=item.is_alarm,
        state="alarm" if item.is_alarm else "cannot tell" if is_blind else "quiet",
    )


def _level_bets(rows: "pl.DataFrame", plan: MonitorPlan) -> Part:
    """What is bet on of levels at each look: each subject once, all that he did until he had completed."""
    import polars as pl

    rows = rows.filter(pl.col("metric").is_in([*plan.targets]))
    if plan.unit == "subject_day":
        require_no_return(rows)
    who = ["metric", "subject_id"]
    whole = rows.filter(dimension=WHOLE).group_by(*who, "look").agg(pl.col("trials").sum()).sort(*who, "look")
    if plan.attempts is not None:
        whole = whole.filter(pl.col("trials").cum_sum().over(who) >= plan.attempts)
    completed = whole.group_by(who).agg(pl.col("look").min().alias("completed"))
    counted = rows.join(completed, on=who).filter(pl.col("look") <= pl.col("completed"))
    counted = counted.group_by("completed", *GROUP, "subject_id").agg(pl.col("errors", "trials").sum())
    return _parts(counted.rename({"completed": "look"}))


def _change_bets(rows: "pl.DataFrame", plan: MonitorPlan) -> Part:
    """What is bet on of changes at each look: every subject with attempts that both builds were asked about."""
    import polars as pl

    if plan.against is None:
        return {}
    counts = ["errors", "trials", "baseline_errors", "baseline_trials"]
    paired = rows.group_by("look", *GROUP, "subject_id").agg(pl.col(counts).sum())
    return _parts(paired.filter(pl.col("trials") > 0, pl.col("baseline_trials") > 0))


def _parts(counts: "pl.DataFrame") -> Part:
    ordered = counts.sort("look", *GROUP, "subject_id").partition_by("look", *GROUP, as_dict=True)
    return {
        (int(look), str(metric), str(dim), str(level)): part for (look, metric, dim, level), part in ordered.items()
    }


def _returns(rows: "pl.DataFrame") -> dict[tuple[int, str, str, str], tuple[int, float]]:
    """For each look, how many subjects had returned by then, and the part of its attempts that are of such."""
    import polars as pl

    found = {}
    for group, part in rows.partition_by(*GROUP, as_dict=True).items():
        first = pl.col("look") > pl.col("look").min().over("subject_id")
        seen, again = part.with_columns(again=first), set[str]()
        for look, now in sorted(seen.partition_by("look", as_dict=True).items()):
            later = now.filter("again")
            again.update(later["subject_id"])
            key = (int(look[0]), str(group[0]), str(group[1]), str(group[2]))
            found[key] = (len(again), float(int(later["trials"].sum()) / int(now["trials"].sum())))
    return found


def verdict_of(rates: Sequence[WatchedRate]) -> WatchState:
    """Combine what is known of all claims after a look: an alarm of any, else quiet if anything could be told.

    Args:
        rates: of one look.
    """
    states = {rate.state for rate in rates}
    return "alarm" if "alarm" in states else "quiet" if "quiet" in states else "cannot tell"


def together(rates: Sequence[WatchedRate]) -> float:
    """Average the e-values of all claims of a look: e-values of slices are never multiplied.

    Args:
        rates: of one look.
    """
    return _mean([rate.e_value for rate in rates])


def claimed(rate: WatchedRate) -> tuple[str, ...]:
    """Identify what is claimed, at whatever look."""
    return rate.claim, rate.metric, rate.dimension, rate.level


def claim_words(rate: WatchedRate) -> str:
    """Name what is claimed: the metric with its slice, of the population or of the panel."""
    where = "" if rate.dimension == WHOLE else f" of {rate.dimension} {rate.level}"
    return f"{rate.metric}{where}, {'population' if rate.claim == 'level' else 'change on the panel'}"


def sentence(rate: WatchedRate, *, since: str | None = None, units: str = "subjects") -> str:
    """Say what is known of a claim.

    Args:
        rate: after a look.
        since: the day of the alarm.
        units: who is bet on, in words.
    """
    name = claim_words(rate)
    told = f"{figures(rate.value)} against {figures(rate.reference)}, e-value {figures(rate.e_value)}"
    if rate.claim == "change":
        who = f"panel of {rate.n_subjects:,} {units}, not population"
    else:
        who = f"{rate.n_subjects:,} {units}, each once"
    if rate.state == "alarm":
        return f"{name}: alarm{f' since {since}' if since else ''}: {told}; {who}"
    if rate.state == "quiet":
        return f"{name}: quiet: {told}; {who}"
    if rate.claim == "change":
        return f"{name}: cannot tell: a first look is only learned from; {who}"
    return (
        f"{name}: cannot tell: most of the look is of {units} seen before ({rate.n_returning:,} returned): an absolute "
        f"level of a panel cannot be watched; name a baseline to watch the change; {who}"
    )


@dataclass(frozen=True, slots=True)
class Monitored:
    """What is known of a watched build.

    Attributes:
        plan: what is claimed.
        arrivals: the drops that were counted, in the order of the looks.
        rates: every claim after every look.
        waiting: drops that are not measured yet, by the build or by its baseline.
        units: who is bet on, in words.
        restarts: in words, why monitors before this one ended, and where they are kept.
    """

    plan: MonitorPlan
    arrivals: tuple[Arrival, ...]
    rates: tuple[WatchedRate, ...]
    waiting: tuple[str, ...]
    units: str = "subjects"
    restarts: tuple[str, ...] = ()

    @property
    def days(self) -> dict[int, str]:
        """The day of each look."""
        return {item.look: item.day for item in self.arrivals}

    @property
    def now(self) -> list[WatchedRate]:
        """Every claim after the last look."""
        return [rate for rate in self.rates if rate.look == self.rates[-1].look]

    @property
    def verdict(self) -> WatchState:
        return verdict_of(self.now)

    @property
    def e_value(self) -> float:
        """The mean of the e-values of all claims."""
        return together(self.now)

    def since(self, rate: WatchedRate) -> str | None:
        """The day on which a claim raised its alarm; None where it has not."""
        of_claim = (item for item in self.rates if item.is_alarm and claimed(item) == claimed(rate))
        return next((self.days[item.look] for item in of_claim), None)

    @property
    def ordered(self) -> list[WatchedRate]:
        """Every claim after the last look, alarms first, then by how much speaks against it."""
        return sorted(self.now, key=lambda rate: (not rate.is_alarm, -rate.e_value))

    @property
    def sentences(self) -> list[str]:
        """What is known of each claim, in that order."""
        return [sentence(rate, since=self.since(rate), units=self.units) for rate in self.ordered]

    @property
    def notes(self) -> list[str]:
        """What is to be known: monitors before this one, drops that came late, and those that wait."""
        late = [
            f"{item.drop_id} bears the date {item.drop_day}, and {item.day} was counted before it came: the clock went "
            f"back, or it came late; it is counted as look {item.look}, and nothing before changes"
            for item in self.arrivals
            if item.is_late
        ]
        wait = f"{', '.join(self.waiting)}: not measured yet, so not counted; `cvq run`"
        return [*self.restarts, *late, *([wait] if self.waiting else [])]
