"""Reads iris templates of others: those of open-iris as JSON or NPZ, arrays as NPY, and tables of ready templates.

No pickle is opened. Whatever the layout was, a template becomes the packed bits of
`cv_quality.drops.importers.iris_codes`.
"""

import base64
import binascii
import csv
import io
import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.drops.importers.folders import PictureFolder, natural, some
from cv_quality.drops.importers.iris_codes import (
    FIGURES,
    TOLD,
    Bits,
    CodeLayout,
    read_ready_table,
)
from cv_quality.drops.importers.sample_doubts import Unusable
from cv_quality.drops.writer import is_safe_member
from cv_quality.errors import DropError
from cv_quality.metrics.iris.codes import pack, unpack

CODES: Final = "iris_codes"
MASKS: Final = "mask_codes"
VERSION: Final = "iris_code_version"
OPEN_IRIS: Final = (16, 256, 2, 2)
"""Rows, columns, wavelets and parts of the templates of open-iris, which its text form does not tell."""
MAX_FILE_BYTES: Final = 4 << 30
"""Of one file of templates, unpacked."""
_OPEN_IRIS_FIGURES: Final = (
    "pupil_to_iris_diameter_ratio",
    "pupil_to_iris_center_dist_ratio",
    "sharpness_score",
)
_PICKLES: Final = (".pickle", ".pkl", ".p", ".joblib", ".pt", ".pth")
_TEXT: Final = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True, eq=False)
class ReadTemplates:
    """Templates of one folder or file.

    Attributes:
        folder: what lies there; its pictures are the names of the templates, failures among them.
        layout: of all of them.
        packed: uint64, shape (templates, 2, words), codes then masks.
        places: the row of each name in `packed`, of those that have one.
        failures: why a name has no template that can be compared.
        subjects, eyes: whose, and which eye, where the file itself says so.
        figures: what was measured of the eye, by the column of the table of ready templates.
        unusable: files that are no template.
        words: what they are, for people.
    """

    folder: PictureFolder
    layout: CodeLayout
    packed: NDArray[np.uint64]
    places: Mapping[str, int]
    failures: Mapping[str, str]
    subjects: Mapping[str, str]
    eyes: Mapping[str, str]
    figures: Mapping[str, Mapping[str, float]]
    unusable: tuple[Unusable, ...]
    words: str

    @property
    def said(self) -> tuple[str, ...]:
        """What was read, a line for each thing."""
        failed = sorted(self.failures.items())
        shown = some([f"{name} ({why})" for name, why in failed])
        lost = (f"without a valid template, each a failure to acquire of the build ({len(failed):,}): {shown}",)
        return (self.words, *(lost if failed else ()))


@dataclass(frozen=True, slots=True)
class _Found:
    """One template as a file has it; without arrays, a failure."""

    name: str
    where: str
    code: Bits | None = None
    mask: Bits | None = None
    version: str = ""
    subject: str = ""
    eye: str = ""
    failure: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Reader:
    """Packs templates as they come, all of one layout and version."""

    layout: CodeLayout | None = None
    first: str = ""
    version: tuple[str, str] | None = None
    packed: list[NDArray[np.uint64]] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)
    eyes: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Mapping[str, float]] = field(default_factory=dict)

    def add(self, found: _Found) -> None:
        if not found.name or not is_safe_member(f"{found.name}.png"):
            raise DropError(
                f"{found.where}: expected a name or a relative path without '..', backslash or control characters, "
                f"found {found.name!r}"
            )
        if found.name in self.places or found.name in self.failures:
            raise DropError(f"{found.where}: expected each name once, found {found.name!r} again; rename one of them")
        if found.subject:
            self.subjects[found.name] = found.subject
        if found.eye:
            self.eyes[found.name] = found.eye
        if found.figures:
            self.figures[found.name] = found.figures
        if found.code is None or found.mask is None:
            self.failures[found.name] = found.failure
            return
        self._require_alike(found, CodeLayout(*found.code.shape))
        if not found.mask.any():
            self.failures[found.name] = "its mask keeps no bit"
        self.places[found.name] = len(self.packed)
        self.packed.append(pack(found.code[None], found.mask[None])[0])

    def _require_alike(self, found: _Found, layout: CodeLayout) -> None:
        if self.layout is None:
            self.layout, self.first = layout, found.where
        if layout != self.layout:
            raise DropError(
                f"{found.where}: expected {self.layout}, as {self.first} has, found {layout}: codes of several layouts "
                "do not compare; take them in apart"
            )
        version = (found.version, found.where)
        self.version = self.version or version
        if self.version[0] != version[0]:
            raise DropError(
                f"{found.where}: expected {VERSION} {self.version[0]!r}, as {self.version[1]} has, found "
                f"{version[0]!r}: templates of several versions do not compare; take them in apart"
            )


