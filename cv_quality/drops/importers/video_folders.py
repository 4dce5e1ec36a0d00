"""Reads folders of clips in the layouts of public sets: which pictures, masks, boxes and files are of which clip.

A layout is told by the names of folders, or declared; what fits two is asked. What was taken for what, what is missing
and what was not read is said. Pictures by their numbers are in `cv_quality.drops.importers.video_frames`.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, get_args

from cv_quality.drops.importers.folders import some
from cv_quality.drops.importers.video_frames import FrameFiles, number_frames, pictures_of_tar
from cv_quality.drops.importers.video_layouts import LAYOUTS, VideoLayout
from cv_quality.drops.importers.video_tracks import SequenceInfo, read_sequence_info
from cv_quality.drops.importers.video_tree import VideoTree, list_tree, stem
from cv_quality.errors import LayoutError

PICTURE_FOLDERS: Final = frozenset({"images", "image", "imgs", "img", "img1", "rgb", "frames", "input", "pictures"})
MASK_FOLDERS: Final = frozenset(
    {"masks", "mask", "gt", "groundtruth", "ground_truth", "labels", "annotations", "segmentation", "segmentations"}
)

RECORDED_FOLDERS: Final[Mapping[str, str]] = {
    "results": "results",
    "depth": "depth",
    "references": "references",
    "reference": "references",
}
"""Folders of what a device made of frames, and of truth that is no mask, by the part of a clip that they are."""


@dataclass(frozen=True, slots=True)
class VideoClip:
    """One clip, as its files say.

    Attributes:
        name: below the folder, "/" between.
        pictures, masks: its frames and their masks.
        video: the file, in place of pictures.
        boxes: of the truth, or of a tracker.
        detections: boxes that a device found.
        results, depth, references: pictures that a device made, and truth that is no mask.
        landmarks: points of each frame.
        region: CDnet's ROI: a picture that is black where nothing counts.
        span: CDnet's temporal ROI: first and last frame that count.
        info: of MOTChallenge's seqinfo.ini.
        log: what a device logged frame by frame.
    """

    name: str
    pictures: FrameFiles | None = None
    video: Path | None = None
    masks: FrameFiles | None = None
    boxes: Path | None = None
    detections: Path | None = None
    region: Path | None = None
    span: tuple[int, int] | None = None
    info: SequenceInfo | None = None
    log: Path | None = None
    results: FrameFiles | None = None
    depth: FrameFiles | None = None
    references: FrameFiles | None = None
    landmarks: Path | None = None

    @property
    def numbered(self) -> Mapping[str, FrameFiles]:
        """Pictures that are of frames by their numbers, by what they are: masks first."""
        parts = {"masks": self.masks, "results": self.results, "depth": self.depth, "references": self.references}
        return {what: frames for what, frames in parts.items() if frames is not None}

    def words(self) -> str:
        """Say what it has."""
        parts = [
            f"{what} {frames.words()}"
            for what, frames in (("pictures", self.pictures), *self.numbered.items())
            if frames is not None
        ]
        files = (self.video, self.boxes, self.detections, self.landmarks, self.log)
        return ", ".join([*parts, *(path.name for path in files if path is not None)])


@dataclass(frozen=True, slots=True)
class VideoFolder:
    """A folder that was understood.

    Attributes:
        path: as given.
        layout: that it was taken for.
        clips: by name, in natural order.
        unread: files that no clip has.
        notes: what else people should know.
    """

    path: Path
    layout: VideoLayout
    clips: tuple[VideoClip, ...]
    unread: tuple[str, ...]
    notes: tuple[str, ...]

    def words(self) -> list[str]:
        """Say what it was taken for and what was not read, a line for each thing."""
        n = len(self.clips)
        lines = [f"{self.path}: {n:,} {'clip' if n == 1 else 'clips'}: {LAYOUTS[self.layout]}", *self.notes]
        for clip in self.clips:
            for what, frames in (("pictures", clip.pictures), *clip.numbered.items()):
                if frames is not None and frames.holes:
                    lines.append(f"{clip.name}: {what} {frames.words()}")
        return [*lines, *([f"not read: {some(self.unread)}"] if self.unread else [])]


@dataclass(slots=True)
class _Found:
    """Clips that are put together, and what is said of them."""

    clips: dict[str, VideoClip] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, **parts: object) -> None:
        """Give a clip more parts; one part twice is asked about."""
        clip = self.clips.get(name, VideoClip(name))
        for part, value in parts.items():
            if value is not None and getattr(clip, part) is not None:
                raise LayoutError(
                    f"clip {name}: expected its {part} in one place, found them in two: give the folder of one, or "
                    "take the other away"
                )
        given = {part: value for part, value in parts.items() if value is not None}
        self.clips[name] = replace(clip, **given)  # type: ignore[arg-type]


def read_video_folder(
    path: Path, *, layout: VideoLayout | Literal["auto"] = "auto", resolution: str | None = None
) -> VideoFolder:
    """Understand a folder of clips, or a single clip.

    Args:
        path: a folder, a video file, a tar file of pictures, or a text file of boxes.
        layout: told by the names of folders by default.
        resolution: folder of DAVIS to read where there are several.

    Raises:
        LayoutError: no layout fits, or two do; a clip's parts contradict each other.
    """
    tree = list_tree(path)
    chosen = _sniffed(tree, path) if layout == "auto" else layout
    found = _Found()
    _READERS[chosen](tree, found, resolution)
    _add_recorded(tree, found)
    for clip in list(found.clips):
        found.add(clip, landmarks=tree.take(f"{clip}.landmarks.csv"), detections=tree.take(f"{clip}.det.txt"))
    if not found.clips:
        raise LayoutError(
            f"{path}: expected {LAYOUTS[chosen]}, found no clip of it{_links(tree)}; --layout says another"
        )
    names = sorted(found.clips)
    notes = [*found.notes, *_alike(names)]
    if tree.links:
        notes.append(f"links to folders are not followed: {some(tree.links)}")
    if tree.leftovers:
        notes.append(f"passed over: {len(tree.leftovers):,} leftovers of file systems, {some(tree.leftovers)}")
    clips = tuple(found.clips[name] for name in names)
    return VideoFolder(path, chosen, clips, tuple(tree.unread()), tuple(notes))


def _recorded_part(folder: str) -> tuple[str, str] | None:
    """The clip and the part of it that a folder `<clip>/results` or `results/<clip>` holds, if it is called so."""
    parts = folder.split("/")
    for place in (len(parts) - 1, 0):
        part = RECORDED_FOLDERS.get(parts[place].lower())
        if part is not None:
            return "/".join([*parts[:place], *parts[place + 1 :]]), part
    return None


def _add_recorded(tree: VideoTree, found: _Found) -> None:
    """Give the clips that a layout found the folders of results, depth and references beside them."""
    for folder in tree.pictures:
        part = _recorded_part(folder)
        clip = None if part is None else part[0] or _root_name(tree)
        if part is not None and clip in found.clips and not tree.taken.intersection(tree.pictures[folder]):
            found.add(clip, **{part[1]: tree.frames(folder, clip=clip)})


def _alike(names: Sequence[str]) -> list[str]:
    groups = defaultdict[str, list[str]](list)
    for name in names:
        groups[name.casefold()].append(name)
    return [
        f"clips whose names differ in case alone are kept apart: {', '.join(group)}"
        for group in groups.values()
        if len(group) > 1
    ]


def _links(tree: VideoTree) -> str:
    return f"; links to folders are not followed: {some(tree.links)}" if tree.links else ""


def _sniffed(tree: VideoTree, path: Path) -> VideoLayout:
    parts = {part for folder in tree.pictures for part in folder.split("/")}
    is_mot = any(name.endswith(("gt/gt.txt", "det/det.txt")) for name in tree.tracks) or any(
        name.rpartition("/")[2] == "seqinfo.ini" for name in tree.others
    )
    claims: dict[VideoLayout, bool] = {
        "davis": "JPEGImages" in parts or any(part.startswith("Annotations") for part in parts),
        "cdnet": any(_is_cdnet(tree, folder) for folder in tree.pictures),
        "mot": is_mot or bool(tree.tracks and not tree.pictures and not tree.videos and not tree.tars),
    }
    fitting: list[VideoLayout] = [layout for layout, claims_it in claims.items() if claims_it]
    if len(fitting) > 1:
        raise LayoutError(
            f"{path}: expected one layout, found folders of {' and '.join(fitting)}: say which by --layout, or give "
            "the folder of one"
        )
    if fitting:
        return fitting[0]
    if not (tree.videos or tree.pictures or tree.tars):
        raise LayoutError(
            f"{path}: expected clips as {', '.join(get_args(VideoLayout))}, found no video, picture, tar file or table "
            f"of boxes{_links(tree)}"
        )
    return "videos" if tree.videos else "frames"


def _is_cdnet(tree: VideoTree, folder: str) -> bool:
    names = [name.rpartition("/")[2] for name in tree.pictures[folder]]
    last = folder.rpartition("/")[2]
    form = {"groundtruth": r"gt[0-9]+\.\w+", "input": r"in[0-9]+\.\w+"}.get(last)
    return form is not None and any(re.fullmatch(form, name) for name in names)


def _read_davis(tree: VideoTree, found: _Found, resolution: str | None) -> None:
    kinds = {part for folder in tree.pictures for part in folder.split("/") if part.startswith("Annotations")}
    kind = "Annotations" if "Annotations" in kinds or not kinds else min(kinds)
    if "Annotations" not in kinds and len(kinds) > 1:
        raise LayoutError(f"{tree.root}: expected one folder of annotations, found {', '.join(sorted(kinds))}")
    places = defaultdict[str, dict[str, dict[str, str]]](lambda: defaultdict(dict))
    for folder in tree.pictures:
        parts = folder.split("/")
        role = next((part for part in parts if part in ("JPEGImages", kind)), None)
        if role is not None:
            below = parts[parts.index(role) + 1 :]
            size, clip = ("", below) if len(below) < 2 else (below[0], below[1:])
            places[role][size]["/".join(clip) or _root_name(tree)] = folder
    for role, part in (("JPEGImages", "pictures"), (kind, "masks")):
        size = _resolution(tree, role, {role: set(sizes) for role, sizes in places.items()}, resolution)
        for name, folder in places[role].get(size, {}).items():
            found.add(name, **{part: tree.frames(folder, clip=name)})


def _resolution(tree: VideoTree, role: str, sizes: Mapping[str, set[str]], wanted: str | None) -> str:
    """The folder of pictures or annotations that is read: the only one, the one that both have, or the one asked for.

    Args:
        tree: where.
        role: JPEGImages or the folder of annotations.
        sizes: folders of every role; "" where clips lie in it directly.
        wanted: asked for.
    """
    own = sizes.get(role, {""})
    shared = {wanted} if wanted is not None else {size for size in own if all(size in all_ for all_ in sizes.values())}
    candidates = own if len(own) == 1 else own & shared
    if len(candidates) == 1:
        return next(iter(candidates))
    there = sorted(size or "(none)" for size in own)
    raise LayoutError(
        f"{tree.root}: expected one resolution of {role}, found {', '.join(there)}: say which by --resolution"
    )


def _root_name(tree: VideoTree) -> str:
    """The name of a clip that lies in the root itself; "gt" and the like name none."""
    root = tree.root.resolve()
    return root.parent.name if root.name.lower() in PICTURE_FOLDERS | MASK_FOLDERS else root.name


def _read_cdnet(tree: VideoTree, found: _Found, _: str | None) -> None:
    for folder in tree.pictures:
        base, _, last = folder.rpartition("/")
        if last not in ("groundtruth", "input"):
            continue
        name = base or _root_name(tree)
        found.add(name, **{"masks" if last == "groundtruth" else "pictures": tree.frames(folder, clip=name)})
        inside = f"{base}/" if base else ""
        if last == "groundtruth":
            beside = {place.rpartition("/")[2]: place for place in tree.pictures.get(base, ())}
            region = beside.get("ROI.bmp", beside.get("ROI.jpg"))
            tree.taken.update(beside[name] for name in ("ROI.bmp", "ROI.jpg") if name in beside)
            span = tree.take(f"{inside}temporalROI.txt")
            found.add(
                name,
                region=None if region is None else tree.root / region,
                span=None if span is None else _span(span),
            )


def _span(path: Path) -> tuple[int, int]:
    try:
        first, last = map(int, path.read_text().split())
    except ValueError:
        raise LayoutError(f"{path}: expected the first and the last frame that count, found other text") from None
    return first, last


def _read_mot(tree: VideoTree, found: _Found, _: str | None) -> None:
    for name in tree.tracks:
        base, _, file = name.rpartition("/")
        above, _, last = base.rpartition("/")
        is_part = (last, file) in (("gt", "gt.txt"), ("det", "det.txt"))
        clip = (above or _root_name(tree)) if is_part else stem(name)
        found.add(clip, **{"detections" if file == "det.txt" and is_part else "boxes": tree.take(name)})
    for name in tree.others:
        base, _, file = name.rpartition("/")
        if file == "seqinfo.ini":
            info = tree.take(name)
            found.add(base or _root_name(tree), info=read_sequence_info(info) if info else None)
    for folder in tree.pictures:
        base, _, last = folder.rpartition("/")
        clip = base or _root_name(tree)
        if last == "img1":
            found.add(clip, pictures=tree.frames(folder, clip=clip))


def _read_videos(tree: VideoTree, found: _Found, _: str | None) -> None:
    for name in tree.videos:
        clip = stem(name)
        tree.taken.add(name)
        found.add(clip, video=tree.root / name)
    alone = len(found.clips) == 1
    for clip in list(found.clips):
        base, _, last = clip.rpartition("/")
        inside = f"{base}/" if base else ""
        forms = (last, f"{last}_masks", f"{last}_mask", *(f"{folder}/{last}" for folder in sorted(MASK_FOLDERS)))
        places = [f"{inside}{form}" for form in (*forms, *(sorted(MASK_FOLDERS) if alone else ()))]
        for place in places:
            if place in tree.pictures:
                found.add(clip, masks=tree.frames(place, clip=clip))
        for tar in tree.tars:
            if stem(tar) in places:
                found.add(clip, masks=tree.frames_of_tar(tar, clip=clip))
        found.add(clip, boxes=tree.take(f"{clip}.txt"), log=tree.take(f"{clip}.csv"))


def _read_frames(tree: VideoTree, found: _Found, _: str | None) -> None:
    recorded = [folder for folder in tree.pictures if _recorded_part(folder) is not None]
    for folder in [folder for folder in tree.pictures if folder not in recorded]:
        _add_frames(tree, found, folder)
    for tar in tree.tars:
        tree.taken.add(tar)
        _add_tar(tree, found, tar)
    _add_recorded(tree, found)
    for folder in recorded:
        if not tree.taken.intersection(tree.pictures[folder]):
            _add_frames(tree, found, folder)
    for clip in list(found.clips):
        found.add(clip, boxes=tree.take(f"{clip}.txt"), log=tree.take(f"{clip}.csv"))


def _add_frames(tree: VideoTree, found: _Found, folder: str) -> None:
    """A folder of pictures or of masks, by its name or its content."""
    parts = folder.split("/") if folder else []
    roles = [part for part in parts if part.lower() in PICTURE_FOLDERS | MASK_FOLDERS]
    role = roles[-1] if roles else None
    clip = "/".join(part for part in parts if part is not role) or _root_name(tree)
    if role is not None:
        part = "masks" if role.lower() in MASK_FOLDERS else "pictures"
        found.add(clip, **{part: tree.frames(folder, clip=clip)})
    else:
        _add_unnamed(tree, found, folder, clip=clip)


def _add_unnamed(tree: VideoTree, found: _Found, folder: str, *, clip: str) -> None:
    """Pictures or masks by their content; JPEG beside PNG of the same numbers are pictures with their masks."""
    names = tree.pictures[folder]
    jpeg = [name for name in names if name.lower().endswith((".jpg", ".jpeg"))]
    if jpeg and len(jpeg) < len(names):
        others = [name for name in names if name not in set(jpeg)]
        found.notes.append(f"{clip}: JPEG files are taken for pictures, the others of the folder for masks")
        found.add(
            clip,
            pictures=tree.frames(folder, clip=clip, names=jpeg),
            masks=tree.frames(folder, clip=clip, names=others),
        )
        return
    frames = tree.frames(folder, clip=clip)
    if frames is not None:
        found.add(clip, **{"masks" if frames.look_like_masks() else "pictures": frames})


def _add_tar(tree: VideoTree, found: _Found, tar: str) -> None:
    """A clip for each folder in the tar file that holds pictures; the tar file's name where there is one."""
    groups = defaultdict[str, list[int]](list)
    pictures = pictures_of_tar(tree.root / tar)
    for place, picture in enumerate(pictures):
        groups[picture.name.rpartition("/")[0]].append(place)
    for folder, places in groups.items():
        clip = stem(tar) if len(groups) == 1 else f"{stem(tar)}/{folder}"
        frames = number_frames([pictures[place] for place in places], clip=clip)
        found.add(clip, **{"masks" if frames.look_like_masks() else "pictures": frames})


_READERS: Final[Mapping[VideoLayout, Callable[[VideoTree, _Found, str | None], None]]] = {
    "davis": _read_davis,
    "cdnet": _read_cdnet,
    "mot": _read_mot,
    "videos": _read_videos,
    "frames": _read_frames,
}
