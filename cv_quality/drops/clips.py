"""Clips that devices send: decoded in order, frame by frame, keyed on their timestamps, without trusting a byte.

A decoder is a large program in C that strangers' files are written against, so it runs in a process of its own
(`cv_quality.drops.clip_decoder`, forked by `cv_quality.drops.clip_host`), with limits of memory and processor time and
without the right to open a file. What it sends is checked here again. Which frames were dropped, repeated or frozen is
counted from the timestamps and changes in `cv_quality.metrics.video.clip_timing`; single images are decoded in
`cv_quality.drops.images`.
"""

import os
import select
import signal
import stat
import sys
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Literal, Self, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.clip_containers import SIGNATURE_BYTES, ClipFormat, sniff_clip
from cv_quality.drops.clip_host import DecodeRequest, start_decoder
from cv_quality.drops.clip_messages import (
    ClipEnded,
    ClipOpened,
    ClipRefused,
    DamageSent,
    FrameSent,
    Message,
    TimesSent,
)
from cv_quality.drops.images import MAX_PIXELS, MAX_SIDE_PX
from cv_quality.errors import ClipError, DecoderEnded

MAX_CLIP_BYTES: Final = 4 << 30
MAX_FRAMES: Final = 200_000
"""In one clip: 111 minutes at 30 frames/s."""
MAX_DECODER_BYTES: Final = 2 << 30
"""That the decoder may ask for beyond what Python and its libraries need."""
MAX_SECONDS_PER_FRAME: Final = 10
"""Of processor time between two frames, and until the first; a frame of 33 megapixels takes under a second."""
MAX_SECONDS: Final = 2 * 3600
"""Of processor time for one clip."""
_WAIT_SECONDS: Final = 6 * MAX_SECONDS_PER_FRAME
"""Until then a busy machine must have given a process its time."""
_NOT_THE_CLIP: Final = (1, -signal.SIGKILL, -signal.SIGTERM)
"""Codes of a decoder that was ended from outside, or that Python ended."""
_MAX_LINE_BYTES: Final = 1 << 16
_PIPE_BYTES: Final = 1 << 20

ClipPixels = Literal["rgb", "luma"]

_MESSAGES: Final = msgspec.json.Decoder(Message)


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """What a clip's header says, none of it verified but the sizes.

    Attributes:
        format: the container; "h264" and "hevc" are streams without one, and so without timestamps.
        codec: the decoder, in FFmpeg's name.
        width_px, height_px: as displayed, after rotation.
        rotation_deg: clockwise, by the display matrix of the container.
        is_mirrored: left and right are exchanged after the rotation.
        pixel_format: FFmpeg's name, "yuv420p10le" for 10 bits.
        time_base: seconds of one tick.
        declared_frames: as the container counts them; None where it does not.
        declared_rate_hz: as the container gives it; None where it does not. Measured rates are in the clip's timing.
    """

    format: ClipFormat
    codec: str
    width_px: int
    height_px: int
    rotation_deg: int
    is_mirrored: bool
    pixel_format: str
    time_base: Fraction
    declared_frames: int | None
    declared_rate_hz: Fraction | None


@dataclass(frozen=True, slots=True, eq=False)
class ClipFrame:
    """One decoded frame.

    Attributes:
        index: from 0, in the order of display, counting the frames that were quarantined.
        pts: the timestamp in ticks of `ClipInfo.time_base`; None where the file has none.
        time_s: the same in seconds, exact.
        image: uint8 `[height, width, 3]`, RGB, rotated as displayed; alpha is dropped, 10 bits are rounded to 8.
        change: the largest difference of a mean over 16 x 16 pixels and one colour channel to the frame decoded before,
            in grey levels, 0 to 255; None for the first frame and after a change of size.
    """

    index: int
    pts: int | None
    time_s: Fraction | None
    image: NDArray[np.uint8]
    change: float | None


@dataclass(frozen=True, slots=True, eq=False)
class ClipLuma:
    """The luma of one decoded frame, as PSNR is published of it.

    Attributes:
        index: as of `ClipFrame`.
        plane: `[height, width]` as the file has it, without a conversion, rotated as displayed: uint8, or uint16 where
            a value has more than 8 bits. Of a file that stores colours their grey, of 8 bits.
        bits: of a value.
    """

    index: int
    plane: NDArray[np.uint8] | NDArray[np.uint16]
    bits: int


