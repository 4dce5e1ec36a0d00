"""Commands that turn folders of images or templates of people into drops: faces and irises."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cv_quality.cli.common import JSON, open_deployment, print_document, print_rows, progress_bars, say
from cv_quality.settings import REFERENCE_MODELS
from cv_quality.text import visible

if TYPE_CHECKING:
    from cv_quality.drops.importers.sample_folders import SampleFolder
    from cv_quality.workspace import Workspace

SHOWN_UNUSABLE = 10
_Command = TypeVar("_Command", bound=Callable[..., Any])
_OPTIONS = (
    click.option("--build", required=True, help="The registry's build that the drop is evaluated with."),
    click.option("--site", help="Where the images were taken; by default the folder's name."),
    click.option("--drop-id", help="Name of the drop; by default made of date, build and site."),
    click.option(
        "--layout",
        type=click.Choice(["auto", "folders", "sessions", "file_names"]),
        default="auto",
        show_default=True,
        help="A person's own folder (AT&T, LFW, CASIA), folders of sessions or videos in it (VoxCeleb, YouTube Faces), "
        "or person and condition in the file name (Yale); auto takes what the names prove.",
    ),
    click.option(
        "--pattern",
        metavar="PATTERN",
        help='Parts of names in place of a layout: "{subject}_{light}_{n}", "{subject}/{session}/{file}". '
        "{n} is digits, {light:dark|bright} a regular expression; other fields are conditions, {session} and {role} "
        "what they say.",
    ),
    click.option(
        "--table",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A table of conditions with a column path; the columns consent, role (reference or probe), subject and "
        "session say what they are called.",
    ),
    click.option(
        "--missing",
        multiple=True,
        metavar="TOKEN",
        help="A cell of the table that means missing, such as none; repeatable.",
    ),
    click.option(
        "--protocol",
        type=click.Choice(["all_pairs", "enrolled"]),
        default="all_pairs",
        show_default=True,
        help="Every image is reference and probe, or the first images of each identity are enrolled.",
    ),
    click.option("--enrol-first", type=click.IntRange(min=1), default=1, show_default=True, metavar="N"),
    click.option("--consent", is_flag=True, help="The subjects agreed that reports may show their images."),
    click.option(
        "--pseudonyms",
        is_flag=True,
        help="Replace names by pseudonyms, also those that would do as ids.",
    ),
    click.option(
        "--keep",
        type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
        help="Folder for the key of pseudonyms and the list of images not taken; by default beside FOLDER.",
    ),
    click.option("--dry-run", is_flag=True, help="Say what was understood and write nothing."),
)


def _with_options(command: _Command) -> _Command:
    for option in (*reversed(_OPTIONS), click.argument("folder", type=click.Path(exists=True, path_type=Path))):
        command = option(command)
    return command


@click.command()
@_with_options
@JSON
def faces(folder: Path, **chosen: Any) -> None:
    """Turn a FOLDER of face images into a drop; what was understood is said before anything is written."""
    _import_images(folder, modality_name="face", **chosen)


def code_shape(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    """Read ROWS,COLUMNS,WAVELETS,PARTS."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() and int(part) for part in parts):
        raise click.BadParameter(f"{text!r} is not ROWS,COLUMNS,WAVELETS,PARTS", param_hint="--shape")
    return tuple(map(int, parts))


