"""The process that decodes one clip: it reads standard input, and writes messages and images to standard output.

Forked by `cv_quality.drops.clip_host` alone. FFmpeg is given a container by name, never a guess, the file as an open
handle, and no way to open another: neither a demuxer's request nor the operating system grants one.
"""

import os
import resource
import sys
from collections.abc import Iterator
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NoReturn, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.clip_containers import ClipFormat, missing_bytes
from cv_quality.drops.clip_host import DecodeRequest
from cv_quality.drops.clip_messages import (
    MAX_TIMES,
    ClipEnded,
    ClipOpened,
    ClipRefused,
    DamageSent,
    FrameSent,
    Message,
    TimesSent,
)
from cv_quality.drops.clips import MAX_DECODER_BYTES, MAX_FRAMES, MAX_SECONDS, ClipPixels, require_clip_size
from cv_quality.drops.images import MAX_PIXELS
from cv_quality.errors import ClipError

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.sidedata.sidedata import SideData
    from av.video.stream import VideoStream

_DECODERS: Final = ("h264", "hevc", "vp8", "vp9", "libdav1d")
_LATE_IMPORTS: Final = (
    "audio.stream",
    "subtitles.stream",
    "video.stream",
    "sidedata.encparams",
    "sidedata.motionvectors",
)
"""Of PyAV, which it would make when it meets such a stream, when no file can be opened any more."""
_READ_BYTES: Final = 1 << 18
_BLOCK_PX: Final = 16
_STREAMS: Final = frozenset({"h264", "hevc"})

Pixels = NDArray[np.uint8]
Plane = NDArray[np.uint8] | NDArray[np.uint16]


class _Limits:
    """The process's own limits: no file, no core, so much memory, and processor time that each frame renews."""

    def __init__(self, seconds_per_frame: int) -> None:
        self._seconds_per_frame = seconds_per_frame
        self._renewed_at = -1.0

    def set(self) -> None:
        """Take the process's rights away."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform == "linux":
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MAX_DECODER_BYTES, used + MAX_DECODER_BYTES))
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        self.renew()

    def renew(self) -> None:
        """Grant the next frame its time."""
        spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        if spent - self._renewed_at > 1.0 or self._renewed_at < 0:
            limit = min(int(spent) + self._seconds_per_frame + 1, MAX_SECONDS)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, MAX_SECONDS))
            self._renewed_at = spent


class _Sender:
    """Standard output; what FFmpeg or Python print otherwise goes to standard error."""

    def __init__(self) -> None:
        self._handle = os.dup(1)
        os.dup2(2, 1)

    def send(self, message: Message, image: Plane | None = None) -> None:
        """Send a message, and the image that it announces."""
        self._write(msgspec.json.encode(message) + b"\n")
        if image is not None:
            self._write(np.ascontiguousarray(image).data.cast("B"))

    def _write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._handle, view) :]


class PictureChanges:
    """The largest difference of a block's mean between a picture and the one before it."""

    def __init__(self) -> None:
        self._before: NDArray[np.int32] | None = None
        self._size = (0, 0)

    def to(self, image: Pixels) -> float | None:
        """The change to this picture; None for the first one and after a change of size."""
        size = image.shape[:2]
        sums, n_pixels = block_sums(image)
        before, self._before = self._before if self._size == size else None, sums
        self._size = (size[0], size[1])
        return None if before is None else float(np.abs(sums - before).max()) / n_pixels


def block_sums(image: Pixels) -> tuple[NDArray[np.int32], int]:
    """Sum each colour channel over blocks of 16 x 16 pixels; the second number is the pixels of a block.

    What is left of a side is left out; a side shorter than a block is one block.
    """
    height, width = (min(_BLOCK_PX, side) for side in image.shape[:2])
    n_rows, n_columns = image.shape[0] // height, image.shape[1] // width
    rows = image[: n_rows * height, : n_columns * width].reshape(n_rows, height, -1)
    sums = rows.sum(axis=1, dtype=np.uint16).reshape(n_rows, n_columns, width, 3)
    # numpy sums a middle axis at half the speed of einsum.
    return np.einsum("rcwk->rck", sums, dtype=np.int32), height * width


