"""The partitions: drops as they arrive, builds as the registry knows them, and the grid of both."""

import dagster as dg

from cv_quality.lake.lake import TableKey

DROPS = dg.DynamicPartitionsDefinition(name="drop")
BUILDS = dg.DynamicPartitionsDefinition(name="build")
GRID = dg.MultiPartitionsDefinition({"build": BUILDS, "drop": DROPS})


def partition_of(key: TableKey) -> str:
    """The Dagster partition of a lake key."""
    if key.build and key.drop:
        return dg.MultiPartitionKey({"build": key.build, "drop": key.drop})
    return str(key.build or key.drop)


def table_key(partition: str, *, definition: dg.PartitionsDefinition) -> TableKey:
    """The lake's key for a Dagster partition of one of the three definitions."""
    if isinstance(partition, dg.MultiPartitionKey):
        return TableKey(build=partition.keys_by_dimension["build"], drop=partition.keys_by_dimension["drop"])
    if definition == GRID:
        return table_key(GRID.get_partition_key_from_str(partition), definition=GRID)
    return TableKey(build=partition) if definition == BUILDS else TableKey(drop=partition)
