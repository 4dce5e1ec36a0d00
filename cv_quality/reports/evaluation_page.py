"""One self-contained HTML page for score sets that were evaluated without drops or builds.

Here the parts are put together and written: sentences from `evaluation_finding`, drawings from `evaluation_charts`, and
HTML by `rendering`. The page names no subject and shows no single comparison; the same sets give the same bytes.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from cv_quality.metrics.rates import Rate
from cv_quality.reports import evaluation_charts as drawn
from cv_quality.reports import evaluation_finding as finding
from cv_quality.reports import rendering
from cv_quality.reports.curves import DetPoint, det_chart
from cv_quality.reports.drawing import Chart
from cv_quality.reports.evaluation_charts import Histogram, Series
from cv_quality.reports.evaluation_groups import GroupsView, groups_view
from cv_quality.reports.rates import method_names, target_text
from cv_quality.scores.evaluation import Evaluation, Point, Status
from cv_quality.scores.score_set import ScoreSet
from cv_quality.text import span

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|(?<=subject )\S+")
CLASSES = {"verification": ("genuine", "impostor"), "liveness": ("bona fide", "attack")}
"""What the two classes of a set are called, by its kind."""


@dataclass(frozen=True, slots=True)
class PointRow:
    """An operating point as the table shows it; the rates of an undefined one are None."""

    name: str
    threshold: str
    bounds: str
    fmr: Rate | None
    fnmr: Rate | None
    methods: tuple[str, ...]
    status: Status
    reason: str | None


@dataclass(frozen=True, slots=True)
class SetView:
    """One score set on the page.

    Attributes:
        name: unlike that of every other set of the page.
        firm_threshold: where groups and qualities are judged.
        classes: what its genuine and impostor comparisons are called.
        reject: error versus reject; None where there is none to draw, and `no_reject` says why.
    """

    id: str
    name: str
    series: Series
    evaluation: Evaluation
    files: tuple[str, ...]
    classes: tuple[str, str]
    finding: str
    firm_threshold: str
    points: tuple[PointRow, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    bins: Histogram | None
    scores: Chart | None
    reject: Chart | None
    no_reject: str
    stability: tuple[Chart, ...]
    groups: GroupsView | None
    group_charts: tuple[Chart, ...]


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning, and the sets that it is about."""

    text: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EvaluationContent:
    """Everything that the template shows; `undrawn` names the sets without a point on the DET curve."""

    title: str
    sets: tuple[SetView, ...]
    warnings: tuple[Warned, ...]
    det: Chart | None
    undrawn: tuple[str, ...]
    methods: tuple[str, ...]


def write_evaluation_report(evaluated: Sequence[tuple[ScoreSet, Evaluation]], *, target: Path) -> None:
    """Write one page about all score sets to `target`, at once or not at all.

    Args:
        evaluated: each set with what `cv_quality.scores.evaluation.evaluate` said of it, in the order of the page.
    """
    rendering.write_page("reports/templates/evaluation.html", target, content=read_content(evaluated))


def read_content(evaluated: Sequence[tuple[ScoreSet, Evaluation]]) -> EvaluationContent:
    """Put together everything that the page shows."""
    evaluations = [evaluation for _, evaluation in evaluated]
    short = short_names([file for evaluation in evaluations for file in evaluation.files])
    names = set_names(evaluations, short)
    views = tuple(
        _view(scores, evaluation, series=series, index=index, short=short)
        for index, ((scores, evaluation), series) in enumerate(zip(evaluated, drawn.series(names), strict=True), 1)
    )
    texts = dict.fromkeys(text for view in views for text in view.warnings)
    curves = {view.name: _curve(view.evaluation) for view in views}
    return EvaluationContent(
        title=names[0] if len(names) == 1 else f"{len(names)} score sets",
        sets=views,
        warnings=tuple(Warned(text, tuple(view.name for view in views if text in view.warnings)) for text in texts),
        det=_det_chart(views, curves) if any(curves.values()) else None,
        undrawn=tuple(name for name, points in curves.items() if not points),
        methods=tuple(method_names(method for evaluation in evaluations for method in _methods(evaluation))),
    )


def short_names(files: Sequence[str]) -> dict[str, str]:
    """Shorten files to as few of their last folders as tell them apart: a page that is passed on needs no more.

    >>> short_names(["/data/a/dev.txt", "/data/b/dev.txt"])
    {'/data/a/dev.txt': 'a/dev.txt', '/data/b/dev.txt': 'b/dev.txt'}
    """
    distinct = list(dict.fromkeys(files))
    depth = max((len(PurePath(file).parts) for file in distinct), default=1)
    for n in range(1, depth + 1):
        short = ["/".join(PurePath(file).parts[-n:]) for file in distinct]
        if len(set(short)) == len(short):
            break
    return dict(zip(distinct, short, strict=True))


def _told(texts: Sequence[str], scores: ScoreSet, short: Mapping[str, str]) -> tuple[str, ...]:
    """Sentences with their files in short, and without the subjects whom reading the files quoted."""
    if any(_QUOTED.search(text) for text in texts):
        subjects = _subjects(scores)
        texts = [
            _QUOTED.sub(lambda found: "…" if found[0].strip("'\"") in subjects else found[0], text) for text in texts
        ]
    for file in sorted(short, key=len, reverse=True):
        texts = [text.replace(file, short[file]) for text in texts]
    return tuple(texts)