class _Decoder:
    """Decodes one clip and sends what it holds."""

    def __init__(self, format_: ClipFormat, sender: _Sender, limits: _Limits, *, pixels: ClipPixels) -> None:
        self._format = format_
        self._is_luma = pixels == "luma"
        self._sender = sender
        self._limits = limits
        self._changes = PictureChanges()
        self._n_packets = 0
        self._n_frames = 0
        self._early_damage: list[DamageSent] = []
        self._orientation: tuple[int, _Orientation] | None = None
        self._is_opened = False
        self._is_damaged = False

    def run(self, container: "InputContainer") -> None:
        """Send every frame and all damage.

        Raises:
            ClipError: the clip has no video that can be decoded, or is larger than allowed.
        """
        stream = self._video(container)
        for packet in self._packets(container, stream):
            for frame in self._frames(stream, packet):
                self._judge(frame, stream)
        if not self._is_opened:
            first = next((f": {damage.detail}" for damage in self._early_damage), "")
            raise ClipError(f"not one frame of the video stream can be decoded{first}", reason="corrupt_clip")
        missing, declared = missing_bytes(0, self._format), stream.frames
        if missing or declared > self._n_packets:
            found = f"{self._n_packets} of {declared or 'unknown'} frames; {missing} bytes are missing"
            self._damage("truncated_file", f"the file ends before its content: {found}", None)

    def list_times(self, container: "InputContainer") -> None:
        """Send the timestamp of every picture that packets promise, without decoding one.

        Raises:
            ClipError: as `run` does.
        """
        stream = self._video(container)
        base, pts = Fraction(stream.time_base or 1), list[int | None]()
        for packet in self._packets(container, stream):
            self._limits.renew()
            if packet.size and not packet.is_discard and not _is_hidden(packet, stream.codec_context.name):
                pts.append(None if self._format in _STREAMS else packet.pts)
        for start in range(0, len(pts), MAX_TIMES):
            self._sender.send(TimesSent((base.numerator, base.denominator), pts[start : start + MAX_TIMES]))

    def _video(self, container: "InputContainer") -> "VideoStream":
        if not container.streams.video:
            raise ClipError("the file holds no video stream", reason="no_video")
        stream = container.streams.video[0]
        # PyAV gives no context where FFmpeg has no decoder, whatever its types say.
        name = getattr(stream.codec_context, "name", "none")
        if name not in _DECODERS:
            raise ClipError(f"expected H.264, HEVC, VP8, VP9 or AV1, found {name}", reason="unsupported_format")
        if stream.width and stream.height:
            require_clip_size(stream.width, stream.height)
        if stream.frames > MAX_FRAMES:
            raise ClipError(f"expected at most {MAX_FRAMES} frames, found {stream.frames}", reason="clip_bomb")
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        return stream

    def _packets(self, container: "InputContainer", stream: "VideoStream") -> Iterator["Packet[VideoStream]"]:
        from av.error import EOFError as EndOfFile
        from av.error import FFmpegError

        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except EndOfFile:
                return
            except FFmpegError as error:
                self._damage("truncated_file", f"the container breaks off: {error.strerror}", None)
                return
            if packet is None:
                return
            self._n_packets += packet.size > 0
            if self._n_packets > MAX_FRAMES:
                raise ClipError(f"expected at most {MAX_FRAMES} frames, found more", reason="clip_bomb")
            yield packet

    def _frames(self, stream: "VideoStream", packet: "Packet[VideoStream]") -> Iterator["VideoFrame"]:
        from av.error import EOFError as EndOfFile
        from av.error import FFmpegError

        try:
            yield from stream.decode(packet)
        except EndOfFile:
            return
        except FFmpegError as error:
            if error.errno == 12:
                raise ClipError(f"decoding asks for more than {MAX_DECODER_BYTES} bytes", reason="clip_bomb") from error
            self._damage("corrupt_packet", f"packet {self._n_packets}: {error.strerror}", packet.pts)
            self._is_damaged = True

    def _judge(self, frame: "VideoFrame", stream: "VideoStream") -> None:
        self._limits.renew()
        self._n_frames += 1
        if self._n_frames > MAX_FRAMES:
            raise ClipError(f"expected at most {MAX_FRAMES} frames, found more", reason="clip_bomb")
        pts = None if self._format in _STREAMS else frame.pts
        require_clip_size(frame.width, frame.height)
        turns = self._turned(frame)
        self._open(frame, stream, turns)
        if frame.key_frame and not frame.is_corrupt:
            self._is_damaged = False
        if frame.is_corrupt:
            self._is_damaged = True
            self._damage("corrupt_frame", "parts of the frame are guessed by the decoder", pts, has_frame=True)
        elif self._is_damaged:
            self._damage("follows_damage", "decoded from a damaged frame", pts, has_frame=True)
        else:
            self._send(frame, turns, pts)

    def _send(self, frame: "VideoFrame", turns: "_Orientation", pts: int | None) -> None:
        if self._is_luma:
            luma, bits = _luma(frame)
            luma = turns.apply(luma)
            self._sender.send(FrameSent(pts, luma.shape[1], luma.shape[0], None, bits), luma)
            return
        image = cast(Pixels, turns.apply(cast(Pixels, frame.reformat(format="rgb24", threads=1).to_ndarray())))
        height, width = image.shape[:2]
        self._sender.send(FrameSent(pts, width, height, self._changes.to(image)), image)

    def _turned(self, frame: "VideoFrame") -> "_Orientation":
        # Asking for a frame's matrix binds the frame in a cycle, so that it outlives its use: asked once a rotation.
        if self._orientation is None or self._orientation[0] != frame.rotation:
            self._orientation = frame.rotation, _Orientation(frame)
        return self._orientation[1]

    def _open(self, frame: "VideoFrame", stream: "VideoStream", turns: "_Orientation") -> None:
        if self._is_opened:
            return
        self._is_opened = True
        size = (frame.height, frame.width) if turns.is_transposed else (frame.width, frame.height)
        base, rate = Fraction(stream.time_base or 1), stream.average_rate
        self._sender.send(
            ClipOpened(
                codec=stream.codec_context.name,
                width=size[0],
                height=size[1],
                rotation_deg=turns.rotation_deg,
                is_mirrored=turns.is_mirrored,
                pixel_format=frame.format.name,
                time_base=(base.numerator, base.denominator),
                declared_frames=stream.frames or None,
                declared_rate=(rate.numerator, rate.denominator) if rate and self._format not in _STREAMS else None,
            )
        )
        for damage in self._early_damage:
            self._sender.send(damage)

    def _damage(self, reason: str, detail: str, pts: int | None, *, has_frame: bool = False) -> None:
        damage = DamageSent(reason, detail, None if self._format in _STREAMS else pts, has_frame)
        if self._is_opened:
            self._sender.send(damage)
        else:
            self._early_damage.append(damage)


