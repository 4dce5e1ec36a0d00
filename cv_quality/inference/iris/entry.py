"""The registry entry of an iris build: how eyes become codes, when there is none, and how two codes are compared."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final, Literal, TypeVar, cast, get_args

from cv_quality.errors import MetricError, RegistryError
from cv_quality.inference.iris.log_gabor import PLANES, LogGabor, Plane
from cv_quality.inference.registry import SHA256, BuildEntry, EntryFields, Fields, ModelFormat
from cv_quality.metrics.iris.rules import NORMS, HammingRule, default_minimum

Input = Literal["strip", "eye_image"]
EYE_CLASSES: Final = ("sclera", "iris", "pupil")
"""What a segmentation model must tell apart; every other label is background: lids, lashes, skin."""
ALGORITHM: Final = "iris-1"
"""Part of the digest of a build: change it whenever the same frame would give another template."""
_DIGEST = "64 lowercase hex digits"
_MAX_SIDE_PX, _MAX_SHIFTS = 4_096, 1_001


@dataclass(frozen=True, slots=True)
class StripSize:
    """The normalised iris: radius down, angle across.

    Attributes:
        height, width: in pixels.
        resize: whether strips of other sizes are resized; else they fail.
    """

    height: int = 48
    width: int = 432
    resize: bool = False


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The model that labels the pixels of an eye.

    Attributes:
        format, file, sha256: of the model; see `ModelEntry`.
        height, width: of its input.
        classes: labels by the part of the eye.
        mean, scale: grey levels in [0, 1] are fed as (x - mean) / scale.
        channels: of its input; grey is repeated.
        gamma: grey levels are first raised to it.
        clahe_clip: limit of contrast-limited equalisation in 8 x 8 tiles, after that; 0 is none.
    """

    format: ModelFormat
    file: str
    sha256: str
    height: int
    width: int
    classes: Mapping[str, tuple[int, ...]]
    mean: float = 0.0
    scale: float = 1.0
    channels: int = 1
    gamma: float = 1.0
    clahe_clip: float = 0.0


