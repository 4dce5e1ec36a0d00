"""Publishing in Dagster: one asset a build, of its report, with links to the products and a picture of the trend."""

from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from cv_quality.errors import CvQualityError, stops_a_run
from cv_quality.lake.lake import TableKey
from cv_quality.pipeline.partitions import builds_of
from cv_quality.pipeline.running import ONE_KEY_A_RUN, Event, failure, retrying_unreachable_stores
from cv_quality.stage import Task
from cv_quality.workspace import Workspace

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

ASSET = "published_edition"
JOB = "publish_build"


def publishing_asset(task: Task) -> dg.AssetsDefinition:
    """Define the asset that publishes a build of a task as every product."""
    key = dg.AssetKey([task.name, ASSET])

    @dg.asset(
        key=key,
        deps=[[task.name, asset] for stage in task.of_phase("report") for asset in stage.assets],
        partitions_def=builds_of(task.name),
        backfill_policy=ONE_KEY_A_RUN,
        group_name=f"{task.name}_publish",
        description="Brief, slides, message, tickets and open questions of a build, and the page over all builds.",
        kinds={"html", "pdf"},
    )
    def published_edition(context: dg.AssetExecutionContext, workspace: dg.ResourceParam[Workspace]) -> Iterator[Event]:
        from cv_quality.publishing.editions import read_edition
        from cv_quality.publishing.products import chosen_products
        from cv_quality.publishing.publish import INDEX, publish

        with retrying_unreachable_stores(context):
            try:
                edition, store = read_edition(workspace, context.partition_key), workspace.published()
                publication = publish(edition, chosen_products(()), store)
            except CvQualityError as error:
                if stops_a_run(error):
                    raise
                raise failure(TableKey(build=context.partition_key), error) from error
        links = {
            file.name: _link(f"{store.uri.rstrip('/')}/{publication.name}/{file.name}") for file in publication.files
        }
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "headline": publication.headline,
                "standing": publication.standing,
                "impact": edition.briefing.impact.text,
                "cause": edition.briefing.cause.text,
                "all builds": _link(f"{store.uri.rstrip('/')}/{INDEX}"),
                "picture": picture_of(workspace, task),
                **{f"left out: {item.product}": item.reason for item in publication.left_out},
                **links,
            },
        )

    return published_edition


def publishing_job(task: Task) -> "UnresolvedAssetJobDefinition":
    """Define the job that publishes a build."""
    about = f"{task.title}: Everything that is published of a build, for people beyond the team."
    selection = dg.AssetSelection.assets(dg.AssetKey([task.name, ASSET]))
    return dg.define_asset_job(f"{task.name}_{JOB}", selection=selection, description=about)


def _link(address: str) -> dg.UrlMetadataValue | dg.PathMetadataValue:
    """A link where the address is one, and a path of this machine else."""
    return dg.MetadataValue.url(address) if "://" in address else dg.MetadataValue.path(address)


def picture_of(workspace: Workspace, task: Task) -> dg.MarkdownMetadataValue:
    """Draw the first rate of the task over its builds, as it is drawn on the page over all builds."""
    import vl_convert

    from cv_quality.publishing.builds_page import read_histories, trend_chart

    histories = read_histories(workspace, [task])
    charts = [trend_chart(history.trends[0], id="trend") for history in histories if history.trends]
    pictures = [b64encode(vl_convert.svg_to_png(chart._repr_svg_())).decode() for chart in charts]
    return dg.MetadataValue.md("\n".join(f"![](data:image/png;base64,{picture})" for picture in pictures))
