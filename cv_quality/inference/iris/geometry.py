"""Ellipses of pupil and iris, fitted to the boundaries of a labelled eye; lids cut them, highlights dent them."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Shape (n, 2), x and y in pixels, pixel centres at whole numbers."""
SCLERA, IRIS, PUPIL = 1, 2, 3
"""Parts of an eye in a label map; 0 is everything else: lids, lashes, skin."""
MIN_POINTS: Final = 12
MIN_AREA_PX: Final = 20
ROUNDS: Final = 4
"""Of fitting and removing outliers."""
OUTLIER_SIGMAS: Final = 2.5
OUTLIER_MIN_PX: Final = 0.75
"""Labels are whole pixels: a point this near to the fit is no outlier."""
FREE_COVERAGE_DEG: Final = 220
"""With less of the limbus in sight an ellipse of its own follows the lids: the iris then takes the pupil's shape."""
SIDE_DEG: Final = 25
"""Without sclera the limbus is sought this far above and below the horizontal."""
_SECTORS: Final = 36
_PIXELS_WHOLE: Final = 0.5
"""A boundary runs through the centres of its pixels: the region reaches half a pixel farther."""


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse.

    Attributes:
        x, y: its centre in pixels.
        major, minor: its half axes in pixels.
        angle: of the major axis, in radians, from the x axis towards the y axis.
    """

    x: float
    y: float
    major: float
    minor: float
    angle: float

    @property
    def radius(self) -> float:
        """That of the circle of the same eye seen on its axis."""
        return self.major

    @property
    def off_axis_deg(self) -> float:
        """The angle at which a circle looks like it."""
        return math.degrees(math.acos(min(1.0, self.minor / self.major)))

    @property
    def shape(self) -> NDArray[np.float64]:
        """The symmetric matrix that makes it of the unit circle: it foreshortens, and does not turn."""
        turn = np.array([[math.cos(self.angle), -math.sin(self.angle)], [math.sin(self.angle), math.cos(self.angle)]])
        shape: NDArray[np.float64] = turn @ np.diag([self.major, self.minor]) @ turn.T
        return shape

    def at(self, angles: NDArray[np.float64]) -> Points:
        """The points of angles on the unit circle."""
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        points: Points = circle @ self.shape.T + (self.x, self.y)
        return points

    def off_px(self, points: Points) -> NDArray[np.float64]:
        """How far points lie outside of it, roughly, in pixels; negative inside."""
        unit = (points - (self.x, self.y)) @ np.linalg.inv(self.shape).T
        off: NDArray[np.float64] = (np.linalg.norm(unit, axis=1) - 1.0) * math.sqrt(self.major * self.minor)
        return off

    def scaled(self, factor: float, *, left: float, top: float) -> "Ellipse":
        """The same in the pixels of a picture of which this one's is a part, made smaller by `factor`.

        Args:
            factor: pixels of this picture to one of the other.
            left, top: where the other picture begins in this one.
        """
        x, y = ((at + 0.5 - start) / factor - 0.5 for at, start in ((self.x, left), (self.y, top)))
        return Ellipse(x, y, self.major / factor, self.minor / factor, self.angle)


@dataclass(frozen=True, slots=True)
class EyeShape:
    """Where pupil and iris end."""

    pupil: Ellipse
    iris: Ellipse

    @property
    def pupil_iris_ratio(self) -> float:
        return self.pupil.radius / self.iris.radius

    @property
    def centre_distance(self) -> float:
        """Of the centres, by the iris's radius."""
        return math.hypot(self.pupil.x - self.iris.x, self.pupil.y - self.iris.y) / self.iris.radius


def fit_eye(parts: NDArray[np.uint8]) -> EyeShape | None:
    """Fit pupil and iris to a label map, shape (height, width); None where there is no eye to fit."""
    pupil_region = _largest(parts == PUPIL)
    if pupil_region is None:
        return None
    iris_region = _largest((parts == IRIS) | pupil_region, around=pupil_region)
    if iris_region is None:
        return None
    pupil = fit_ellipse(_pupil_boundary(parts, pupil_region))
    if pupil is None:
        return None
    iris = _fit_limbus(parts, iris_region, pupil)
    if iris is None or iris.minor <= pupil.minor or math.hypot(pupil.x - iris.x, pupil.y - iris.y) >= iris.minor:
        return None
    return EyeShape(pupil, iris)


