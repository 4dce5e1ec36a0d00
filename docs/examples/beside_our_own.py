"""One code location of cv_quality's assets and a team's own: an asset downstream of a metric table, with its resource.

Load it with `dagster dev -f docs/examples/beside_our_own.py`, or with a `workspace.yaml` that names it.
"""

from pathlib import Path

import dagster as dg
import duckdb

from cv_quality.definitions import build_definitions
from cv_quality.settings import Settings


class Wall(dg.ConfigurableResource):
    """The folder from which the screen in the laboratory shows what changes."""

    folder: str


@dg.asset(deps=[["marts", "fct_intervals"]], group_name="laboratory", owners=["team:laboratory"])
def wall_of_rates(wall: Wall) -> dg.MaterializeResult[None]:
    """Put the false reject rate of every build on the screen."""
    warehouse = str(Settings.from_environment().warehouse)
    question = "SELECT build_id, value FROM fct_intervals WHERE metric = 'frr' AND dimension = 'all'"
    with duckdb.connect(warehouse, read_only=True) as tables:
        rates = tables.execute(f"{question} AND model_build_id = build_id ORDER BY build_id").fetchall()
    lines = [f"{build}: {rate:.1%} rejected" for build, rate in rates if rate is not None]
    Path(wall.folder, "rates.txt").write_text("\n".join(lines) + "\n")
    return dg.MaterializeResult(metadata={"builds": len(lines)})


@dg.definitions
def defs() -> dg.Definitions:
    ours = dg.Definitions(assets=[wall_of_rates], resources={"wall": Wall(folder=dg.EnvVar("WALL_FOLDER"))})
    return dg.Definitions.merge(build_definitions(Settings.from_environment()), ours)