def read_templates(path: Path, *, shape: Sequence[int] = OPEN_IRIS) -> ReadTemplates:
    """Read the templates of a folder or a file.

    Args:
        path: a folder of open-iris templates (`.json`, `.jsonl`, `.npz`), one with `codes.npy`, `masks.npy` and
            `names.txt` or `names.csv`, or one file; a Parquet file of ready templates.
        shape: rows, columns, wavelets and parts of templates whose bits are text, which does not tell.

    Raises:
        DropError: there are none, a file is damaged or a pickle, or they are not of one layout and version.
    """
    root = path if path.is_dir() else path.parent
    names = _files(path)
    reader, unusable, taken = _Reader(), list[Unusable](), list[str]()
    words = "templates of open-iris"
    if path.suffix.lower() == ".parquet":
        _add_all(reader, _of_parquet(path))
        words, taken = "a table of ready templates", [path.name]
    elif (root / "codes.npy").is_file() and path.is_dir():
        _add_all(reader, _of_arrays(root))
        words, taken = "arrays of codes and masks", ["codes.npy", "masks.npy", "names.txt", "names.csv"]
    else:
        for name in names:
            suffix = Path(name).suffix.lower()
            if suffix in (*_TEXT, ".npz"):
                _add_all(reader, _of_file(root, name, shape=shape))
                taken.append(name)
            elif suffix in _PICKLES:
                told = "a pickle runs code when it is opened; write the template as JSON, by serialize(), or NPZ"
                unusable.append(Unusable(name, "pickle", told))
    if reader.layout is None:
        reasons = [f"{item.name} ({item.detail})" for item in unusable] or [*reader.failures.values()] or names
        raise DropError(
            f"{path}: expected iris templates (.json, .jsonl or .npz of open-iris, codes.npy with masks.npy, a Parquet "
            f"file), found none: {some(reasons) or 'it is empty'}"
        )
    others = set(names) - set(taken) - {item.name for item in unusable}
    found = tuple(sorted({*reader.places, *reader.failures}, key=natural))
    version = f", version {reader.version[0]}" if reader.version and reader.version[0] else ""
    return ReadTemplates(
        folder=PictureFolder(path, found, (), tuple(sorted(others)), ()),
        layout=reader.layout,
        packed=np.array(reader.packed, dtype=np.uint64).reshape(len(reader.packed), 2, reader.layout.words),
        places=reader.places,
        failures=reader.failures,
        subjects=reader.subjects,
        eyes=reader.eyes,
        figures=reader.figures,
        unusable=tuple(unusable),
        words=f"{words}{version}: {len(found) - len(reader.failures):,} of {reader.layout}",
    )


def _files(path: Path) -> list[str]:
    if not path.is_dir():
        return [path.name]
    files = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    return sorted((name for name in files if not any(part.startswith(".") for part in name.split("/"))), key=natural)


def _add_all(reader: _Reader, templates: Iterable[_Found]) -> None:
    for found in templates:
        reader.add(found)


def _of_file(root: Path, name: str, *, shape: Sequence[int]) -> Iterator[_Found]:
    """The templates of one file of open-iris."""
    path, own = root / name, name.rpartition(".")[0]
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DropError(f"{path}: expected at most {MAX_FILE_BYTES:,} bytes, found {path.stat().st_size:,}; split it")
    if path.suffix.lower() == ".npz":
        yield from _of_npz(path, own)
        return
    for place, document in _documents(path):
        yield from _of_document(document, name=own + place, where=f"{path}{place}", shape=shape)


def _documents(path: Path) -> Iterator[tuple[str, object]]:
    """The JSON documents of a file, each with its place where there may be several."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            yield "", json.loads(text)
            return
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                yield f"#{number}", json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DropError(f"{path}: expected JSON in UTF-8: {error}; a file cut short has to be written again") from error


def _of_document(document: object, *, name: str, where: str, shape: Sequence[int]) -> Iterator[_Found]:
    """The template of a document, or those of a list, of a mapping by name, or of a pipeline's output."""
    if isinstance(document, list):
        for number, item in enumerate(document, start=1):
            yield from _of_document(item, name=f"{name}#{number}", where=f"{where}[{number}]", shape=shape)
        return
    if not isinstance(document, dict):
        raise DropError(f"{where}: expected a template with {CODES} and {MASKS}, found {type(document).__name__}")
    if "iris_template" in document:
        yield from _of_output(document, name=name, where=where, shape=shape)
    elif CODES in document:
        given = document.get("image_id")
        yield _Found(
            name=given.replace("\\", "/").lstrip("/") if isinstance(given, str) and given else name,
            where=where,
            code=_bits(document, CODES, where=where, shape=shape),
            mask=_bits(document, MASKS, where=where, shape=shape),
            version=str(document.get(VERSION, "")),
        )
    elif "templates" in document:
        yield from _of_document(document["templates"], name=name, where=where, shape=shape)
    elif document and all(isinstance(value, dict) for value in document.values()):
        for key, value in document.items():
            yield from _of_document(value, name=key, where=f"{where}[{key!r}]", shape=shape)
    else:
        raise DropError(f"{where}: expected {CODES} and {MASKS}, found {some(list(document)) or 'nothing'}")