@dataclass(frozen=True, slots=True)
class ClipDamage:
    """A frame or the rest of a clip that is quarantined, in its place between the frames.

    Attributes:
        reason: "corrupt_packet" (not decodable), "corrupt_frame" (the decoder guessed parts of it), "follows_damage"
            (decoded from damaged ones, up to the next key frame), "truncated_file" (the file ends before its content).
        detail: what was expected and found.
        index: of the frame, as in `ClipFrame`; None where no frame came.
        pts: its timestamp, or that of the packet.
        time_s: the same in seconds, exact.
    """

    reason: str
    detail: str
    index: int | None
    pts: int | None
    time_s: Fraction | None


@dataclass(frozen=True, slots=True)
class ClipTimes:
    """The timestamps that a container promises, known before a picture is decoded; a picture may turn out damaged.

    Attributes:
        time_base: seconds of one tick.
        pts: ticks of its pictures, rising, each once; none where the file has none. Machine numbers, as a long clip has
            many.
    """

    time_base: Fraction
    pts: "array[int]"

    @property
    def seconds(self) -> list[Fraction]:
        """The same in seconds, exact."""
        return [pts * self.time_base for pts in self.pts]


class ClipReader:
    """Reads one clip from its first frame to its last, once.

    To be used in a `with` block, which ends the decoder. One decoded frame is held at a time.

    Args:
        path: a regular file; it is not needed any more once the reader is there.
        max_seconds_per_frame: of processor time, see `MAX_SECONDS_PER_FRAME`.
        pixels: what is decoded; luma is given by `lumas` alone.

    Raises:
        ClipError: by its reason; see there. Reasons that lie in a span of the clip come as `ClipDamage` instead.
    """

    info: ClipInfo
    times: ClipTimes

    def __init__(
        self, path: Path, *, max_seconds_per_frame: int = MAX_SECONDS_PER_FRAME, pixels: ClipPixels = "rgb"
    ) -> None:
        self._name = path.name
        self._pixels = pixels
        with _open_regular(path) as file:
            format_ = sniff_clip(os.pread(file.fileno(), SIGNATURE_BYTES, 0))
            self._process = start_decoder(file, DecodeRequest(format_, max_seconds_per_frame, pixels))
        self._pipe = _Pipe(self._process.output)
        try:
            self.times, opened = self._times()
            if not isinstance(opened, ClipOpened):
                raise self._broken()
            self.info = _clip_info(opened, format_=format_)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[ClipFrame | ClipDamage]:
        """Every frame in the order of display, with what is quarantined in its place."""
        for found in self._each():
            if isinstance(found, ClipDamage):
                yield found
            else:
                index, message, image = found
                colours = cast(NDArray[np.uint8], image)
                yield ClipFrame(index, message.pts, self._seconds(message.pts), colours, message.change)

    def lumas(self) -> Iterator[ClipLuma | ClipDamage]:
        """The same of luma alone, of a reader of luma."""
        assert self._pixels == "luma", "lumas() belongs to ClipReader(..., pixels='luma')"
        for found in self._each():
            yield found if isinstance(found, ClipDamage) else ClipLuma(found[0], found[2], found[1].bits)

    def _each(self) -> Iterator[tuple[int, FrameSent, NDArray[np.uint8] | NDArray[np.uint16]] | ClipDamage]:
        index = 0
        while not isinstance(message := self._message(), ClipEnded):
            if isinstance(message, FrameSent):
                yield index, message, self._image(message)
                index += 1
            elif isinstance(message, DamageSent):
                place = index if message.has_frame else None
                yield ClipDamage(message.reason, message.detail, place, message.pts, self._seconds(message.pts))
                index += message.has_frame

    def close(self) -> None:
        """End the decoder, whatever it is at."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()

    def _times(self) -> tuple[ClipTimes, Message]:
        """What is promised, and the message after it."""
        found, base = set[int](), Fraction(1)
        while isinstance(message := self._message(), TimesSent):
            base = Fraction(*message.time_base)
            found.update(pts for pts in message.pts if pts is not None)
            if len(found) > MAX_FRAMES:
                raise self._broken()
        return ClipTimes(base, array("q", sorted(found))), message

    def _seconds(self, pts: int | None) -> Fraction | None:
        return None if pts is None else pts * self.info.time_base

    def _image(self, frame: FrameSent) -> NDArray[np.uint8] | NDArray[np.uint16]:
        require_clip_size(frame.width, frame.height)
        shape = frame.height, frame.width, *([3] if self._pixels == "rgb" else [])
        image = np.empty(shape, np.uint8 if frame.bits == 8 else np.uint16)
        try:
            is_whole = self._pipe.read_into(image.data.cast("B"))
        except TimeoutError:
            raise _stalled(self._name) from None
        if not is_whole:
            raise self._broken(has_ended=True)
        return image

    def _message(self) -> Message:
        """The decoder's next message; a refusal is raised."""
        try:
            line = self._pipe.read_line()
        except TimeoutError:
            raise _stalled(self._name) from None
        if line is None:
            raise self._broken(has_ended=True)
        try:
            message: Message = _MESSAGES.decode(line)
        except msgspec.MsgspecError:
            raise self._broken() from None
        if isinstance(message, ClipRefused):
            raise ClipError(f"{self._name}: {message.detail}", reason=message.reason)
        return message

    def _broken(self, *, has_ended: bool = False) -> ClipError | DecoderEnded:
        self._process.kill()
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return _stalled(self._name)
        if has_ended and code in _NOT_THE_CLIP:
            raise DecoderEnded(
                f"{self._name}: the process that decodes it ended with code {code}, which no clip makes it do: memory "
                "ran out, someone ended it, or the installation changed; do it again"
            )
        return ClipError(
            f"{self._name}: the decoder ended with code {code} in the middle of the clip; the clip breaks it",
            reason="corrupt_clip",
        )


