"""Everything Dagster: assets by stage, checks, partitions, sensors and jobs, each thin over the declared stages.

Nothing outside this folder (and the code location `cv_quality.definitions`) imports dagster.
"""

import warnings

import dagster as dg

# Backfill policies are marked beta and partitions of checks preview in every release so far; one warning per asset
# hides the ones that matter.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