def _of_output(document: Mapping[str, object], *, name: str, where: str, shape: Sequence[int]) -> Iterator[_Found]:
    """The output of a pipeline: its template or its error, with the eye that its metadata name."""
    metadata = document.get("metadata")
    told = metadata if isinstance(metadata, dict) else {}
    eye = str(told.get("eye_side") or "")
    name = str(told.get("image_id") or name)
    if document["iris_template"] is None:
        error = document.get("error")
        failure = error.get("error_type") if isinstance(error, dict) else error
        yield _Found(name, where, eye=eye, failure=str(failure or "the pipeline gave no template"))
        return
    for found in _of_document(document["iris_template"], name=name, where=where, shape=shape):
        yield replace(found, where=where, eye=eye, figures=_figures(told))


def _figures(metadata: Mapping[str, object]) -> dict[str, float]:
    """What open-iris measured of the eye, as the modality calls it."""
    shape = metadata.get("pupil_to_iris_property")
    told = {**metadata, **shape} if isinstance(shape, dict) else metadata
    values = {name: told.get(key) for name, key in zip(FIGURES, _OPEN_IRIS_FIGURES, strict=True)}
    return {name: float(value) for name, value in values.items() if isinstance(value, float) and math.isfinite(value)}


def _bits(document: Mapping[str, object], key: str, *, where: str, shape: Sequence[int]) -> Bits:
    value = document.get(key)
    if not isinstance(value, str):
        return _arranged(_array(value, key=key, where=where), key=key, where=where)
    try:
        data = np.frombuffer(base64.b64decode(value, validate=True), dtype=np.uint8)
    except (binascii.Error, ValueError) as error:
        raise DropError(f"{where}: {key}: expected bits as base64: {error}") from error
    n_bits = int(np.prod(shape))
    if len(data) != -(-n_bits // 8):
        raise DropError(
            f"{where}: {key}: expected {n_bits:,} bits, {' x '.join(map(str, shape))}, found {8 * len(data):,}; say "
            "rows, columns, wavelets and parts by --shape"
        )
    return _joined(np.unpackbits(data)[:n_bits].astype(bool).reshape(*shape))


def _array(value: object, *, key: str, where: str) -> NDArray[np.generic]:
    if value is None:
        raise DropError(f"{where}: expected {key}, found none: a template is codes and masks")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise DropError(f"{where}: {key}: expected wavelets of one shape: {error}") from error


def _arranged(array: NDArray[np.generic], *, key: str, where: str) -> Bits:
    """Bring an array of a template to (rows, columns, planes).

    open-iris has (wavelets, rows, columns, 2), before version 1 (rows, columns, wavelets, 2); columns, the angle, are
    the longest.
    """
    bits = _binary(array, key=key, where=where)
    if bits.ndim == 2:
        return bits[:, :, None]
    longest = int(np.argmax(bits.shape))
    if bits.ndim == 3 and longest == 1:
        return bits
    if bits.ndim == 4 and longest == 2:
        return _joined(bits.transpose(1, 2, 0, 3))
    if bits.ndim == 4 and longest == 1:
        return _joined(bits)
    raise DropError(
        f"{where}: {key}: expected (wavelets, rows, columns, 2), (rows, columns, wavelets, 2) or (rows, columns, "
        f"planes) with more columns than anything else, found shape {bits.shape}"
    )


def _joined(bits: Bits) -> Bits:
    """Rows, columns, wavelets and parts as rows, columns and planes."""
    return bits.reshape(*bits.shape[:2], -1)


def _binary(array: NDArray[np.generic], *, key: str, where: str) -> Bits:
    if array.dtype == np.bool_:
        return array.astype(bool)
    is_number = np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    if not is_number or not np.isin(array, (0, 1)).all():
        raise DropError(f"{where}: {key}: expected bits, 0 or 1, found {array.dtype} values that are neither")
    return array.astype(bool)


def _of_npz(path: Path, name: str) -> Iterator[_Found]:
    """The template of an NPZ file, or several that are stacked, with their names in `names` or `image_id`."""
    arrays = _arrays_of(path)
    if not {CODES, MASKS} <= arrays.keys():
        raise DropError(f"{path}: expected arrays {CODES} and {MASKS}, found {some(sorted(arrays)) or 'none'}")
    codes, masks = arrays[CODES], arrays[MASKS]
    names = next((arrays[key] for key in ("image_id", "image_ids", "names") if key in arrays), None)
    version = str(arrays.get(VERSION, ""))
    if codes.shape != masks.shape:
        raise DropError(f"{path}: expected codes and masks of one shape, found {codes.shape} and {masks.shape}")
    is_stacked = codes.ndim == 5
    given = [str(item) for item in np.ravel(names)] if names is not None else []
    if given and len(given) != (len(codes) if is_stacked else 1):
        raise DropError(f"{path}: expected a name a template, found {len(given):,} names of {len(codes):,} templates")
    for number, (code, mask) in enumerate(zip(codes, masks, strict=True) if is_stacked else [(codes, masks)]):
        own = given[number] if given else f"{name}#{number + 1}" if is_stacked else name
        code_bits, mask_bits = (_arranged(item, key=CODES, where=str(path)) for item in (code, mask))
        yield _Found(own, str(path), code_bits, mask_bits, version)


def _arrays_of(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > MAX_FILE_BYTES:
            raise DropError(f"{path}: expected at most {MAX_FILE_BYTES:,} bytes unpacked, found {size:,}; split it")
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise DropError(
            f"{path}: expected an NPZ file of plain arrays: {error}; arrays of objects are pickles, which are not "
            "opened"
        ) from error


def _of_arrays(root: Path) -> Iterator[_Found]:
    """Templates of `codes.npy` and `masks.npy`, shape (n, rows, columns, planes) or (n, rows, columns)."""
    codes, masks = (_npy(root / f"{name}.npy") for name in ("codes", "masks"))
    if codes.shape != masks.shape:
        raise DropError(f"{root}: expected codes and masks of one shape, found {codes.shape} and {masks.shape}")
    if codes.ndim not in (3, 4) or not codes.size:
        raise DropError(f"{root}: codes.npy: expected (n, rows, columns, planes), found shape {codes.shape}")
    names, subjects, eyes = _names(root)
    if len(names) != len(codes):
        raise DropError(f"{root}: expected a name a template, found {len(names):,} names of {len(codes):,} templates")
    for name, subject, eye, code, mask in zip(names, subjects, eyes, codes, masks, strict=True):
        bits = [_binary(item, key=key, where=f"{root}: {name}") for item, key in ((code, "codes"), (mask, "masks"))]
        whole, valid = (item if item.ndim == 3 else item[:, :, None] for item in bits)
        yield _Found(name, f"{root}: {name}", whole, valid, subject=subject, eye=eye)


def _npy(path: Path) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DropError(f"{path}: expected masks beside the codes, 1 where a bit is valid, found none") from error
    except (ValueError, OSError, EOFError) as error:
        raise DropError(
            f"{path}: expected a plain array: {error}; arrays of objects are pickles, which are not opened"
        ) from error
    return array


def _names(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Names, subjects and eyes of the rows: lines of `names.txt`, or columns of `names.csv`; empty where not told."""
    if (root / "names.txt").is_file():
        lines = (root / "names.txt").read_text(encoding="utf-8").splitlines()
        return lines, [""] * len(lines), [""] * len(lines)
    if not (root / "names.csv").is_file():
        raise DropError(f"{root}: expected names.txt, a name a line, or names.csv beside codes.npy, found neither")
    text = (root / "names.csv").read_text(encoding="utf-8-sig")
    cells = csv.DictReader(io.StringIO(text))
    rows = [{key.strip().lower(): (cell or "").strip() for key, cell in row.items() if key} for row in cells]
    subjects, eyes = ([row.get(name, "") for row in rows] for name in ("subject", "eye"))
    key = next((key for key in ("name", "frame", "path", "file") if rows and key in rows[0]), None)
    if key is None and not all(subjects):
        raise DropError(f"{root}: names.csv: expected a column name, or subject, eye and sample")
    parts = [[row[part] for part in ("subject", "eye", "sample") if row.get(part)] for row in rows]
    return ["_".join(found) for found in parts] if key is None else [row[key] for row in rows], subjects, eyes


def _of_parquet(path: Path) -> Iterator[_Found]:
    """The rows of a table of ready templates."""
    table = read_ready_table(path)
    layout, rows = table.layout, table.rows
    told = [rows[name].fill_null("") if name in rows.columns else [""] * rows.height for name in TOLD]
    for frame, words, subject, eye in zip(rows["frame"], table.templates, *told, strict=True):
        codes, masks = unpack(words[None], rows=layout.rows, columns=layout.columns, planes=layout.planes)
        yield _Found(frame, f"{path}: {frame}", codes[0], masks[0], subject=subject, eye=eye)
