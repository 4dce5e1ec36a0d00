"""What a model promises, tried out in a process of its own that is stopped when it takes too long or too much memory.

Models are straight lines of steps whose cost follows from the shape of their input (`cv_quality.inference.operators`),
so a batch that went well here costs as much wherever the model runs later. A proof is kept by what was proven. What is
tried is given by `cv_quality.inference.embedder` and `backbone`; run as a module, this is the other process.
"""

import hashlib
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cv_quality.errors import ModelDoesNotFit, ModelError
from cv_quality.inference.runners import Runner
from cv_quality.lake.store import PRIVATE_FILE, make_private

MAX_SECONDS: Final = 120
"""Of processor time, for loading a model and running three batches twice on one thread."""
_WAIT_SECONDS: Final = 5 * MAX_SECONDS
"""Until then a busy machine must have given a process its time."""
MAX_MEMORY_BYTES: Final = 640 << 20
MEMORY_PER_BYTE: Final = 8
"""A model may need the former, and the latter for each byte of its files, beyond what its runtime needs."""
MAX_DIFFERENCE: Final = 1e-4
"""Between two answers to one batch, as a share of the largest number in them: sums may be added in another order."""
MAX_INFLUENCE: Final = 0.05
"""Of the other frames of a batch on a vector, as above: numbers of 8 bits are scaled by the whole batch."""
_VERSION: Final = 1
"""Of a proof: to be raised when more is asked of a model."""
_ERRORS: Final = {error.__name__: error for error in (ModelError, ModelDoesNotFit)}

Trial = Callable[[], None]


class Prover:
    """Runs trials of models in processes of their own, each once, and remembers those that went well.

    Args:
        folder: where proofs are kept, safe to delete; None keeps them for this process alone.
    """

    _proven: set[str] = set()  # noqa: RUF012 - of this process: a proof holds for all

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def require(self, trial: Trial, *, of: object, name: str, size_bytes: int, runtimes: tuple[str, ...]) -> None:
        """Require that a trial goes well, by running it or by the memory of it.

        Args:
            trial: loads a model and tries it; raises ModelError.
            of: all that the outcome depends on, as a value with a repr: digests, steps, sizes.
            name: of the model's file, for errors.
            size_bytes: of the model's files.
            runtimes: modules that are loaded before memory is counted.

        Raises:
            ModelError: the trial failed, took too long or too much memory, or the process broke down.
        """
        versions = [version(module) for module in runtimes]
        proof = hashlib.sha256(f"{_VERSION} {versions} {of!r}".encode()).hexdigest()
        path = self._folder / proof if self._folder else None
        if proof in self._proven or (path and path.is_file()):
            return
        run_apart(trial, name=name, max_bytes=MAX_MEMORY_BYTES + MEMORY_PER_BYTE * size_bytes, runtimes=runtimes)
        self._proven.add(proof)
        if path:
            make_private(path.parent)
            path.touch(mode=PRIVATE_FILE)


def run_apart(trial: Trial, *, name: str, max_bytes: int, runtimes: tuple[str, ...]) -> None:
    """Run a trial in a process of its own, within the limits of time and memory.

    Args:
        trial: as pickle takes it; what it raises comes back as the same ModelError.
        name: of the model's file, for errors.
        max_bytes: that the process may ask for beyond what Python and the runtimes need (on Linux).
        runtimes: modules to load first.

    Raises:
        ModelError: as the trial raised it, or the process took longer than MAX_SECONDS, or it broke down.
    """
    command = [sys.executable, "-m", "cv_quality.inference.probe", str(max_bytes), str(MAX_SECONDS), *runtimes]
    # Only this direction is pickled: what comes back was made by a process that ran a stranger's model.
    request = pickle.dumps(trial)
    try:
        ended = subprocess.run(command, input=request, capture_output=True, timeout=_WAIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _too_long(name) from None
    if ended.returncode == -signal.SIGXCPU:
        raise _too_long(name)
    try:
        answer = json.loads(ended.stdout)
        kind, message = answer["error"], str(answer["message"])
    except (ValueError, KeyError, TypeError):
        raise ModelError(
            f"{name}: the process that tried the model ended with code {ended.returncode} and no answer; the model "
            f"breaks its runtime, or asks for more than {max_bytes >> 20} MiB"
        ) from None
    if kind is not None:
        raise _ERRORS.get(kind, ModelError)(message)


def _too_long(name: str) -> ModelError:
    return ModelError(
        f"{name}: loading and trying the model took longer than {MAX_SECONDS} s and was stopped; "
        "a batch must take seconds: export a smaller model, or one for smaller images"
    )


def check_promise(runner: Runner, batch: NDArray[np.float32], *, dimension: int, name: str) -> None:
    """Check that a model gives one vector a frame: the same ones again, whatever else is in the batch.

    Args:
        runner: the model.
        batch: at least one frame, prepared.
        dimension: of the vectors that its entry promises.
        name: of its file, for errors.

    Raises:
        ModelDoesNotFit: it gives other shapes, no finite number, other numbers when asked again, or vectors that depend
            on the other frames of a batch.
    """
    alone: NDArray[np.float32] | None = None
    for count in sorted({1, min(2, len(batch)), len(batch)}):
        found, again = (runner(batch[:count].copy()) for _ in range(2))
        if found.shape != (count, dimension):
            raise ModelDoesNotFit(
                f"{name}: expected an output [{count}, {dimension}] for {count} frames, found {list(found.shape)}; "
                "export the model with a free batch size, or correct embedding_dim"
            )
        if not agree(found, again, share=MAX_DIFFERENCE):
            raise ModelDoesNotFit(f"{name}: the same {count} frames give other numbers when the model is asked again")
        alone = found if alone is None else alone
        if not agree(found[:1], alone, share=MAX_INFLUENCE):
            raise ModelDoesNotFit(
                f"{name}: the vector of a frame depends on the other frames of its batch; export the model in eval()"
            )
    if not np.isfinite(found).any():
        raise ModelDoesNotFit(f"{name}: the model gives no finite number for any of {len(batch)} frames")


def agree(one: NDArray[np.float32], other: NDArray[np.float32], *, share: float) -> bool:
    """Tell whether two answers are the same up to a share of the largest number in the first.

    Args:
        one, other: arrays of one shape.
        share: of the largest finite number.
    """
    finite = np.abs(one[np.isfinite(one)])
    return np.allclose(one, other, rtol=0, atol=share * float(finite.max(initial=0.0)), equal_nan=True)


def _main(max_bytes: int, max_seconds: int, runtimes: list[str]) -> None:
    """Answer for the trial that comes as pickle on standard input, with one JSON document on standard output."""
    # The runtimes may print; only the answer goes to the parent.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    trial = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the parent, not from a model
    for module in runtimes:
        import_module(module)
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + max_bytes, used + max_bytes))
    # Of the process itself: should the parent be killed, nobody else stops a model that runs on.
    resource.setrlimit(resource.RLIMIT_CPU, (max_seconds, max_seconds + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kind, message = None, ""
    try:
        trial()
    except ModelError as error:
        kind, message = type(error).__name__, str(error)
    except Exception as error:  # whatever a hostile file makes the runtimes raise
        kind, message = "ModelError", f"trying the model failed: {type(error).__name__}: {error}"
    with suppress(BrokenPipeError):
        answers.write(json.dumps({"error": kind, "message": message[:4000]}))
        answers.flush()


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
