"""Commands on clips in folders: `cvq evaluate --video`, without drops or builds, and `cvq import video`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from cv_quality.cli.common import (
    JSON,
    PAGE,
    open_deployment,
    print_document,
    print_rows,
    progress_bars,
    say,
    writing,
)
from cv_quality.drops.importers.video_layouts import VideoLayout
from cv_quality.text import visible

if TYPE_CHECKING:
    from cv_quality.tasks.video.evaluation.results import VideoEvaluation

SHOWN_CLIPS = 10
KINDS = ("masks", "instances", "tracks", "images")


@click.command(name="evaluate --video")
@click.argument("prediction", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option("--baseline", type=click.Path(path_type=Path), help="Another build's predictions, compared by clip.")
@click.option("--kind", type=click.Choice(KINDS), help="What is scored. [told from what both sides hold]")
@click.option(
    "--layout", type=click.Choice(get_args(VideoLayout)), help="Of every folder. [told from the names of folders]"
)
@click.option("--resolution", metavar="NAME", help="Folder of DAVIS to read, where it has several, such as 480p.")
@click.option(
    "--classes",
    metavar="NAME=TRUTH[:PREDICTION],...",
    help="Labels of each class of masks, joined by +: vehicle=255:6+7+14,person=3. [the labels that occur]",
)
@click.option(
    "--ignore", "ignored", metavar="LABEL,...", help="Labels of the truth whose pixels count for nothing: 85,170."
)
@click.option("--drop-ends", is_flag=True, help="Leave out each clip's first and last frame, as DAVIS does.")
@click.option("--absent-is-right", is_flag=True, help="Count 1 where neither mask has the object, as DAVIS does.")
@click.option("--resize", is_flag=True, help="Bring predicted masks of another size to the truth's, by nearest pixel.")
@click.option("--shift", type=int, metavar="N", help="Add N to the frame numbers of the prediction.")
@click.option(
    "--pictures",
    type=click.Path(path_type=Path),
    help="Pictures of the clips, for the temporal consistency of masks by optical flow; slow.",
)
@click.option(
    "--vmaf",
    metavar="FFMPEG",
    help="Measure VMAF of pictures too, by this program: an ffmpeg that has libvmaf, its name or path.",
)
@click.option("--report", type=PAGE, help="Write an HTML page with the frames of every clip.")
@JSON
def evaluate_video(
    prediction: Path, truth: Path, baseline: Path | None, report: Path | None, as_json: bool, **chosen: Any
) -> None:
    """Evaluate PREDICTION against TRUTH, clip by clip: masks, tracks or pictures, in folders as they are.

    \b
    Reads what public sets and tools write, told apart by the names of folders, or --layout:
      davis    JPEGImages/<size>/<clip>/*.jpg, Annotations/<size>/<clip>/*.png
      cdnet    <clip>/input/in%06d.jpg, groundtruth/gt%06d.png, ROI.bmp, temporalROI.txt
      mot      <clip>/gt/gt.txt, seqinfo.ini, img1/; <clip>.txt of a tracker
      videos   <clip>.mp4, with masks in <clip>/ or <clip>.tar
      frames   <clip>/*.png, <clip>.tar, or pictures alone as one clip
    Clips pair by name, frames by number; what one side lacks is counted and said.

    \b
    What is scored:
      masks      J and F with DAVIS's mean, recall and decay; IoU pooled over the clip; flicker; with --pictures
                 temporal consistency beside the truth's own
      instances  the same of objects under any number, assigned over the clip
      tracks     HOTA, MOTA, IDF1 and their parts, from sums over clips
      images     PSNR and SSIM of luma against reference clips, both variants of each named; with --vmaf VMAF
    Values of clips are averaged, each clip counting once; intervals are by clip, and "insufficient" below five.

    \b
      cvq evaluate --video results/DAVIS DAVIS --drop-ends --report davis.html
      cvq evaluate --video mog2 highway --classes moving=255 --ignore 85,170 --pictures highway
      cvq evaluate --video deeplab highway --classes vehicle=255:6+7+14
      cvq evaluate --video tracker/data MOT17/train --json
      cvq evaluate --video enhanced.mp4 pristine.mp4 --vmaf ffmpeg
      cvq evaluate --video build-2 truth --baseline build-1
    """
    from cv_quality.tasks.video.evaluation.evaluate import evaluate_video as evaluate

    with progress_bars() as progress:
        task = progress.add_task("clips", total=None)

        def told(clip: str, done: int, total: int) -> None:
            progress.update(task, description=visible(clip), completed=done, total=total)

        found = evaluate(prediction, truth, baseline=baseline, options=_options(**chosen), progress=told)
        progress.update(task, description="clips", completed=1, total=1)
    if report is not None:
        from cv_quality.tasks.video.evaluation.page import write_video_page

        with writing(report):
            write_video_page(found, target=report)
    print_video(found, as_json=as_json)


def _options(
    classes: str | None, ignored: str | None, drop_ends: bool, absent_is_right: bool, resize: bool, **others: Any
) -> Any:
    from cv_quality.tasks.video.evaluation.evaluate import VideoOptions
    from cv_quality.tasks.video.evaluation.labels import parse_classes, parse_labels
    from cv_quality.tasks.video.evaluation.masks import MaskOptions
    from cv_quality.tasks.video.evaluation.vmaf import find_vmaf

    return VideoOptions(
        kind=others["kind"],
        layout=others["layout"],
        resolution=others["resolution"],
        classes=parse_classes(classes) if classes else (),
        ignored=None if ignored is None else parse_labels(ignored),
        masks=MaskOptions(drop_ends, absent_is_right, resize, others["shift"]),
        pictures=others["pictures"],
        vmaf=None if others["vmaf"] is None else find_vmaf(others["vmaf"]),
    )


def print_video(found: "VideoEvaluation", *, as_json: bool) -> None:
    """Print what an evaluation of clips found: a document, or tables with what was understood beside them."""
    if as_json:
        print_document(found.to_dict())
        return
    from cv_quality.tasks.video.evaluation.summary import change_rows, clip_rows, summary_rows

    for note in found.notes:
        say(f"note: {note}", err=True)
    print_rows(clip_rows(found.clips), as_json=False, title=f"{found.kind} by clip")
    print_rows(summary_rows(found), as_json=False, title="over clips")
    if found.changes:
        print_rows(change_rows(found), as_json=False, title=f"against {found.baseline}, paired by clip")
    for warning in found.warnings:
        say(f"warning: {warning}", err=True)


@click.command(name="video")
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--build", required=True, help="The registry's build that the drop is evaluated with.")
@click.option("--site", help="Where the clips were taken; by default the folder's name.")
@click.option("--drop-id", help="Name of the drop; by default made of date, build and site.")
@click.option(
    "--layout", type=click.Choice(get_args(VideoLayout)), help="Of the folder. [told from the names of folders]"
)
@click.option("--resolution", metavar="NAME", help="Folder of DAVIS to read, where it has several, such as 480p.")
@click.option(
    "--frame-rate",
    type=click.FloatRange(0.1, 10_000),
    metavar="HZ",
    help="Of every clip. [seqinfo.ini, or the video's own; 30 of pictures]",
)
@click.option(
    "--masks",
    "mask_kind",
    type=click.Choice(["classes", "instances"]),
    help="What a label of masks is. [objects for DAVIS with several, else classes]",
)
@click.option("--classes", metavar="NAME=LABEL,...", help="Names of labels of masks, several labels joined by +.")
@click.option("--ignore", "ignored", metavar="LABEL,...", help="Labels whose pixels count for nothing.")
@click.option(
    "--first-number", type=click.IntRange(min=0), metavar="N", help="What names of masks call a clip's first frame."
)
@click.option("--consent", is_flag=True, help="Who is on the clips agreed that reports may show them.")
@click.option("--dry-run", is_flag=True, help="Say what was understood and write nothing.")
@JSON
def import_video(
    folder: Path,
    build: str,
    site: str | None,
    layout: Any,
    resolution: str | None,
    dry_run: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Turn a FOLDER of clips with their ground truth into one drop; what was understood is said.

    \b
    Reads the layouts of `cvq evaluate --video`: DAVIS, CDnet, MOTChallenge, video files with masks in a folder or a
    tar file of their name, folders of pictures. A table <clip>.csv beside a clip is its log: frame_number and any of
    capture_ms, start_ms, result_ms, display_ms, deadline_ms, dropped, temperature_c, thermal_state, illuminance_lux.

    \b
    What a device made of a clip, and truth that is no mask, lie beside it, in any layout:
      results/<clip>/ or <clip>/results/      masks, depth or pictures that the device wrote, by frame number
      depth/<clip>/, references/<clip>/       truth: 16 bit PNG in mm, clean pictures; <clip>/depth/ likewise
      <clip>.det.txt, <clip>/det/det.txt      boxes that the device found, as MOTChallenge writes them
      <clip>.landmarks.csv                    frame_number, x and y of every point in turn; source (truth or device)
                                              and interocular_px where wanted
    A build whose registry entry says recorded: true is scored by these, without a model.

    \b
      cvq import video DAVIS --build seg-1 --resolution 480p --frame-rate 24
      cvq import video highway --build seg-1 --classes moving=255 --ignore 85,170
      cvq import video MOT17/train --build track-2 --dry-run
    """
    from cv_quality.drops.importers.video import import_video as write
    from cv_quality.drops.importers.video_folders import read_video_folder

    workspace = open_deployment()
    workspace.registry.entry(build)
    found = read_video_folder(folder, layout=layout or "auto", resolution=resolution)
    say(
        "\n".join([*found.words(), *(f"  {clip.name}: {clip.words()}" for clip in found.clips[:SHOWN_CLIPS])]),
        err=as_json,
    )
    if len(found.clips) > SHOWN_CLIPS:
        say(f"  and {len(found.clips) - SHOWN_CLIPS:,} more", err=as_json)
    with progress_bars() as progress:
        task = progress.add_task("clips", total=len(found.clips))
        imported = write(
            found,
            _wanted(build=build, site=site or folder.resolve().stem, **chosen),
            landing=None if dry_run else workspace.landing,
            modality=workspace.modality("video"),
            progress=lambda clip, done, _: progress.update(task, description=visible(clip), completed=done),
        )
        progress.update(task, description="clips", completed=len(found.clips))
    if as_json:
        print_document(asdict(imported))
        return
    for note in imported.notes:
        say(note)
    for warning in imported.warnings:
        say(f"warning: {warning}", err=True)
    if imported.drop_id is None:
        say("nothing is written")
        return
    print_rows([{"drop": imported.drop_id, **imported.events, **imported.media}], as_json=False, title="imported")


def _wanted(*, build: str, site: str, classes: str | None, ignored: str | None, **others: Any) -> Any:
    from cv_quality.drops.importers.video import VideoImport
    from cv_quality.tasks.video.evaluation.labels import parse_classes, parse_labels

    return VideoImport(
        build_id=build,
        site=site,
        drop_id=others["drop_id"],
        frame_rate_hz=others["frame_rate"],
        mask_kind=others["mask_kind"],
        classes={label: item.name for item in parse_classes(classes) for label in item.truth} if classes else {},
        ignored=None if ignored is None else parse_labels(ignored),
        first_number=others["first_number"],
        has_image_consent=others["consent"],
    )
