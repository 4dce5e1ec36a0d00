"""The history of all builds of liveness: rates over builds, of attacks those of the worst species.

Each build is taken on its own drops, as its devices recorded them, so no two builds share a drop.
"""

from collections.abc import Iterable, Mapping, Sequence

from cv_quality.builds import own_drops
from cv_quality.lake.lake import Lake, TableKey
from cv_quality.metrics.rates import Rate
from cv_quality.modality import Modality
from cv_quality.reports.history import TaskHistory, Trend
from cv_quality.reports.rates import read_rate
from cv_quality.tasks.history import build_row, drop_rows, slice_histories
from cv_quality.tasks.liveness.build_metrics import WHOLE
from cv_quality.tasks.liveness.populations import PASSED
from cv_quality.tasks.liveness.tables import LIVENESS_RATES
from cv_quality.workspace import Workspace

TRENDS: Mapping[str, str] = {
    "apcer": "Attacks of the worst species taken for a live person (APCER)",
    "iapar": "Attacks of the worst species accepted by the whole system (IAPAR)",
    "bpcer": "Live people taken for an attack (BPCER)",
    "bpnrr": "Live people without a response (BPNRR)",
    "frr": "Live people rejected by the whole system (FRR)",
}
ALL_PRESENTATIONS = ("apnrr", "bpnrr")
"""Rates whose trials are all presentations, those without a response too."""


def trends_of(lake: Lake, builds: Sequence[str]) -> Iterable[Trend]:
    """Read the rates of each build on its own drops, a trend for each; a build that lacks one has no point."""
    rates = {build: _rates(lake, build) for build in builds}
    for metric, name in TRENDS.items():
        own = tuple((build, found[metric]) for build, found in rates.items() if metric in found)
        if own:
            yield Trend(name, own)


def _rates(lake: Lake, build: str) -> dict[str, Rate]:
    """The rates of a build by metric; of species the worst."""
    rows = lake.read(LIVENESS_RATES, TableKey(build=build)).filter(dimension=WHOLE)
    chosen = rows.filter(rows["is_worst"] & rows["value"].is_not_null()).sort("metric", "species")
    return {row["metric"]: read_rate(row) for row in chosen.unique("metric", keep="first").iter_rows(named=True)}


def read_history(workspace: Workspace, builds: Sequence[str], modality: Modality) -> TaskHistory:
    """Read the history of builds of liveness.

    Args:
        workspace: whose lake is read.
        builds: that were measured, the oldest first.
        modality: theirs.
    """
    lake = workspace.lake
    drops = sorted({drop for build in builds for drop in own_drops(workspace, build)})
    return TaskHistory(
        title="Liveness",
        unit="presentations",
        builds=tuple(build_row(workspace, build, n_units=n_presentations(lake, build)) for build in builds),
        trends=tuple(trends_of(lake, builds)),
        pairs=(),
        paired_rate="",
        grid={},
        slices=tuple(slice_histories(lake, builds, modality, outcome=PASSED.name)),
        parity=(),
        drops=drop_rows(lake, drops),
    )


def n_presentations(lake: Lake, build: str) -> int:
    """Count the presentations of a build."""
    rows = lake.read(LIVENESS_RATES, TableKey(build=build)).filter(dimension=WHOLE)
    return int(rows.filter(rows["metric"].is_in(ALL_PRESENTATIONS))["denominator"].sum())
