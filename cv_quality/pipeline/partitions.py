"""The partitions of each task: drops as they arrive, builds as the registry knows them, and the grid of both.

They are a task's own, so that a build of one task is no missing partition of another.
"""

from functools import cache

import dagster as dg

from cv_quality.lake.lake import TableKey
from cv_quality.stage import Task


@cache
def drops_of(task: str) -> dg.DynamicPartitionsDefinition:
    return dg.DynamicPartitionsDefinition(name=f"{task}_drop")


@cache
def builds_of(task: str) -> dg.DynamicPartitionsDefinition:
    return dg.DynamicPartitionsDefinition(name=f"{task}_build")


def partitions_of(task: Task, key: str) -> dg.PartitionsDefinition:
    """Define the partitions of a task's stages of this key."""
    drops, builds = drops_of(task.name), builds_of(task.name)
    if key == "build_drop":
        return dg.MultiPartitionsDefinition({"build": builds, "drop": drops})
    return drops if key == "drop" else builds


def partition_of(key: TableKey) -> str:
    """Name the Dagster partition of a lake key."""
    if key.build and key.drop:
        return dg.MultiPartitionKey({"build": key.build, "drop": key.drop})
    return str(key.build or key.drop)


def table_key(partition: str, *, task: Task, key: str) -> TableKey:
    """Make the lake's key for a partition of a task's stages.

    Args:
        partition: as Dagster names it.
        task, key: whose stages, and what they are keyed by.
    """
    if key == "drop":
        return TableKey(drop=partition)
    if key == "build":
        return TableKey(build=partition)
    if not isinstance(partition, dg.MultiPartitionKey):
        partition = partitions_of(task, key).get_partition_key_from_str(partition)  # type: ignore[attr-defined]
    assert isinstance(partition, dg.MultiPartitionKey)
    return TableKey(build=partition.keys_by_dimension["build"], drop=partition.keys_by_dimension["drop"])