class _Pipe:
    """The decoder's answers, read with a limit in time."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._ready = select.poll()
        self._ready.register(stream, select.POLLIN)
        self._buffer = b""
        if sys.platform == "linux":
            import fcntl

            with suppress(OSError):  # a user's pipes may have so many pages together; a small one is only slower
                fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def read_line(self) -> bytes | None:
        """The next line without its end, or None where the stream ended; TimeoutError when none came in time."""
        while b"\n" not in self._buffer:
            self._wait()
            more = os.read(self._stream.fileno(), _MAX_LINE_BYTES)
            if not more or len(self._buffer) > _MAX_LINE_BYTES:
                return None
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def read_into(self, target: memoryview) -> bool:
        """Fill the target; False where the stream ended before."""
        filled = min(len(self._buffer), len(target))
        target[:filled] = self._buffer[:filled]
        self._buffer = self._buffer[filled:]
        while filled < len(target):
            self._wait()
            count = os.readv(self._stream.fileno(), [target[filled:]])
            if count == 0:
                return False
            filled += count
        return True

    def close(self) -> None:
        self._stream.close()

    def _wait(self) -> None:
        if not self._ready.poll(1000 * _WAIT_SECONDS):
            raise TimeoutError


def _open_regular(path: Path) -> IO[bytes]:
    """Open a file that is no link, pipe or device, and that is not larger than a clip may be."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ClipError(f"{path}: cannot be opened: {error.strerror}", reason="not_a_file") from error
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_size <= MAX_CLIP_BYTES:
        return os.fdopen(handle, "rb", buffering=0)
    os.close(handle)
    if stat.S_ISREG(status.st_mode):
        raise ClipError(f"{path}: expected at most {MAX_CLIP_BYTES} bytes, found {status.st_size}", reason="clip_bomb")
    raise ClipError(f"{path}: expected a regular file", reason="not_a_file")


def _clip_info(message: ClipOpened, *, format_: ClipFormat) -> ClipInfo:
    require_clip_size(message.width, message.height)
    return ClipInfo(
        format=format_,
        codec=message.codec,
        width_px=message.width,
        height_px=message.height,
        rotation_deg=message.rotation_deg,
        is_mirrored=message.is_mirrored,
        pixel_format=message.pixel_format,
        time_base=Fraction(*message.time_base),
        declared_frames=message.declared_frames,
        declared_rate_hz=Fraction(*message.declared_rate) if message.declared_rate else None,
    )


def require_clip_size(width: int, height: int) -> None:
    """Require that frames are no larger than images of a drop may be.

    Raises `ClipError` with reason "clip_bomb".
    """
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX and width * height <= MAX_PIXELS):
        raise ClipError(
            f"expected at most {MAX_PIXELS} pixels and {MAX_SIDE_PX} a side, found {width} x {height}",
            reason="clip_bomb",
        )


def _stalled(name: str) -> ClipError:
    return ClipError(
        f"{name}: the decoder gave no frame within its processor time and was stopped; encode the clip again",
        reason="decoder_stalled",
    )