@click.command()
@_with_options
@click.option("--templates", "is_of_templates", is_flag=True, help="FOLDER holds templates, not images; see above.")
@click.option(
    "--shape",
    default="16,256,2,2",
    show_default=True,
    callback=code_shape,
    metavar="ROWS,COLUMNS,WAVELETS,PARTS",
    help="Of templates whose bits are written as base64.",
)
@JSON
def iris(folder: Path, is_of_templates: bool, shape: tuple[int, ...], **chosen: Any) -> None:
    """Turn a FOLDER of iris strips or eye images into a drop; what was understood is said before anything is written.

    \b
    Whose eye it is, and which, is told by names, and proven or asked for:
      1_1.png, 1_2.png, 2_1.png          person and sample, as the strips of IIT Delhi; the eye is unknown
      001/01_L.bmp, 001/06_R.bmp         a folder a person; L, R, left, right, OS, OD in names or folders are the eye
      001/L/S1001L01.jpg                 as CASIA
    --pattern "{subject}_{eye}_{sample}" says it; a --table may have columns eye and sample.

    One eye of a person is compared with itself; the two eyes of one sample number are one moment. An image under two
    people or two eyes, and folders and names that contradict each other, are refused.

    \b
    With --templates, FOLDER is one of templates that another tool made, or a file of them:
      open-iris    1_L_1.json of serialize(), .jsonl, outputs of its pipeline, .npz; no pickles
      arrays       codes.npy and masks.npy, shape (n, rows, columns, planes), with names.txt or names.csv
      ready        a Parquet file with frame, code and mask
    They go into BUILD.parquet of the model registry, which BUILD.yaml names; it is written where there is none.
    """
    if is_of_templates:
        _import_templates(folder, shape=shape, **chosen)
    else:
        _import_images(folder, modality_name="iris", **chosen)


def _import_templates(path: Path, *, shape: tuple[int, ...], build: str, **chosen: Any) -> None:
    """Read templates, say what was understood, and write the drop and its build."""
    from cv_quality.drops.importers.iris_drops import TemplateFrames, known_table, understand_templates, write_build
    from cv_quality.drops.importers.iris_templates import read_templates
    from cv_quality.lake.store import open_store

    workspace = open_deployment()
    settings = workspace.settings
    if settings.registry == REFERENCE_MODELS:
        raise click.UsageError("--templates writes into the model registry: set CVQ_REGISTRY to a folder of your own")
    if build in workspace.registry.build_ids():
        _require_ready(workspace, build)
    templates, registry = read_templates(path, shape=shape), open_store(settings.registry, s3=settings.s3)
    known_table(registry, build_id=build, layout=templates.layout)
    found = understand_templates(
        templates, modality=workspace.modality("iris"), kept=chosen["keep"], **_reading(chosen)
    )
    for line in templates.said:
        say(line, err=chosen["as_json"])
    frames = TemplateFrames(templates)
    drop = _write(
        found, workspace, modality_name="iris", build=build, name=path.resolve().stem, render=frames.draw, **chosen
    )
    if drop is None:
        return
    is_new = write_build(registry, frames, build_id=build, drop_id=drop)
    entry = "written; its comparison and threshold are for you to say" if is_new else "kept"
    say(f"{settings.registry}/{build}.yaml: {entry}; next: `cvq run`", err=chosen["as_json"])


def _import_images(folder: Path, *, modality_name: str, build: str, **chosen: Any) -> None:
    """Understand a folder of images, say what was understood, and write the drop."""
    from cv_quality.drops.importers.sample_folders import read_samples

    workspace = open_deployment()
    _require_build(workspace, build, modality_name=modality_name)
    with progress_bars() as progress:
        task = progress.add_task("check images", total=None)
        found = read_samples(
            folder,
            modality=workspace.modality(modality_name),
            kept=chosen["keep"],
            progress=lambda done, total: progress.update(task, completed=done, total=total),
            **_reading(chosen),
        )
    _write(found, workspace, modality_name=modality_name, build=build, name=folder.resolve().name, **chosen)


def _require_build(workspace: "Workspace", build: str, *, modality_name: str) -> None:
    found = workspace.registry.entry(build).modality
    if found != modality_name:
        raise click.UsageError(f"--build {build}: expected a build of modality {modality_name}, found one of {found}")


def _require_ready(workspace: "Workspace", build: str) -> None:
    """Refuse a build whose templates are not those of the table that an import adds to."""
    from cv_quality.inference.iris.entry import IrisEntry

    _require_build(workspace, build, modality_name="iris")
    entry = workspace.registry.entry(build)
    if not isinstance(entry, IrisEntry) or entry.templates != f"{build}.parquet":
        raise click.UsageError(f"--build {build}: expected a new build, or one with 'templates: {build}.parquet'")


def _reading(chosen: "dict[str, Any]") -> dict[str, Any]:
    """The options that say who is on the images."""
    if chosen["pattern"] is not None and chosen["layout"] != "auto":
        raise click.UsageError("--pattern takes the place of --layout: give one of them")
    return {name: chosen[name] for name in ("layout", "pattern", "table", "missing")}


