"""Shards of video files, ground truth and results: every member judged and indexed while its shard is hashed.

What a member's pixels are is asked when they are decoded, clips in `cv_quality.drops.clips`, pictures in
`cv_quality.drops.images`. Images that events name are indexed in `cv_quality.drops.frames`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cv_quality.drops.clip_containers import SIGNATURE_BYTES, sniff_clip
from cv_quality.drops.clips import MAX_CLIP_BYTES
from cv_quality.drops.frames import MAX_FRAME_BYTES
from cv_quality.drops.images import inspect_image
from cv_quality.drops.quarantine import Rejection
from cv_quality.drops.tarmembers import Member, Reader, TarDamaged, read_members
from cv_quality.drops.writer import is_safe_member
from cv_quality.errors import ClipError, FrameError
from cv_quality.lake.schema import IDENTIFIER

_PICTURE = re.compile(rf"(?P<stream>{IDENTIFIER})/(?P<frame>[0-9]{{1,9}})\.(?:png|jpg|jpeg)")
_REFERENCE_CLIP = re.compile(rf"(?P<stream>{IDENTIFIER})\.[a-z0-9]{{2,4}}")
_HOLDS_CLIPS = frozenset({"clips", "references"})


@dataclass(frozen=True, slots=True)
class MediaEntry:
    """Where one member lies, and what it is: a row of `MEDIA_INDEX`."""

    drop_id: str
    content: str
    member: str
    stream_id: str | None
    frame_number: int | None
    shard: str
    byte_offset: int
    byte_count: int
    sha256: str
    media_format: str
    width_px: int | None = None
    height_px: int | None = None


def index_media(
    reader: Reader, *, drop_id: str, shard: str, content: str, seen: set[tuple[str, ...]]
) -> Iterator[MediaEntry | Rejection]:
    """Judge every member of one shard, in its order; one result a member.

    A shard that is cut short gives its members before the break, then one rejection `truncated_file`. Video files are
    not held in memory.

    Args:
        reader: of the shard.
        drop_id, shard, content: whose it is, and what it holds, one of `MEDIA_CONTENTS`.
        seen: names and frames met in earlier shards; this one's are added.
    """
    number, hold = 0, SIGNATURE_BYTES if content == "clips" else MAX_FRAME_BYTES
    try:
        for member in read_members(reader, max_bytes=hold, is_hashed=True):
            number = member.number
            yield _judge(member, drop_id=drop_id, shard=shard, content=content, seen=seen)
    except TarDamaged as error:
        detail = f"the shard breaks off after member {number}: {error}"
        yield Rejection(number + 1, "truncated_file", detail, None, 0, event_kind=content)


def _judge(
    member: Member, *, drop_id: str, shard: str, content: str, seen: set[tuple[str, ...]]
) -> MediaEntry | Rejection:
    try:
        return _entry(member, drop_id=drop_id, shard=shard, content=content, seen=seen)
    except (FrameError, ClipError) as error:
        detail = f"{member.name!r}: {error}"[:500]
        return Rejection(member.number, error.reason, detail, None, member.size, event_kind=content)


def _entry(member: Member, *, drop_id: str, shard: str, content: str, seen: set[tuple[str, ...]]) -> MediaEntry:
    if not is_safe_member(member.name):
        raise FrameError("expected a relative path without '..'", reason="unsafe_path")
    if not member.is_file or member.sha256 is None:
        raise FrameError("expected a regular file", reason="not_a_file")
    stream, frame = _place(member.name, content=content)
    is_clip = frame is None
    identities = {(content, member.name), *([(content, stream, str(frame))] if stream else [])}
    if identities & seen:
        raise FrameError("expected each name and each frame once in a drop, found it again", reason="duplicate_frame")
    limit = MAX_CLIP_BYTES if is_clip else MAX_FRAME_BYTES
    if member.size > limit or member.data is None or not (is_clip or len(member.data) == member.size):
        raise FrameError(f"expected at most {limit} bytes, found {member.size}", reason="frame_too_large")
    if is_clip:
        format_, width, height = str(sniff_clip(member.data[:SIGNATURE_BYTES])), None, None
    else:
        info = inspect_image(member.data)
        format_, width, height = info.format, info.width_px, info.height_px
    seen |= identities
    return MediaEntry(
        drop_id=drop_id,
        content=content,
        member=member.name,
        stream_id=stream,
        frame_number=frame,
        shard=shard,
        byte_offset=member.offset,
        byte_count=member.size,
        sha256=member.sha256,
        media_format=format_,
        width_px=width,
        height_px=height,
    )


def _place(name: str, *, content: str) -> tuple[str | None, int | None]:
    """The stream and the frame that a member is of; a clip has no frame, and its stream is said by events."""
    if content == "clips":
        return None, None
    if found := _PICTURE.fullmatch(name):
        return found["stream"], int(found["frame"])
    if content in _HOLDS_CLIPS and (found := _REFERENCE_CLIP.fullmatch(name)):
        return found["stream"], None
    raise FrameError("expected <stream_id>/<frame_number>.png", reason="unknown_frame")