def fit_ellipse(points: Points) -> Ellipse | None:
    """Fit an ellipse by least squares (Fitzgibbon's direct fit), without outliers; None with too few points."""
    import cv2

    kept = points
    ellipse = None
    for _ in range(ROUNDS):
        if len(kept) < MIN_POINTS:
            return None
        (x, y), axes, angle = cv2.fitEllipseDirect(kept.astype(np.float32))
        half, across = axes[0] / 2 + _PIXELS_WHOLE, axes[1] / 2 + _PIXELS_WHOLE
        if not all(map(math.isfinite, (x, y, half, across))) or min(half, across) <= 2 * _PIXELS_WHOLE:
            return None
        turned = math.radians(angle) + (0.0 if half >= across else math.pi / 2)
        ellipse = Ellipse(x, y, max(half, across), min(half, across), turned)
        near = _is_near(ellipse.off_px(points) + _PIXELS_WHOLE)
        kept = points[near]
    return ellipse


def _fit_limbus(parts: NDArray[np.uint8], region: NDArray[np.bool_], pupil: Ellipse) -> Ellipse | None:
    points = _limbus(parts, region, pupil)
    if len(points) < MIN_POINTS:
        return None
    directions = np.arctan2(points[:, 1] - pupil.y, points[:, 0] - pupil.x)
    sectors = np.unique(((directions + math.pi) / (2 * math.pi) * _SECTORS).astype(int) % _SECTORS)
    free = fit_ellipse(points) if len(sectors) * 360 / _SECTORS >= FREE_COVERAGE_DEG else None
    return free or _fit_alike(points, pupil)


def _fit_alike(points: Points, pupil: Ellipse) -> Ellipse | None:
    """Fit an ellipse of the pupil's shape: a circle, once the pupil is made one."""
    shape = pupil.shape / pupil.major
    flat = points @ np.linalg.inv(shape).T
    kept = flat
    for _ in range(ROUNDS):
        if len(kept) < MIN_POINTS:
            return None
        sides = np.column_stack([2 * kept, np.ones(len(kept))])
        (x, y, rest), *_ = np.linalg.lstsq(sides, (kept**2).sum(axis=1), rcond=None)
        squared = rest + x**2 + y**2
        if not squared > 0:
            return None
        radius = math.sqrt(squared)
        kept = flat[_is_near(np.hypot(flat[:, 0] - x, flat[:, 1] - y) - radius)]
    centre_x, centre_y = shape @ (x, y)
    radius += _PIXELS_WHOLE
    return Ellipse(float(centre_x), float(centre_y), radius, radius * pupil.minor / pupil.major, pupil.angle)


def _is_near(off_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    spread = 1.4826 * float(np.median(np.abs(off_px - np.median(off_px))))
    return np.abs(off_px) <= max(OUTLIER_MIN_PX, OUTLIER_SIGMAS * spread)


def _largest(mask: NDArray[np.bool_], *, around: NDArray[np.bool_] | None = None) -> NDArray[np.bool_] | None:
    """The largest connected region of a mask, or that which holds most of another."""
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return None
    sizes = stats[1:, cv2.CC_STAT_AREA] if around is None else np.bincount(labels[around], minlength=count)[1:]
    best = int(np.argmax(sizes)) + 1
    return labels == best if stats[best, cv2.CC_STAT_AREA] >= MIN_AREA_PX else None


def _boundary(region: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The outer boundary of a region, x and y, but for what lies at the picture's edge."""
    import cv2

    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = max(contours, key=len)[:, 0].astype(np.int64)
    height, width = region.shape
    inside = (points > 0).all(axis=1) & (points[:, 0] < width - 1) & (points[:, 1] < height - 1)
    inner: NDArray[np.int64] = points[inside]
    return inner


def _beside(parts: NDArray[np.uint8], points: NDArray[np.int64], part: int) -> NDArray[np.bool_]:
    """Tell the points that have a pixel of a part within two pixels."""
    import cv2

    near = cv2.dilate((parts == part).astype(np.uint8), np.ones((5, 5), np.uint8))
    return near[points[:, 1], points[:, 0]] > 0


def _pupil_boundary(parts: NDArray[np.uint8], region: NDArray[np.bool_]) -> Points:
    """The boundary of the pupil where it meets the iris; lids cut the rest."""
    points = _boundary(region)
    return points[_beside(parts, points, IRIS)].astype(np.float64)


def _limbus(parts: NDArray[np.uint8], region: NDArray[np.bool_], pupil: Ellipse) -> Points:
    """The boundary of the iris where it meets the sclera, or to the sides where no sclera is told."""
    points = _boundary(region)
    meets = points[_beside(parts, points, SCLERA)]
    if len(meets) < 2 * MIN_POINTS:
        slopes = np.abs(np.arctan2(points[:, 1] - pupil.y, np.abs(points[:, 0] - pupil.x)))
        meets = points[slopes <= math.radians(SIDE_DEG)]
    return meets.astype(np.float64)
