"""The pictures of one clip in the order of their frames, with a reason in the place of each that is not there.

What a frame is to the stages of video is declared here; which number a picture has is decided in
`cv_quality.tasks.video.numbering`, and where a drop's pictures lie is known to `cv_quality.tasks.video.pictures`.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.clips import ClipDamage, ClipFrame, ClipInfo, ClipReader, ClipTimes
from cv_quality.errors import ClipError
from cv_quality.tasks.video.numbering import LoggedFrames, Numbering, Rule

Image = NDArray[np.uint8]
OK, NO_PICTURE, MISSING, DROPPED = "ok", "no_picture", "missing_frame", "dropped_frame"
_TRUNCATED = "truncated_file"


@dataclass(frozen=True, slots=True, eq=False)
class StreamPicture:
    """One frame of a stream with its picture, or why there is none.

    Attributes:
        frame_number: position within the stream, from 0; a picture that has no place comes last, with numbers above all
            others.
        place: of the picture in its file, from 0; None where there is none.
        status: "ok"; "no_picture" (the stream has none at all), "missing_frame" (of this frame), "dropped_frame"
            (timestamps leave it out); "backward_timestamp", "no_timestamp" or "no_place" of a picture that has no
            place; or the reason of `ClipDamage`, `ClipError` or `FrameError`.
        time_s: timestamp within the clip.
        image: uint8 `[height, width, 3]`, RGB, as displayed.
        change: from the picture before, as of `ClipFrame`.
        detail: what was expected and found, where the status is a reason.
    """

    frame_number: int
    place: int | None
    status: str
    time_s: float | None
    image: Image | None = None
    change: float | None = None
    detail: str = ""

    @property
    def failure(self) -> str | None:
        """Why an output is missing, as of `VideoModality.failure_statuses`; None where there is a picture."""
        if self.image is not None:
            return None
        if self.status in (NO_PICTURE, MISSING):
            return MISSING
        return DROPPED if self.status == DROPPED else "damaged_frame"


@dataclass(slots=True)
class StreamLog:
    """What reading a stream's pictures shows beside them; complete once all of them are read.

    Attributes:
        source: where they come from.
        rule: how they are numbered.
        info: of the video file; None of images, and of a file that cannot be decoded.
        error: why the file could not be decoded, or not further.
        damage: what of it is quarantined.
        time_base: seconds of a tick of `pts`.
        period_s: seconds between frames as the clip's event has them; None where it does not say.
        pts: timestamps of the pictures in the order of the file, damaged ones with them.
        changes: of each of these to the picture before.
        numbers: of each; None of one that has no place.
    """

    source: Literal["clip", "images", "none"] = "none"
    rule: Rule | None = None
    info: ClipInfo | None = None
    error: ClipError | None = None
    damage: list[ClipDamage] = field(default_factory=list)
    time_base: Fraction = Fraction(1, 1_000_000)
    period_s: Fraction | None = None
    pts: list[int | None] = field(default_factory=list)
    changes: list[float | None] = field(default_factory=list)
    numbers: list[int | None] = field(default_factory=list)

    def add(self, number: int | None, pts: int | None, change: float | None) -> None:
        """Note a picture of the file."""
        self.pts.append(pts)
        self.changes.append(change)
        self.numbers.append(number)


class ClipWalk:
    """Gives the pictures of one clip their numbers, and the frames without one their places between them.

    Args:
        times: of the pictures that the container promises.
        numbering: their numbers.
        logged: frames that the device logged.
        log: to be filled.
    """

    def __init__(self, times: ClipTimes, numbering: Numbering, logged: LoggedFrames, log: StreamLog) -> None:
        numbered = [
            (pts, number) for pts, number in zip(times.pts, numbering.numbers, strict=True) if number is not None
        ]
        self._pts = array("q", [pts for pts, _ in numbered])
        self._numbers = array("q", [number for _, number in numbered])
        self._is_timed = len(times.pts) > 0
        self._expected = array("q", sorted({*self._numbers, *numbering.holes, *logged.numbers}))
        self._at = 0
        self._inside = range(self._numbers[0], self._numbers[-1] + 1) if numbered else range(0)
        self._logged_s = dict(zip(logged.numbers, logged.clip_time_s, strict=True))
        self._damaged: dict[int, ClipDamage] = {}
        self._next = 0
        self._ending: tuple[str, str] | None = None
        self._log = log

    def pictures(self, reader: ClipReader) -> Iterator[StreamPicture]:
        """Every frame, then the pictures that have no place."""
        strays: list[StreamPicture] = []
        for event in self._events(reader):
            number = self._number(event)
            if number is not None:
                yield from self._absent(number)
            self._log.add(number, event.pts, event.change if isinstance(event, ClipFrame) else None)
            if number is None:
                strays.append(self._stray(event))
                continue
            self._next = number + 1
            self._at += self._at < len(self._expected) and self._expected[self._at] == number
            yield _picture(event, number)
        yield from self._absent(None)
        for stray in strays:
            yield StreamPicture(self._next, None, stray.status, stray.time_s, detail=stray.detail)
            self._next += 1

    def _events(self, reader: ClipReader) -> Iterator[ClipFrame | ClipDamage]:
        """What the reader gives that is a picture, with a note of everything else."""
        log = self._log
        try:
            for event in reader:
                if isinstance(event, ClipDamage):
                    log.damage.append(event)
                    if event.reason == _TRUNCATED:
                        self._ending = event.reason, event.detail
                        continue
                    if event.index is None and event.time_s is not None:
                        self._lost_packet(event)
                        continue
                yield event
        except ClipError as error:
            log.error = error
            self._ending = error.reason, str(error)

    def _lost_packet(self, event: ClipDamage) -> None:
        """Remember the place of a picture that never came out of the decoder."""
        number = None if event.pts is None else self._planned(event.pts)
        if number is not None:
            self._damaged[number] = event

    def _planned(self, pts: int) -> int | None:
        """The number of the picture of a timestamp."""
        place = _place(self._pts, pts)
        return None if place is None else self._numbers[place]

    def _number(self, event: ClipFrame | ClipDamage) -> int | None:
        if not self._is_timed:
            return self._next
        if event.pts is None:
            return self._next if _place(self._numbers, self._next) is None else None
        number = self._planned(event.pts)
        return None if number is None or number < self._next else number

    def _stray(self, event: ClipFrame | ClipDamage) -> StreamPicture:
        time = None if event.time_s is None else float(event.time_s)
        if isinstance(event, ClipDamage):
            return StreamPicture(0, None, event.reason, time, detail=event.detail)
        if time is None:
            return StreamPicture(0, None, "no_timestamp", None, detail="a picture without a timestamp among others")
        if event.pts is not None and self._planned(event.pts) is not None:
            detail = f"expected a timestamp above all before, found {time:.6f} s"
            return StreamPicture(0, None, "backward_timestamp", time, detail=detail)
        detail = f"no frame was logged within half a period of {time:.6f} s"
        return StreamPicture(0, None, "no_place", time, detail=detail)

    def _absent(self, number: int | None) -> Iterator[StreamPicture]:
        """Frames without a picture, below a number or to the end."""
        while self._at < len(self._expected) and (number is None or self._expected[self._at] < number):
            absent = self._expected[self._at]
            self._at += 1
            self._next = max(self._next, absent + 1)
            status, detail = self._why(absent, is_at_end=number is None)
            if absent in self._damaged:
                self._log.add(absent, self._damaged[absent].pts, None)
            yield StreamPicture(absent, None, status, self._time_of(absent), detail=detail)

    def _time_of(self, number: int) -> float | None:
        """When a picture is promised, or was logged."""
        place = _place(self._numbers, number)
        if place is None:
            return self._logged_s.get(number)
        return float(self._pts[place] * self._log.time_base)

    def _why(self, number: int, *, is_at_end: bool) -> tuple[str, str]:
        if number in self._damaged:
            return self._damaged[number].reason, self._damaged[number].detail
        if is_at_end and self._ending is not None:
            return self._ending
        return (DROPPED if number in self._inside else MISSING), ""


def _place(rising: "array[int]", value: int) -> int | None:
    place = bisect_left(rising, value)
    return place if place < len(rising) and rising[place] == value else None


def _picture(event: ClipFrame | ClipDamage, number: int) -> StreamPicture:
    time = None if event.time_s is None else float(event.time_s)
    if isinstance(event, ClipDamage):
        return StreamPicture(number, None, event.reason, time, detail=event.detail)
    return StreamPicture(number, event.index, OK, time, event.image, event.change)
