"""A general vision backbone from a local folder: an image in, a unit vector out, whatever the model was trained for.

The folder holds `backbone.yaml` and the model file that it names. Nothing is downloaded and nothing is unpickled: files
are read by the loaders of `cv_quality.inference.runners`. What the vectors are used for is said in
`cv_quality.error_analysis.clusters`; a build's own model is loaded by `cv_quality.inference.embedder`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, cast, get_args

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit, ModelError, RegistryError
from cv_quality.inference.alignment import CROP_PX
from cv_quality.inference.embedder import Embedder, EmbeddingBatch, check_input
from cv_quality.inference.preprocessing import Frame, Step, parse_steps, prepare
from cv_quality.inference.probe import Prover
from cv_quality.inference.registry import SHA256, Fields, ModelEntry, ModelFormat, load_yaml, verified_bytes
from cv_quality.inference.runners import RUNTIMES, OnnxRunner, Runner, Shape, TorchExportRunner

DESCRIPTION: Final = "backbone.yaml"
BATCH_SIZE: Final = 16
"""Frames a model call: a vision transformer at 224 x 224 keeps about 30 MB of activations a frame."""

_REQUIRED: Final = frozenset({"file", "format", "sha256", "preprocessing"})


@dataclass(frozen=True, slots=True)
class BackboneEntry:
    """What `backbone.yaml` says.

    Attributes:
        file: name of the model file, in the same folder.
        sha256: its hex digest.
        preprocessing: steps in the notation of the model registry.
        output: the ONNX output to read; None for the first.
    """

    file: str
    format: ModelFormat
    sha256: str
    preprocessing: tuple[Step, ...]
    output: str | None = None


class Backbone:
    """A loaded backbone; prefer `load_backbone`."""

    def __init__(self, entry: BackboneEntry, *, runner: Runner, threads: int = 1) -> None:
        """Check on one zero frame that the steps and the model fit each other.

        Raises:
            ModelDoesNotFit: the model takes other input than the steps give, or gives no vector per frame.
        """
        self.entry = entry
        self.dimension = _dimension(entry, runner=runner)
        self._embedder = Embedder(
            _as_build(entry, dimension=self.dimension),
            runner=_Pooled(runner, name=entry.file),
            detector=None,
            batch_size=BATCH_SIZE,
            threads=threads,
        )

    def check_promise(self) -> None:
        """Check a whole batch, see `Embedder.check_promise`."""
        self._embedder.check_promise()

    @property
    def name(self) -> str:
        """The file of the model, by which results name their source."""
        return self.entry.file

    def embed(self, frames: Sequence[Frame], illuminance_lux: Sequence[float | None] | None = None) -> EmbeddingBatch:
        """Embed uint8 frames `[h, w]` (grey) or `[h, w, 3]` (RGB), of any sizes.

        Args:
            illuminance_lux: for a `tone_curve` step; one a frame, None where unknown.

        Returns:
            Unit vectors float32 `[n, dimension]` and a status each; a frame without a vector is a row of NaN.

        Raises:
            ModelError: the number of illuminances is not that of the frames, or the frames do not fit the model.
        """
        return self._embedder.embed(frames, illuminance_lux=illuminance_lux or [None] * len(frames))


def load_backbone(folder: Path, *, threads: int) -> Backbone:
    """Load the backbone of a folder and check that it works.

    `backbone.yaml` has the keys `file`, `format` (`onnx` or `torch_export`), `sha256`, `preprocessing` and, for an ONNX
    model with several outputs, `output`. The output may be `[n, d]`; tokens `[n, tokens, d]`, of which the mean is
    taken, a class token included; or feature maps `[n, d, h, w]`, of which the mean over positions is taken.

    Args:
        threads: batches prepared and run at a time, each on one CPU thread.

    Raises:
        RegistryError: `backbone.yaml` is missing or malformed.
        ModelError: the model file is missing, altered, unsafe or unreadable.
        ModelDoesNotFit: its input or output is not one of the above.
    """
    description = folder / DESCRIPTION
    if not description.is_file():
        raise RegistryError(
            f"expected a folder with {DESCRIPTION} and a model file, found no {DESCRIPTION} in {folder.name!r}; "
            "write one with the keys file, format, sha256, preprocessing"
        )
    entry = parse_backbone(description.read_bytes())
    path = folder / entry.file
    if not path.is_file():
        raise ModelError(
            f"{DESCRIPTION}: file: no file {entry.file!r} in the folder; put the model beside {DESCRIPTION}"
        )
    data = verified_bytes(path, sha256=entry.sha256)
    Prover(folder=None).require(
        partial(_try_out, entry, data), of=entry, name=entry.file, size_bytes=len(data), runtimes=RUNTIMES[entry.format]
    )
    return _opened(entry, data, threads=threads)


def _try_out(entry: BackboneEntry, data: bytes) -> None:
    _opened(entry, data, threads=1).check_promise()


def _opened(entry: BackboneEntry, data: bytes, *, threads: int) -> Backbone:
    runner: Runner
    if entry.format == "torch_export":
        runner = TorchExportRunner(data, name=entry.file, threads=1)
    else:
        runner = OnnxRunner(data, name=entry.file, threads=1, output=entry.output)
    return Backbone(entry, runner=runner, threads=threads)


def parse_backbone(data: bytes) -> BackboneEntry:
    """Read `backbone.yaml` strictly: no unknown, missing or mistyped key.

    Raises:
        RegistryError: names the key, what was expected and what was found.
    """
    fields = Fields(load_yaml(data, file=DESCRIPTION), where=DESCRIPTION)
    fields.check(required=_REQUIRED, optional=frozenset({"output"}))
    entry = BackboneEntry(
        file=fields.text("file", "text"),
        format=cast(ModelFormat, fields.choice("format", get_args(ModelFormat))),
        sha256=fields.text("sha256", "text"),
        preprocessing=parse_steps(fields.value("preprocessing"), where=f"{DESCRIPTION}: preprocessing"),
        output=fields.text("output", "text") if "output" in fields else None,
    )
    if SHA256.fullmatch(entry.sha256) is None:
        raise fields.unexpected("sha256", "64 lowercase hex digits")
    if Path(entry.file).name != entry.file or entry.file == "..":
        raise fields.unexpected("file", "the name of a file in the same folder")
    if entry.output is not None and entry.format != "onnx":
        raise fields.unexpected("output", "no output name for a torch_export model, which has one output")
    return entry


class _Pooled:
    """A runner whose tokens or feature maps are averaged to one vector a frame."""

    def __init__(self, runner: Runner, *, name: str) -> None:
        self.input_shape: Shape = runner.input_shape
        self._runner = runner
        self._name = name

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        output = self._runner(batch)
        if output.ndim not in (2, 3, 4) or len(output) != len(batch) or 0 in output.shape:
            raise ModelDoesNotFit(
                f"{self._name}: expected an output [n, d], [n, tokens, d] or [n, d, h, w], found {list(output.shape)} "
                f"for {len(batch)} frames; name another 'output' in {DESCRIPTION} or export the model with one of these"
            )
        axes = {2: (), 3: (1,), 4: (2, 3)}[output.ndim]
        return np.asarray(output.mean(axis=axes), dtype=np.float32)


def _dimension(entry: BackboneEntry, *, runner: Runner) -> int:
    """The length of a vector, found on one black frame; where the steps do not say its size, the model's input does."""
    _, channels, height_px, width_px = runner.input_shape
    size = (height_px or CROP_PX, width_px or CROP_PX)
    frame = np.zeros((*size, 3) if channels == 3 else size, dtype=np.uint8)
    batch = prepare([frame], steps=entry.preprocessing, illuminance_lux=[None])
    check_input(batch, runner=runner, name=DESCRIPTION, file=entry.file)
    return int(_Pooled(runner, name=entry.file)(batch).shape[1])


def _as_build(entry: BackboneEntry, *, dimension: int) -> ModelEntry:
    """The backbone as the embedder knows models; it belongs to no task, and nothing is accepted on its cosines."""
    return ModelEntry(
        build_id=DESCRIPTION,
        task="",
        modality="face",
        follows=None,
        format=entry.format,
        file=entry.file,
        sha256=entry.sha256,
        embedding_dim=dimension,
        decision_threshold=1.0,
        preprocessing=entry.preprocessing,
    )
