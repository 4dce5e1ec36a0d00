"""Lists a folder of clips by what its files are: pictures by folder, video files, tar files, tables of boxes, the rest.

Content decides, not the suffix; nothing is decoded yet. What the places of files mean is told in
`cv_quality.drops.importers.video_folders`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from cv_quality.drops.clip_containers import SIGNATURE_BYTES, sniff_clip
from cv_quality.drops.importers.folders import list_pictures, natural
from cv_quality.drops.importers.video_frames import FrameFiles, PictureFile, number_frames, pictures_of_tar
from cv_quality.drops.importers.video_tracks import looks_like_tracks
from cv_quality.errors import ClipError, LayoutError

VIDEO_SUFFIXES: Final = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ivf", ".h264", ".264", ".hevc", ".h265", ".265", ".ts", ".mpg"}
)


@dataclass(slots=True)
class VideoTree:
    """The files below a folder, as paths relative to it with "/" between, in natural order.

    Attributes:
        pictures: by folder; "" is the root.
        videos, tars, tracks, others: of each kind; `others` holds video files that no decoder here takes, too.
        leftovers, links: of file systems, and to folders, which are not followed.
        taken: those that a layout has read.
    """

    root: Path
    pictures: Mapping[str, Sequence[str]]
    videos: Sequence[str]
    tars: Sequence[str]
    tracks: Sequence[str]
    others: Sequence[str]
    leftovers: Sequence[str]
    links: Sequence[str]
    taken: set[str] = field(default_factory=set)

    def frames(self, folder: str, *, clip: str, names: Sequence[str] | None = None) -> FrameFiles | None:
        """Take the pictures of a folder, or some of them; None where there is none.

        Args:
            folder: below the root.
            clip: whose they are, for errors.
            names: of the files; all by default.
        """
        found = self.pictures.get(folder, ()) if names is None else names
        self.taken.update(found)
        return number_frames([PictureFile(name, self.root / name) for name in found], clip=clip) if found else None

    def frames_of_tar(self, name: str, *, clip: str) -> FrameFiles:
        """Take the pictures of a tar file, which are of one clip.

        Args:
            name: of the tar file.
            clip: whose they are.
        """
        self.taken.add(name)
        found = pictures_of_tar(self.root / name)
        if not found:
            raise LayoutError(f"{self.root / name}: expected pictures in the tar file, found none")
        return number_frames(found, clip=clip)

    def take(self, name: str) -> Path | None:
        """Take a file that is neither picture nor video where there is one."""
        known = (*self.others, *self.tracks)
        if name not in known:
            return None
        self.taken.add(name)
        return self.root / name

    def unread(self) -> list[str]:
        """What no layout has read, leftovers apart."""
        names = [*(name for names in self.pictures.values() for name in names), *self.videos, *self.tars]
        return sorted({*names, *self.tracks, *self.others} - self.taken, key=natural)


def list_tree(path: Path) -> VideoTree:
    """List a folder, or the one file that a clip is.

    Raises:
        LayoutError: there is nothing.
    """
    if path.is_file():
        return _sorted_out(path.parent, pictures=(), others=(path.name,))
    if not path.is_dir():
        raise LayoutError(f"{path}: expected a folder of clips, or a clip, found nothing of this name")
    found = list_pictures(path)
    tree = _sorted_out(path, pictures=found.pictures, others=found.others)
    tree.leftovers, tree.links = found.leftovers, found.links
    return tree


def _sorted_out(root: Path, *, pictures: Sequence[str], others: Sequence[str]) -> VideoTree:
    folders = defaultdict[str, list[str]](list)
    for name in pictures:
        folders[name.rpartition("/")[0]].append(name)
    kinds = defaultdict[str, list[str]](list)
    for name in others:
        kinds[_kind(root / name)].append(name)
    return VideoTree(root, folders, kinds["video"], kinds["tar"], kinds["tracks"], kinds["other"], (), ())


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix == ".tar" or path.name.lower().endswith((".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst", ".tgz")):
        return "tar"
    if suffix == ".txt":
        return "tracks" if looks_like_tracks(path) else "other"
    return "video" if _is_video(path) else "other"


def _is_video(path: Path) -> bool:
    """By its first bytes; a name of a video whose bytes are not one is a broken clip, which is said when it is read."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            sniff_clip(file.read(SIGNATURE_BYTES))
    except (ClipError, OSError):
        return False
    return True


def stem(name: str) -> str:
    """Take the suffix off a path, and both of a compressed tar file.

    >>> stem("a/clip.mp4"), stem("clip.tar.gz")
    ('a/clip', 'clip')
    """
    path = PurePosixPath(name)
    while path.suffix.lower() in VIDEO_SUFFIXES | {".tar", ".gz", ".xz", ".bz2", ".zst", ".tgz", ".txt", ".csv"}:
        path = path.with_suffix("")
    return str(path)
