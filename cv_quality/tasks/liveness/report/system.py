"""Sections about the whole system: what decided every presentation, working points, profiles and the release."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cv_quality.lake.lake import TableKey
from cv_quality.lake.schema import Table
from cv_quality.metrics.liveness.policies import Policy
from cv_quality.metrics.liveness.system import GENUINE, Fate
from cv_quality.metrics.rates import Rate
from cv_quality.metrics.results import percent
from cv_quality.reports.drawing import (
    BASELINE_INK,
    BUILD_INK,
    FAINT_INK,
    Chart,
    Row,
    level_axis,
    number_axis,
    over,
    specification,
    tips,
)
from cv_quality.reports.liveness_policies import POLICY_NAMES
from cv_quality.reports.queries import Query, rows_query
from cv_quality.reports.rates import read_rate
from cv_quality.reports.section import ReportSource, Section
from cv_quality.tasks.liveness.tables import LIVENESS_POLICIES, LIVENESS_PROFILES, LIVENESS_WATERFALL
from cv_quality.tasks.release.section import RELEASE, ReleaseView, read_release
from cv_quality.tasks.release.tables import OVERALL

TEMPLATES = "tasks/liveness/report/templates"
STAGES = {
    "capture": "no response",
    "liveness": "taken for an attack",
    "matcher": "not matched",
    "undecided": "not known",
    "accepted": "accepted",
}
INKS = (FAINT_INK, BASELINE_INK, "var(--impostor)", "var(--rule)", BUILD_INK)


@dataclass(frozen=True, slots=True)
class SystemLine:
    """One kind of presentation with what became of it.

    Attributes:
        riapar: IAPAR + FRR, of a species; None with a `reason`.
    """

    fate: Fate
    is_attack: bool
    riapar: float | None
    reason: str | None

    def share(self, stage: str) -> float:
        """The share of presentations that a stage decided."""
        counts: dict[str, int] = {name: getattr(self.fate, name) for name in STAGES}
        return counts[stage] / self.fate.presented


@dataclass(frozen=True, slots=True)
class SystemView:
    """Every kind of presentation: people first, then impostors, then species, the one that passes most first."""

    lines: tuple[SystemLine, ...]
    query: Query

    @property
    def is_known(self) -> bool:
        """Whether the matcher's part is known of any presentation that passed liveness."""
        return any(line.fate.accepted or line.fate.matcher for line in self.lines)


@dataclass(frozen=True, slots=True)
class PolicyLine:
    """One policy at one target: its worst species and what it costs people, each beside the first detector's.

    Attributes:
        apcer: of the worst species; None where the policy is undefined.
        apcer_change, bpcer_change: less the first detector's, with bounds; None of the first detector itself.
    """

    policy: Policy
    target: float
    threshold: float | None
    second_threshold: float | None
    species: str | None
    apcer: Rate | None
    bpcer: Rate
    apcer_change: Mapping[str, Any] | None
    bpcer_change: Mapping[str, Any] | None
    caution: str | None

    @property
    def name(self) -> str:
        return POLICY_NAMES[self.policy]


@dataclass(frozen=True, slots=True)
class PoliciesView:
    """Working points of a build's detectors."""

    lines: tuple[PolicyLine, ...]
    n_chosen_on: int
    query: Query

    @property
    def cautions(self) -> tuple[str, ...]:
        """What the scores near thresholds cannot tell, each once."""
        told = (
            f"{POLICY_NAMES[line.policy]}, APCER at most {percent(line.target)}: {line.caution}"
            for line in self.lines
            if line.caution
        )
        return tuple(dict.fromkeys(told))


@dataclass(frozen=True, slots=True)
class ProfileView:
    """One profile with its answers."""

    profile: str
    source: str
    verdict: str
    answer: str
    requirements: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class ProfilesView:
    """Every profile that is asked of a build."""

    profiles: tuple[ProfileView, ...]
    query: Query


def read_system(source: ReportSource) -> SystemView:
    """Read what became of every kind of presentation."""
    rows = _rows(source, LIVENESS_WATERFALL)
    lines = [
        SystemLine(
            Fate(
                **{name: row[name] for name in ("kind", "presented", "capture", "liveness", "matcher", "accepted")}
                | {"undecided": row["undecided"]}
            ),
            row["is_attack"],
            row["riapar"],
            row["reason"],
        )
        for row in rows
    ]
    lines.sort(key=lambda line: (line.is_attack, line.fate.kind != GENUINE, -line.share("accepted"), line.fate.kind))
    return SystemView(tuple(lines), _query(source, LIVENESS_WATERFALL))


