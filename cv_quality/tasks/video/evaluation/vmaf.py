"""VMAF of clips, by an ffmpeg that has libvmaf: the one measure that an outside program computes."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import LayoutError

_FORMATS = {8: "yuv444p", 10: "yuv444p10le"}
_PROBE_S, _END_S = 20, 600


def find_vmaf(program: str) -> Path:
    """Find the ffmpeg that computes VMAF.

    Args:
        program: its path, or its name on the PATH.

    Raises:
        LayoutError: there is none, or it was built without libvmaf.
    """
    found = shutil.which(program)
    if found is None:
        raise LayoutError(f"expected an ffmpeg with libvmaf, found no program {program!r}")
    command = [found, "-hide_banner", "-loglevel", "error", "-filters"]
    try:
        filters = subprocess.run(command, capture_output=True, timeout=_PROBE_S, check=False).stdout.split()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LayoutError(f"{found}: expected an ffmpeg with libvmaf, found a program that does not answer") from error
    if b"libvmaf" not in filters:
        raise LayoutError(f"{found}: expected an ffmpeg with libvmaf, found one without")
    return Path(found)


class VmafMeter:
    """Measures the VMAF of one clip, frame after frame, in a process of ffmpeg; memory does not grow with the clip.

    Args:
        ffmpeg: see `find_vmaf`.
        clip: its name, for messages.
        bits: of a pixel, 8 or 10.

    VMAF compares lumas. Both go through one pipe, one above the other, so that frames cannot come out of step, with
    neutral colours, since ffmpeg stretches what it takes for grey pictures.
    """

    def __init__(self, ffmpeg: Path, *, clip: str, bits: int) -> None:
        if bits not in _FORMATS:
            raise LayoutError(f"clip {clip}: expected 8 or 10 bits a pixel for VMAF, found {bits}")
        self._ffmpeg = ffmpeg
        self._clip = clip
        self._bits = bits
        self._folder = tempfile.TemporaryDirectory(prefix="cvq-vmaf-")
        self._process: subprocess.Popen[bytes] | None = None
        self._colours = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def add(self, reference: NDArray[np.generic], result: NDArray[np.generic]) -> None:
        """Hand over the lumas of one frame, `[height, width]`, uint8 or uint16, of one size."""
        process = self._process or self._start(*reference.shape)
        assert process.stdin is not None
        try:
            process.stdin.write(reference.tobytes() + result.tobytes() + self._colours)
        except BrokenPipeError as error:
            raise self._failed() from error

    def scores(self) -> Sequence[float]:
        """The VMAF of every frame, 0 to 100.

        Raises:
            LayoutError: ffmpeg failed.
        """
        if self._process is None:
            return []
        try:
            self._process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired as error:
            raise self._failed() from error
        if self._process.returncode:
            raise self._failed()
        frames = json.loads((self._place / "vmaf.json").read_bytes())["frames"]
        return [float(frame["metrics"]["vmaf"]) for frame in frames]

    @property
    def _place(self) -> Path:
        return Path(self._folder.name)

    def _start(self, height: int, width: int) -> "subprocess.Popen[bytes]":
        neutral = np.full((2, 2 * height, width), 1 << (self._bits - 1), np.uint8 if self._bits == 8 else np.uint16)
        self._colours = neutral.tobytes()
        graph = (
            f"split[both][again];[both]crop={width}:{height}:0:0[reference];"
            f"[again]crop={width}:{height}:0:{height}[result];[result][reference]libvmaf=log_fmt=json:log_path=vmaf.json"
        )
        source = ["-f", "rawvideo", "-pix_fmt", _FORMATS[self._bits], "-s", f"{width}x{2 * height}", "-i", "pipe:0"]
        with (self._place / "errors").open("wb") as errors:
            self._process = subprocess.Popen(
                [self._ffmpeg, "-hide_banner", "-loglevel", "error", *source, "-lavfi", graph, "-f", "null", "-"],
                stdin=subprocess.PIPE,
                stderr=errors,
                cwd=self._place,
            )
        return self._process

    def _failed(self) -> LayoutError:
        told = (self._place / "errors").read_text(errors="replace").strip().splitlines()
        return LayoutError(f"clip {self._clip}: ffmpeg could not measure VMAF: {told[-1] if told else 'no answer'}")