@dataclass(frozen=True, slots=True)
class IrisMask:
    """Which pixels of an iris are not encoded.

    Attributes:
        dark_below, bright_from: grey levels of lashes, and of highlights.
        lids_up_to_deg: how far off axis lids and lashes of eye images are masked; beyond, none are.
    """

    dark_below: float = 0.0
    bright_from: float = 250.0
    lids_up_to_deg: float = 90.0


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What a sample must be to give a template; thresholds after open-iris where it has them.

    Attributes:
        min_pupil_iris_ratio, max_pupil_iris_ratio: of the diameters; below it is constricted, above dilated.
        max_centre_distance: of pupil and iris, by the iris's radius.
        max_off_axis_deg: by the ellipse of the iris; that of an eccentricity of 0.8.
        min_visible: share of the iris that lids and lashes leave.
        min_visible_side: share that they leave of its parts within 30 degrees of the horizontal.
        min_iris_diameter_px: below it there is no eye to see.
        min_sharpness: variance of the Laplacian of the iris; see `cv_quality.inference.iris.quality`.
        max_specular: share of the iris under highlights.
        max_periodicity: above it a printed contact lens is seen; see `cv_quality.inference.iris.quality`.
        min_usable: share of the code's bits that are valid.
    """

    min_pupil_iris_ratio: float = 0.1
    max_pupil_iris_ratio: float = 0.7
    max_centre_distance: float = 0.9
    max_off_axis_deg: float = 53.13
    min_visible: float = 0.25
    min_visible_side: float = 0.3
    min_iris_diameter_px: float = 50.0
    min_sharpness: float = 0.0
    max_specular: float = 0.2
    max_periodicity: float = 15.0
    min_usable: float = 0.25


Numbers = TypeVar("Numbers", IrisMask, Acquisition)


@dataclass(frozen=True, slots=True)
class IrisEntry:
    """One iris build as its registry file declares it.

    Attributes:
        build_id, task, modality, follows: as of `ModelEntry`.
        sha256: of all that makes a template: of the table of ready ones, or of the settings and the model's digest.
        decision_threshold: the distance at which a comparison is accepted.
        comparison: how two codes are compared.
        encoder: what makes codes; None where templates are ready.
        strip: the normalised iris.
        input: what frames are.
        mask: which pixels are no iris.
        acquire: what a sample must be.
        segmentation: the model that finds the iris in an eye image; None for strips.
        templates: the table of ready templates, relative to the registry, absolute or a URI; None without.
        code: rows, columns and planes of ready templates.
    """

    build_id: str
    task: str
    modality: str
    follows: str | None
    sha256: str
    decision_threshold: float
    comparison: HammingRule
    encoder: LogGabor | None = None
    strip: StripSize = StripSize()
    input: Input = "strip"
    mask: IrisMask = IrisMask()
    acquire: Acquisition = Acquisition()
    segmentation: Segmentation | None = None
    templates: str | None = None
    code: tuple[int, int, int] | None = None

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """Rows, columns and planes of a code."""
        made = self.encoder
        if made is not None:
            return made.rows, made.columns, len(made.planes)
        assert self.code is not None
        return self.code


def parse_iris_entry(entry: EntryFields) -> BuildEntry:
    """Read the entry of an iris build.

    Raises:
        RegistryError: names the file, the key, what was expected and what was found.
    """
    if "templates" in entry:
        return _ready(entry)
    entry.check(
        required={"input", "comparison", "decision_threshold"},
        optional={"encoder", "strip", "mask", "acquire", "segmentation"},
    )
    encoder, strip = _encoder(entry), _strip(entry)
    for name, part, whole in (("rows", encoder.rows, strip.height), ("columns", encoder.columns, strip.width)):
        if whole % part:
            raise RegistryError(
                f"{entry.where}: encoder: {name}: expected a divisor of the strip's {whole}, found {part}"
            )
    kind, segmentation = cast(Input, entry.choice("input", get_args(Input))), _segmentation(entry)
    if (kind == "eye_image") is not (segmentation is not None):
        raise RegistryError(
            f"{entry.where}: segmentation: eye images need a model that finds the iris, strips take none"
        )
    mask, acquire = _mask(entry), _numbers(entry, "acquire", Acquisition())
    made_of = (ALGORITHM, encoder, strip, kind, mask, acquire, segmentation and replace(segmentation, file=""))
    return IrisEntry(
        build_id=entry.build_id,
        task=entry.task,
        modality=entry.modality.name,
        follows=entry.follows,
        sha256=hashlib.sha256(repr(made_of).encode()).hexdigest(),
        decision_threshold=entry.score("decision_threshold"),
        comparison=_comparison(entry, bits=encoder.bits, step=encoder.step),
        encoder=encoder,
        strip=strip,
        input=kind,
        mask=mask,
        acquire=acquire,
        segmentation=segmentation,
    )


def _ready(entry: EntryFields) -> IrisEntry:
    entry.check(required={"templates", "sha256", "code", "comparison", "decision_threshold"})
    code = Fields(entry.value("code"), where=f"{entry.where}: code")
    code.check(required={"rows", "columns", "planes"})
    rows, columns, planes = (_whole(code, key, 1, 1 << 16) for key in ("rows", "columns", "planes"))
    return IrisEntry(
        build_id=entry.build_id,
        task=entry.task,
        modality=entry.modality.name,
        follows=entry.follows,
        sha256=entry.text("sha256", _DIGEST, SHA256),
        decision_threshold=entry.score("decision_threshold"),
        comparison=_comparison(entry, bits=rows * columns * planes, step=rows * planes),
        templates=entry.text("templates", "a path or URI"),
        code=(rows, columns, planes),
    )


def _comparison(entry: EntryFields, *, bits: int, step: int) -> HammingRule:
    found = Fields(entry.value("comparison"), where=f"{entry.where}: comparison")
    found.check(required={"shifts"}, optional={"norm", "minimum_bits"})
    settings = {
        "shifts": _whole(found, "shifts", 1, _MAX_SHIFTS),
        "minimum_bits": default_minimum(bits),
    }
    if "minimum_bits" in found:
        settings["minimum_bits"] = _whole(found, "minimum_bits", 1, bits)
    norm = found.choice("norm", NORMS) if "norm" in found else "raw"
    try:
        return HammingRule(bits=bits, step=step, norm=cast("Literal['raw', 'linear', 'daugman']", norm), **settings)
    except MetricError as error:
        raise RegistryError(f"{found.where}: {error}") from error


def _encoder(entry: EntryFields) -> LogGabor:
    if "encoder" not in entry:
        return LogGabor()
    found = Fields(entry.value("encoder"), where=f"{entry.where}: encoder")
    found.check(required=frozenset(), optional={field.name for field in fields(LogGabor)})
    default = LogGabor()
    return LogGabor(
        rows=_whole(found, "rows", 1, 1_024) if "rows" in found else default.rows,
        columns=_whole(found, "columns", 2, _MAX_SIDE_PX) if "columns" in found else default.columns,
        wavelength_px=_number(found, "wavelength_px", default.wavelength_px, 2.0, _MAX_SIDE_PX),
        sigma_on_f=_number(found, "sigma_on_f", default.sigma_on_f, 0.05, 0.95),
        planes=_planes(found, default.planes),
        fragile_share=_number(found, "fragile_share", default.fragile_share, 0.0, 0.9),
    )


def _planes(found: Fields, default: tuple[Plane, ...]) -> tuple[Plane, ...]:
    value = found.value("planes")
    if value is None:
        return default
    if not isinstance(value, list) or not value or any(item not in PLANES for item in value):
        raise found.unexpected("planes", f"a list of {', '.join(PLANES)}")
    if len(set(value)) < len(value):
        raise found.unexpected("planes", "each plane once")
    return tuple(cast("list[Plane]", value))


def _strip(entry: EntryFields) -> StripSize:
    if "strip" not in entry:
        return StripSize()
    found = Fields(entry.value("strip"), where=f"{entry.where}: strip")
    found.check(required={"height", "width"}, optional={"resize"})
    height, width = (_whole(found, key, 1, _MAX_SIDE_PX) for key in ("height", "width"))
    return StripSize(height, width, found.flag("resize"))


def _segmentation(entry: EntryFields) -> Segmentation | None:
    if entry.value("segmentation") is None:
        return None
    found = Fields(entry.value("segmentation"), where=f"{entry.where}: segmentation")
    found.check(
        required={"format", "file", "sha256", "height", "width", "classes"},
        optional={"mean", "scale", "channels", "gamma", "clahe_clip"},
    )
    classes = Fields(found.value("classes"), where=f"{found.where}: classes")
    classes.check(required=set(EYE_CLASSES))
    labels = {name: _labels(classes, name) for name in EYE_CLASSES}
    if len({label for some in labels.values() for label in some}) < sum(map(len, labels.values())):
        raise found.unexpected("classes", "labels that are of one part of the eye each")
    return Segmentation(
        format=cast(ModelFormat, found.choice("format", get_args(ModelFormat))),
        file=found.text("file", "a path or URI"),
        sha256=found.text("sha256", _DIGEST, SHA256),
        height=_whole(found, "height", 8, _MAX_SIDE_PX),
        width=_whole(found, "width", 8, _MAX_SIDE_PX),
        classes=labels,
        mean=_number(found, "mean", 0.0, -1e3, 1e3),
        scale=_number(found, "scale", 1.0, 1e-6, 1e3),
        channels=_whole(found, "channels", 1, 3) if "channels" in found else 1,
        gamma=_number(found, "gamma", 1.0, 0.01, 100.0),
        clahe_clip=_number(found, "clahe_clip", 0.0, 0.0, 1e3),
    )


def _labels(classes: Fields, name: str) -> tuple[int, ...]:
    value = classes.value(name)
    labels = value if isinstance(value, list) else [value]
    if not labels or not all(
        isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 256 for item in labels
    ):
        raise classes.unexpected(name, "a label from 0 to 255, or a list of them")
    return tuple(labels)


def _mask(entry: EntryFields) -> IrisMask:
    mask = _numbers(entry, "mask", IrisMask())
    if mask.dark_below >= mask.bright_from:
        raise RegistryError(
            f"{entry.where}: mask: expected dark_below under bright_from, found {mask.dark_below:g} and "
            f"{mask.bright_from:g}: nothing would be iris"
        )
    return mask


def _numbers(entry: EntryFields, key: str, default: Numbers) -> Numbers:
    """Numbers that are not negative in place of the defaults."""
    if entry.value(key) is None:
        return default
    found = Fields(entry.value(key), where=f"{entry.where}: {key}")
    names = [field.name for field in fields(default)]
    found.check(required=frozenset(), optional=set(names))
    return replace(default, **{name: _number(found, name, getattr(default, name), 0.0, math.inf) for name in names})


def _number(found: Fields, key: str, default: float, low: float, high: float) -> float:
    if key not in found:
        return default
    return float(found.number(key, f"a number from {low:g} to {high:g}", lambda value: low <= value <= high))


def _whole(found: Fields, key: str, low: int, high: int) -> int:
    expected = f"a whole number from {low} to {high}"
    return int(found.number(key, expected, lambda value: isinstance(value, int) and low <= value <= high))