def _is_hidden(packet: "Packet[VideoStream]", codec: str) -> bool:
    """Tell whether a packet holds a picture that only others are predicted from.

    By the headers of VP8 (RFC 6386, 9.1) and VP9 (bitstream specification, 2016, 6.2; a superframe shows its last). In
    other codecs a packet is what is shown at one time. A packet without such a header is damaged, not hidden.
    """
    if codec not in ("vp8", "vp9"):
        return False
    data = bytes(packet)
    first = data[0]
    if codec == "vp8":
        is_sound = bool(first & 0x01) or data[3:6] == b"\x9d\x01\x2a"
        return is_sound and not first & 0x10
    is_sound = first & 0xC0 == 0x80
    shifted = first << (first & 0x30 == 0x30)  # profile 3 has a reserved bit more
    is_superframe, shows_earlier, is_shown = data[-1] & 0xE0 == 0xC0, shifted & 0x08, shifted & 0x02
    return is_sound and not (is_superframe or shows_earlier or is_shown)


class _Orientation:
    """How a frame is displayed, by the display matrix: transposed, then mirrored along its sides."""

    def __init__(self, frame: "VideoFrame") -> None:
        a, b, c, d = _display_matrix(frame)
        self.is_transposed = a == d == 0 and b != 0 and c != 0
        if not self.is_transposed and (b or c or not a or not d):
            raise ClipError(
                "expected a display matrix of quarter turns and mirrors, found one of another angle or with shear",
                reason="unsupported_format",
            )
        self._flips_x = (c if self.is_transposed else a) < 0
        self._flips_y = (b if self.is_transposed else d) < 0
        if self.is_transposed:
            self.rotation_deg = 270 if self._flips_y else 90
        else:
            self.rotation_deg = 180 if self._flips_y else 0
        self.is_mirrored = (self._flips_x == self._flips_y) == self.is_transposed

    def apply(self, image: Plane) -> Plane:
        """Turn and mirror a decoded image as it is displayed."""
        image = image.swapaxes(0, 1) if self.is_transposed else image
        image = image[:, ::-1] if self._flips_x else image
        image = image[::-1] if self._flips_y else image
        return cast(Plane, np.ascontiguousarray(image))


