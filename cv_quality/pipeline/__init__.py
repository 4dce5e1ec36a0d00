"""Everything Dagster: assets by stage, checks, partitions, sensors and jobs, each thin over `cv_quality.stages`.

Nothing outside this folder (and the code location `cv_quality.definitions`) imports dagster.
"""