def _write(
    found: "SampleFolder", workspace: "Workspace", *, modality_name: str, build: str, name: str, **chosen: Any
) -> str | None:
    """Say what was understood, and write it as a drop where that is wanted; returns its name.

    Args:
        found: what was understood.
        workspace: with the landing area.
        modality_name, build: of the drop.
        name: of the site, where none is chosen.
        chosen: the options.
    """
    from cv_quality.drops.importers.sample_drops import write_samples

    as_json = chosen["as_json"]
    say("\n".join(samples_understood(found, has_pseudonyms=chosen["pseudonyms"])), err=as_json)
    if chosen["dry_run"]:
        say("nothing is written", err=as_json)
        drop = None
    else:
        drop = write_samples(
            found,
            landing=workspace.landing,
            modality=workspace.modality(modality_name),
            drop_id=chosen["drop_id"],
            build_id=build,
            protocol=chosen["protocol"],
            enrol_first_n=chosen["enrol_first"],
            site=chosen["site"] or name,
            has_image_consent=chosen["consent"],
            has_pseudonyms=chosen["pseudonyms"],
            render=chosen.get("render"),
        )
    if as_json:
        print_document([{"drop": drop, **samples_counted(found)}])
    elif drop:
        print_rows([{"drop": drop}], as_json=False, title="imported")
    return drop


def samples_counted(found: "SampleFolder") -> dict[str, object]:
    """What was understood of a folder of people, for machines."""
    return {
        "layout": found.layout,
        "people": found.n_people,
        "images": len(found.samples),
        **({"eyes": found.n_eyes} if found.n_eyes else {}),
        "sessions": found.n_sessions,
        "conditions": sorted(found.conditions.values),
        "leftovers": len(found.folder.leftovers),
        "links": list(map(visible, found.folder.links)),
        "others": list(map(visible, found.folder.others)),
        "unusable": [{"path": visible(item.name), "reason": item.reason} for item in found.unusable],
    }


def samples_understood(found: "SampleFolder", *, has_pseudonyms: bool) -> list[str]:
    """Say what was understood of a folder of people, a line for each thing.

    Args:
        found: the folder.
        has_pseudonyms: whether pseudonyms are wanted in any case.
    """
    from cv_quality.drops.importers.folders import some
    from cv_quality.scores.source import plural

    sessions = f", {plural(found.n_sessions, 'session')}" if found.n_sessions else ""
    people = "person" if found.n_people == 1 else "people"
    eyes = f", {plural(found.n_eyes, 'eye')}" if found.n_eyes else ""
    lines = [
        f"{found.n_people:,} {people}{eyes}, {plural(len(found.samples), 'image')}{sessions}: {found.layout}",
        f"people: {some(list(dict.fromkeys(sample.subject for sample in found.samples)))}",
        f"conditions: {'; '.join(found.conditions.words) or 'none'}",
    ]
    if found.roles:
        n_references = sum(role == "reference" for role in found.roles.values())
        lines.append(f"protocol: {plural(n_references, 'reference')}, {len(found.samples) - n_references:,} probes")
    if found.consents is not None:
        lines.append(f"consent to show images: {len(found.consents):,} of {found.n_people:,} {people}")
    if found.turned:
        lines.append(f"turned as EXIF says: {plural(len(found.turned), 'image')}")
    if found.folder.leftovers:
        leftovers = found.folder.leftovers
        lines.append(f"passed over: {plural(len(leftovers), 'leftover')} of file systems, {some(leftovers)}")
    if found.folder.others:
        lines.append(
            f"passed over: {plural(len(found.folder.others), 'file')} of other kinds, {some(found.folder.others)}"
        )
    if found.unusable:
        lines.append(f"not taken: {len(found.unusable):,}, to be listed in {found.unusable_file}")
        lines += [f"  {item.name}: {item.reason}, {item.detail}" for item in found.unusable[:SHOWN_UNUSABLE]]
    if found.needs_pseudonyms or has_pseudonyms:
        lines.append(f"people get pseudonyms; their key, which stays with you: {found.key_file}")
    return [*lines, *found.notes]
