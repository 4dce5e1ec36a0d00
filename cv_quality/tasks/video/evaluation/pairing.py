"""Which clip of the predictions belongs to which of the truth, and which frame to which; what is missing is said.

Clips pair by name, or where each side has only one. Frames pair by number: one side that counts from 0 and another
that counts from 1 are asked about, never shifted in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cv_quality.drops.importers.folders import some
from cv_quality.drops.importers.video_folders import VideoClip, VideoFolder
from cv_quality.drops.importers.video_frames import FrameFiles, PictureFile, require_same_base
from cv_quality.errors import LayoutError


@dataclass(frozen=True, slots=True)
class ClipPair:
    """A clip of the truth with its prediction, under the name of the truth."""

    name: str
    prediction: VideoClip
    truth: VideoClip


@dataclass(frozen=True, slots=True)
class PairedClips:
    """Clips of both sides.

    Attributes:
        pairs: in the order of the truth.
        notes: how they were paired.
        warnings: clips of one side only.
    """

    pairs: tuple[ClipPair, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FramePair:
    """A frame, by its number in the truth."""

    number: int
    prediction: PictureFile
    truth: PictureFile


@dataclass(frozen=True, slots=True)
class PairedFrames:
    """Frames that both sides have, and warnings of those that one has."""

    pairs: tuple[FramePair, ...]
    warnings: tuple[str, ...]


def pair_clips(prediction: VideoFolder, truth: VideoFolder) -> PairedClips:
    """Pair clips by name, by the last part of it, or because there is one on each side.

    Raises:
        LayoutError: no clip is on both sides.
    """
    true_clips, seen = {clip.name: clip for clip in truth.clips}, {clip.name: clip for clip in prediction.clips}
    if len(true_clips) == len(seen) == 1:
        (true,), (other,) = true_clips.values(), seen.values()
        note = () if true.name == other.name else (f"clip {other.name} is taken for the prediction of {true.name}",)
        return PairedClips((ClipPair(true.name, other, true),), note, ())
    names = {name: name for name in true_clips if name in seen}
    notes: list[str] = []
    if not names:
        names = _by_last_part(list(true_clips), list(seen))
        notes = ["clips are paired by the last part of their names"] if names else []
    if not names:
        raise LayoutError(
            f"expected clips of the same names, found {some(list(seen))} in {prediction.path} and "
            f"{some(list(true_clips))} in {truth.path}: give folders whose clips are named alike, or one clip each"
        )
    pairs = tuple(ClipPair(name, seen[names[name]], clip) for name, clip in true_clips.items() if name in names)
    missing = [name for name in true_clips if name not in names]
    extra = [name for name in seen if name not in names.values()]
    warnings = [
        f"{len(clips)} of {len(total)} clips of {where} have no {what} and are left out: {some(clips)}"
        for clips, total, where, what in (
            (missing, true_clips, "the truth", "prediction"),
            (extra, seen, "the prediction", "truth"),
        )
        if clips
    ]
    return PairedClips(pairs, tuple(notes), tuple(warnings))


def _by_last_part(true_names: Sequence[str], seen_names: Sequence[str]) -> dict[str, str]:
    def unique(names: Sequence[str]) -> dict[str, str]:
        lasts = [name.rpartition("/")[2] for name in names]
        return {last: name for last, name in zip(lasts, names, strict=True) if lasts.count(last) == 1}

    one, other = unique(true_names), unique(seen_names)
    return {one[last]: other[last] for last in one if last in other}


def pair_frames(prediction: FrameFiles, truth: FrameFiles, *, clip: str, shift: int | None = None) -> PairedFrames:
    """Pair frames by number.

    Args:
        prediction, truth: of the same clip.
        clip: its name.
        shift: what is added to a number of the prediction; None where none was given.

    Raises:
        LayoutError: the sides seem to count from different numbers, or have no number in common.
    """
    seen = {number + (shift or 0): file for number, file in prediction.files.items()}
    if shift is None:
        require_same_base(sorted(seen), sorted(truth.files), clip=clip)
    common = [number for number in truth.files if number in seen]
    if not common:
        raise LayoutError(
            f"clip {clip}: expected frames of the same numbers, found {min(seen)} to {max(seen)} and "
            f"{truth.first} to {truth.last}: --shift N adds N to the numbers of the prediction"
        )
    missing = [number for number in truth.files if number not in seen]
    n_extra = len(seen) - len(common)
    warnings = []
    if missing:
        found = f"{len(missing):,} of {len(truth):,} frames of the truth have no prediction and are left out"
        warnings.append(f"clip {clip}: {found}: {some(list(map(str, missing)))}")
    if n_extra:
        warnings.append(f"clip {clip}: {n_extra:,} predictions are of frames without truth and are left out")
    pairs = tuple(FramePair(number, seen[number], truth.files[number]) for number in common)
    return PairedFrames(pairs, tuple(warnings))
