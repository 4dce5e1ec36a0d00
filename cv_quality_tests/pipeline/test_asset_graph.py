"""The graph as text: a change of assets, partitions, checks, jobs or sensors shows as a difference to read.

After a wanted change, write it anew: `CVQ_HOME=.cvq python -m cv_quality_tests.pipeline.test_asset_graph`.
"""

import json
from pathlib import Path

import dagster as dg

from cv_quality.definitions import build_definitions
from cv_quality.settings import Settings

SNAPSHOT = Path(__file__).parent / "asset_graph.json"


def described() -> dict[str, object]:
    """Assets with group, partitions, what they are made of and what blocks them; jobs and sensors."""
    definitions = build_definitions(Settings.from_environment({}))
    graph = definitions.resolve_asset_graph()
    return {
        "assets": {
            key.to_user_string(): {
                "group": graph.get(key).group_name,
                "partitions": _partitions(graph.get(key).partitions_def),
                "made_of": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
                "checks": sorted(check.name for check in graph.get(key).check_keys),
            }
            for key in sorted(graph.get_all_asset_keys())
        },
        "checks": {
            f"{check.asset_key.to_user_string()}: {check.name}": {
                "blocks": graph.get(check).blocking,
                "partitions": _partitions(graph.get(check).partitions_def),
            }
            for check in sorted(graph.asset_check_keys)
        },
        "jobs": {
            name: sorted(
                key.to_user_string() for key in definitions.resolve_job_def(name).asset_layer.selected_asset_keys
            )
            for name in sorted(job.name for job in definitions.jobs or ())
        },
        "sensors": {
            sensor.name: {
                "job": "" if isinstance(sensor, dg.RunStatusSensorDefinition) else sensor.job_name,
                "status": sensor.default_status.value,
            }
            for sensor in definitions.sensors or ()
            if isinstance(sensor, dg.SensorDefinition)
        },
    }


def _partitions(definition: dg.PartitionsDefinition | None) -> str:
    if isinstance(definition, dg.MultiPartitionsDefinition):
        return " x ".join(item.name for item in definition.partitions_defs)
    return str(getattr(definition, "name", "none"))


def test_the_asset_graph_is_the_one_that_was_agreed() -> None:
    assert described() == json.loads(SNAPSHOT.read_text())


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(described(), indent=1) + "\n")
