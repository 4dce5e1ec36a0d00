"""The sections of a build's page, each a value: the page, its navigation and its anchors follow from their list.

A task declares its list in the order of its page (`Task.sections`). How a template becomes HTML is in
`cv_quality.reports.rendering`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cv_quality.reports.drawing import Chart
from cv_quality.reports.scope import Scope
from cv_quality.settings import EXPLAINED_PAIRS, LEADING_RATE

if TYPE_CHECKING:
    from cv_quality.inference.registry import BuildEntry
    from cv_quality.lake.lake import Lake
    from cv_quality.lake.store import Store
    from cv_quality.modality import Modality

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReportSource:
    """What a build's page is made from.

    Attributes:
        landing: where the drops' frames are; read only for subjects who consented.
        entry: the build's own registry entry: digest and decision threshold.
        gates: the stages whose verdicts are shown, in their order.
        explained_pairs: failures that were explained at most; None where the explanations are not there yet.
        warehouse: the DuckDB file that the queries on the page name; None leaves only the queries on Parquet.
        leading: the metric that the first screen leads with.
        entry_files: the registry entries of the build and its baseline, as they are written, by build.
    """

    lake: "Lake"
    landing: "Store"
    scope: Scope
    entry: "BuildEntry"
    modality: "Modality"
    gates: tuple[str, ...] = ()
    warehouse: Path | None = None
    explained_pairs: int | None = EXPLAINED_PAIRS
    leading: str = LEADING_RATE
    entry_files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Section(Generic[T]):
    """One section of a page.

    Attributes:
        id: its anchor.
        title: its heading.
        read: everything that it shows.
        template: its file within the package, which finds that as `data`, and charts by their ids in `charts`.
        charts: draws what was read.
        link: what the navigation calls it, where that is not its title.
        is_optional: whether it is left out where it read None.
    """

    id: str
    title: str
    read: Callable[[ReportSource], T]
    template: str
    charts: Callable[[T, ReportSource], Iterable[Chart]] = lambda _data, _source: ()
    link: str = ""
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class PageContent:
    """What the sections of one page show, and all their charts by id."""

    sections: tuple[Section[Any], ...]
    data: Mapping[str, Any]
    charts: Mapping[str, Chart]

    def of(self, section: Section[T]) -> T:
        """Find what a section shows."""
        found: T = self.data[section.id]
        return found


def read_sections(sections: Sequence[Section[Any]], source: ReportSource) -> PageContent:
    """Read every section and draw its charts, in their order.

    Raises:
        MissingTable: a stage before the report has not been run for the build, its baseline, or one of its drops.
    """
    content = read_content(sections, source)
    drawn = [chart for section in sections for chart in section.charts(content.data[section.id], source)]
    return replace(content, charts={chart.id: chart for chart in drawn})


def read_content(sections: Sequence[Section[Any]], source: ReportSource) -> PageContent:
    """Read every section and draw nothing, for who prints no page.

    Raises:
        MissingTable: a stage before the report has not been run for the build, its baseline, or one of its drops.
    """
    data = {section.id: section.read(source) for section in sections}
    shown = tuple(section for section in sections if not section.is_optional or data[section.id] is not None)
    return PageContent(shown, data, {})
