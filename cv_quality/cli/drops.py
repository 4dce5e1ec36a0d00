"""Commands that make drops: simulated ones, and folders of images of others."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cv_quality.cli.common import JSON, open_deployment, print_rows, progress_bars
from cv_quality.text import visible

if TYPE_CHECKING:
    from cv_quality.drops.importers.faces import Layout
    from cv_quality.drops.manifest import Protocol
    from cv_quality.workspace import Workspace


@click.command()
@click.argument("scenario", default="demo")
@click.option("--seed", type=click.IntRange(min=0), help="In place of the scenario's own seed.")
@click.option(
    "--next", "is_next", is_flag=True, help="Only one more drop of its last build, under a new name each time."
)
@JSON
def simulate(scenario: str, seed: int | None, is_next: bool, as_json: bool) -> None:
    """Render a fleet's drops into the landing area.

    SCENARIO is the name of a packaged scenario (demo, tiny) or a YAML file. Failures come out of running each build's
    own model on the rendered pixels; what was planted is written beside the drops as truth-<scenario>.json. The same
    scenario and seed give the same drops again; `--next` adds one that is not there yet, of the same people at its
    first site, so with the same seed.
    """
    drops = simulate_drops(open_deployment(), scenario, seed=seed, is_next=is_next)
    print_rows([{"drop": drop} for drop in drops], as_json=as_json, title="simulated drops")


def simulate_drops(workspace: "Workspace", scenario: str, *, seed: int | None, is_next: bool = False) -> list[str]:
    """Write a scenario's drops, or the one after those that are there, under a progress bar, and return their names.

    Args:
        workspace: where the landing area and the registry are.
        scenario: a packaged scenario or a YAML file.
        seed: in place of the scenario's own; None keeps that.
        is_next: write only the next drop.
    """
    from cv_quality.simulation.scenario import drop_plans, load_scenario, next_plan
    from cv_quality.simulation.simulate import simulate as write_drops

    plan = load_scenario(scenario)
    landing = workspace.landing
    drops = [next_plan(plan, present=landing.folders())] if is_next else drop_plans(plan)
    with progress_bars() as progress:
        task = progress.add_task(f"render {visible(plan.name)}", total=len(drops))
        return write_drops(
            plan,
            plans=drops,
            landing=landing,
            registry=workspace.registry,
            seed=seed,
            progress=lambda *_: progress.advance(task),
        )


@click.group(name="import")
def import_() -> None:
    """Turn foreign data into drops."""


@import_.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--build", required=True, help="The registry's build that the drop is evaluated with.")
@click.option("--site", help="Where the images were taken; by default the folder's name.")
@click.option("--drop-id", help="Name of the drop; by default made of date, build and site.")
@click.option(
    "--layout",
    type=click.Choice(["auto", "folders", "file_names"]),
    default="auto",
    show_default=True,
    help="One folder per identity (AT&T/ORL), or identity and condition in the file name (Yale).",
)
@click.option(
    "--protocol",
    type=click.Choice(["all_pairs", "enrolled"]),
    default="all_pairs",
    show_default=True,
    help="Every image is reference and probe, or the first images of each identity are enrolled.",
)
@click.option("--enrol-first", type=click.IntRange(min=1), default=1, show_default=True, metavar="N")
@click.option("--consent", is_flag=True, help="The subjects agreed that reports may show their images.")
@JSON
def faces(
    folder: Path,
    build: str,
    site: str | None,
    drop_id: str | None,
    layout: "Layout",
    protocol: "Protocol",
    enrol_first: int,
    consent: bool,
    as_json: bool,
) -> None:
    """Turn a FOLDER of face images into a drop."""
    from cv_quality.drops.importers.faces import import_faces

    workspace = open_deployment()
    workspace.registry.entry(build)
    drop = import_faces(
        folder,
        landing=workspace.landing,
        modality=workspace.modality("face"),
        drop_id=drop_id,
        build_id=build,
        layout=layout,
        protocol=protocol,
        enrol_first_n=enrol_first,
        site=site or folder.resolve().name,
        has_image_consent=consent,
    )
    print_rows([{"drop": drop}], as_json=as_json, title="imported")