def _luma(frame: "VideoFrame") -> tuple[Plane, int]:
    """The plane of luma as it is stored, and the bits of a value; of colours that are stored as such, their grey."""
    if not frame.format.name.startswith(("yuv4", "yuvj4", "gray")) or not frame.format.is_planar:
        frame = frame.reformat(format="gray", threads=1)
    plane, bits = frame.planes[0], max(8, frame.format.components[0].bits)
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height]
    return (rows if bits == 8 else rows.view(np.uint16))[:, : frame.width], bits


def _display_matrix(frame: "VideoFrame") -> tuple[int, int, int, int]:
    """The matrix `[x' y'] = [x y] [[a b] [c d]]`, as MP4 (ISO/IEC 14496-12, 2015, 8.3.2) stores it, with 16.16 bits."""
    matrix = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), dtype=np.int32).tolist()
    return a, b, c, d


def _refuse_opening(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(
        f"a clip asks for another file ({len(url)} characters, flags {flags}, {len(options)} options)"
    )


def load_libraries() -> None:
    """Load all that decoding loads when it is needed first, while files may still be opened."""
    import av

    for module in _LATE_IMPORTS:
        import_module(f"av.{module}")
    av.VideoFrame(16, 16, "yuv420p").reformat(format="rgb24", threads=1).to_ndarray()


def decode_clip(request: DecodeRequest) -> None:
    """Decode the clip on standard input, after giving up every right but to read it; `load_libraries` ran before."""
    sender, limits = _Sender(), _Limits(request.seconds_per_frame)
    format_, pixels = cast(ClipFormat, request.format), cast(ClipPixels, request.pixels)
    file = os.fdopen(0, "rb", buffering=0, closefd=False)
    limits.set()
    try:
        with _opened(file, format_) as container:
            _Decoder(format_, sender, limits, pixels=pixels).list_times(container)
        with _opened(file, format_) as container:
            _Decoder(format_, sender, limits, pixels=pixels).run(container)
        answer: Message = ClipEnded()
    except ClipError as error:
        answer = ClipRefused(error.reason, str(error))
    except BrokenPipeError:
        return
    except MemoryError:
        answer = ClipRefused("clip_bomb", f"decoding asks for more than {MAX_DECODER_BYTES} bytes")
    except Exception as error:  # whatever a hostile file makes FFmpeg raise
        problem = f"the clip cannot be opened: {type(error).__name__}: {error}"[:500]
        missing = missing_bytes(0, format_)
        answer = ClipRefused("truncated_file" if missing else "corrupt_clip", f"{problem}; {missing} bytes are missing")
    sender.send(answer)


def _opened(file: IO[bytes], format_: ClipFormat) -> "InputContainer":
    import av

    file.seek(0)
    options = {"codec_whitelist": ",".join(_DECODERS), "format_whitelist": format_, "protocol_whitelist": "none"}
    options["max_pixels"] = str(MAX_PIXELS)
    return av.open(file, mode="r", format=format_, options=options, buffer_size=_READ_BYTES, io_open=_refuse_opening)