def system_charts(data: SystemView, source: ReportSource) -> Iterable[Chart]:  # noqa: ARG001 - as sections are drawn
    """Draw the stages that decided, stacked to the whole, one bar a kind of presentation."""
    import altair as alt

    if not data.lines:
        return
    drawn = [name for name in STAGES if any(getattr(line.fate, name) for line in data.lines)]
    rows: list[Row] = [
        {
            "level": line.fate.kind,
            "stage": STAGES[name],
            "order": order,
            "share": line.share(name),
            "words": percent(line.share(name)),
            "counts": f"{getattr(line.fate, name):,} / {line.fate.presented:,}",
        }
        for line in data.lines
        for order, name in enumerate(drawn)
    ]
    totals: list[Row] = [
        {"level": line.fate.kind, "share": 1.0, "text": f"{percent(line.share('accepted'))} accepted"}
        for line in data.lines
    ]
    inks = dict(zip(STAGES, INKS, strict=True))
    scale = alt.Scale(domain=[STAGES[name] for name in drawn], range=[inks[name] for name in drawn])
    legend = alt.Legend(title=None, orient="top", symbolType="square", columns=5)
    ink = alt.Color("stage:N", scale=scale, legend=legend)
    axis = number_axis([0.0, 1.0], count=4)
    x = alt.X("share:Q", title="share of presentations", stack=True, scale=alt.Scale(domain=[0, 1.28]), axis=axis)
    y = level_axis([line.fate.kind for line in data.lines])
    tip = tips({"level": "presented", "stage": "decided", "words": "share", "counts": "presentations"})
    bars = over(rows).mark_bar(height=20).encode(x=x, y=y, color=ink, order="order:Q", tooltip=tip)
    text = over(totals).mark_text(align="left", dx=6, fontSize=12, color="var(--ink)")
    layers = alt.layer(bars, text.encode(x=alt.X("share:Q"), y=y, text="text:N"))
    title = "What decided each presentation"
    told = "; ".join(
        f"{line.fate.kind}: " + ", ".join(f"{STAGES[name]} {percent(line.share(name))}" for name in drawn)
        for line in data.lines
    )
    spec = specification(layers, height=34 * len(data.lines), alt_text=title)
    yield Chart("chart-system", title, f"{title}: {told}.", spec)


def read_policies(source: ReportSource) -> PoliciesView | None:
    """Read the working points; None where no presentation has a score."""
    rows = _rows(source, LIVENESS_POLICIES)
    if not rows:
        return None
    names: list[str] = list(POLICY_NAMES)
    people = sorted(
        (row for row in rows if row["metric"] == "bpcer"), key=lambda row: (-row["target"], names.index(row["policy"]))
    )
    worst = {(row["policy"], row["target"]): row for row in rows if row["metric"] == "apcer" and row["is_worst"]}
    lines = tuple(_policy(row, worst.get((row["policy"], row["target"]))) for row in people)
    return PoliciesView(lines, max(row["n_chosen_on"] for row in rows), _query(source, LIVENESS_POLICIES))


def _policy(row: Mapping[str, Any], worst: Mapping[str, Any] | None) -> PolicyLine:
    return PolicyLine(
        policy=row["policy"],
        target=row["target"],
        threshold=row["threshold"],
        second_threshold=row["second_threshold"],
        species=None if worst is None else worst["species"],
        apcer=None if worst is None else read_rate(worst),
        bpcer=read_rate(row),
        apcer_change=None if worst is None or worst["difference"] is None else worst,
        bpcer_change=None if row["difference"] is None else row,
        caution=row["caution"],
    )


def read_profiles(source: ReportSource) -> ProfilesView | None:
    """Read the answers to profiles; None where none is asked."""
    rows = _rows(source, LIVENESS_PROFILES)
    found = tuple(
        ProfileView(
            whole["profile"],
            whole["source"],
            whole["verdict"],
            whole["answer"],
            [row for row in rows if row["profile_file"] == whole["profile_file"] and row is not whole],
        )
        for whole in rows
        if whole["requirement"] == OVERALL
    )
    return ProfilesView(found, _query(source, LIVENESS_PROFILES)) if found else None


def read_asked_release(source: ReportSource) -> ReleaseView | None:
    """Read the release verdict; None where the policy requires nothing of the build."""
    found = read_release(source)
    return found if found.requirements else None


def _rows(source: ReportSource, table: Table) -> list[dict[str, Any]]:
    return source.lake.read(table, TableKey(build=source.scope.build)).to_dicts()


def _query(source: ReportSource, table: Table) -> Query:
    return rows_query(table, build=source.scope.build, where={})


ASKED_RELEASE = Section(
    RELEASE.id, RELEASE.title, read_asked_release, RELEASE.template, link=RELEASE.link, is_optional=True
)
SYSTEM = Section("system", "The whole system", read_system, f"{TEMPLATES}/system.html", system_charts, link="System")
POLICIES = Section(
    "policies", "Working points", read_policies, f"{TEMPLATES}/policies.html", link="Working points", is_optional=True
)
PROFILES = Section("profiles", "Profiles", read_profiles, f"{TEMPLATES}/profiles.html", is_optional=True)