def _subjects(scores: ScoreSet) -> frozenset[str]:
    frames = (scores.rows, scores.excluded, scores.attacks)
    columns = [frame[name] for frame in frames for name in ("subject_a", "subject_b") if name in frame.columns]
    named = {name for column in columns for name in column.unique().drop_nulls().to_list()}
    return frozenset(named | set(scores.failed_subjects or ()))


def set_names(evaluations: Sequence[Evaluation], short: Mapping[str, str]) -> list[str]:
    """Name the sets as they were, or by their files in short; names that occur twice get the files, then a number."""
    files = [" + ".join(evaluation.files) for evaluation in evaluations]
    found = [
        " + ".join(short[file] for file in evaluation.files) if evaluation.name == default else evaluation.name
        for evaluation, default in zip(evaluations, files, strict=True)
    ]
    counts = Counter(found)
    told = [
        f"{name} ({', '.join(short[file] for file in evaluation.files)})" if counts[name] > 1 else name
        for name, evaluation in zip(found, evaluations, strict=True)
    ]
    seen: Counter[str] = Counter()
    for index, name in enumerate(told):
        seen[name] += 1
        told[index] = name if seen[name] == 1 else f"{name} #{seen[name]}"
    return told


def _view(scores: ScoreSet, evaluation: Evaluation, *, series: Series, index: int, short: Mapping[str, str]) -> SetView:
    bins, classes, id_ = drawn.histogram(scores), CLASSES[evaluation.kind], f"set-{index}"
    points = (*evaluation.operating_points, *([evaluation.fixed] if evaluation.fixed else []))
    firm, groups = finding.firm(evaluation), evaluation.differentials
    return SetView(
        id=id_,
        name=series.name,
        series=series,
        evaluation=evaluation,
        files=tuple(short[file] for file in evaluation.files),
        classes=classes,
        finding=finding.sentence(evaluation),
        firm_threshold=rendering.number(firm.threshold if firm else None),
        points=tuple(_row(point) for point in points),
        notes=_told(evaluation.notes, scores, short),
        warnings=_told(evaluation.warnings, scores, short),
        bins=bins,
        scores=drawn.histogram_chart(bins, evaluation, id=f"{id_}-scores", classes=classes) if bins else None,
        reject=drawn.reject_chart(evaluation.erc, id=f"{id_}-reject") if evaluation.erc else None,
        no_reject=_no_reject(scores, evaluation),
        stability=drawn.stability_charts(evaluation.beyond, id=f"{id_}-tail") if evaluation.beyond else (),
        groups=groups_view(groups) if groups else None,
        group_charts=drawn.group_charts(groups, id=f"{id_}-groups") if groups else (),
    )


def _no_reject(scores: ScoreSet, evaluation: Evaluation) -> str:
    if not scores.has_qualities:
        return "The files hold no quality values, so error versus reject cannot be drawn."
    if evaluation.erc is None:
        return "No FMR target rests on enough errors to fix the threshold of an error-versus-reject curve."
    return "The qualities do not differ enough to draw a curve."


def _row(point: Point) -> PointRow:
    low, high = point.threshold_low, point.threshold_high
    no_bounds = "as given" if point.fmr_target is None else "no bounds"
    return PointRow(
        name=target_text(point.fmr_target) if point.fmr_target is not None else "given threshold",
        threshold=rendering.number(point.threshold),
        bounds=span(low, high, words=rendering.number) if low is not None else no_bounds,
        fmr=point.fmr,
        methods=tuple(
            f"{name}: {rate.method}"
            for name, rate in (("FMR", point.fmr), ("FNMR", point.fnmr))
            if rate is not None and rate.method
        ),
        fnmr=point.fnmr,
        status=point.status,
        reason=point.reason,
    )


def _curve(evaluation: Evaluation) -> tuple[DetPoint, ...]:
    """The curve without points at which a rate is 0, as both axes are logarithmic."""
    return tuple(
        DetPoint(point.threshold, point.fmr, point.fnmr, point.low, point.high)
        for point in evaluation.curve
        if point.fmr > 0 and point.fnmr > 0
    )


def _det_chart(views: Sequence[SetView], curves: Mapping[str, Sequence[DetPoint]]) -> Chart:
    inks = {view.name: view.series.ink for view in views}
    marked = {view.name: _marked(finding.leading(view.evaluation)) for view in views}
    decided = {name: point for name, point in marked.items() if point is not None}
    return det_chart(curves, decided=decided, inks=inks, noun="score set")


def _marked(point: Point | None) -> DetPoint | None:
    if point is None or point.fmr is None or point.fnmr is None or point.threshold is None:
        return None
    if not point.fmr.value or not point.fnmr.value:
        return None
    return DetPoint(point.threshold, point.fmr.value, point.fnmr.value, point.fnmr.low, point.fnmr.high)


def _methods(evaluation: Evaluation) -> Iterator[str | None]:
    points = (*evaluation.operating_points, *([evaluation.fixed] if evaluation.fixed else []))
    rates = [rate for point in points for rate in (point.fmr, point.fnmr) if rate is not None]
    yield from (rate.method for rate in rates)
    yield evaluation.eer.method
    yield evaluation.beyond.method if evaluation.beyond else None
