"""DET curve, EER and FNMR at FMR 1e-6 from a list of scores, against other tools on the same scores; and their memory.

    python -m benchmarks.curves [--large]

One part has 100,000 genuine and 10,000,000 impostor scores in float64, counted anew in every round; scikit-learn makes
its curve only, pyeer its curve and EER, where it is installed. Wall time counts, the least of the rounds. NumPy's sort
of the same scores is timed beside: it is what depends on the processor. Another part has 100,000,000 impostor scores in
float32, in a process of its own, of which the peak of resident memory counts; `--large` is that process.
"""

import importlib.util
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.sorted_scores import SortedScores
from cv_quality.metrics.verification import det_curve, eer, fnmr_at_fmr

GENUINE, IMPOSTOR, LARGE = 100_000, 10_000_000, 100_000_000
FMR = 1e-6
ROUNDS = 5
NEEDED_SKLEARN, NEEDED_PYEER, NEEDED_GIB = 30, 250, 0.93
"""1 GB is 0.93 GiB."""
PYEER_BASELINE = "42.6 s where numpy's sort took 0.136 s"


def ours(genuine: NDArray[np.floating], impostor: NDArray[np.floating]) -> str:
    """Everything that is measured, and what it found."""
    once = SortedScores(genuine, name="genuine"), SortedScores(impostor, name="impostor")
    curve, crossing, strict = det_curve(*once), eer(*once), fnmr_at_fmr(*once, fmr=FMR)
    fnmr = strict.rates.fnmr if strict.rates else strict.reason
    return f"{len(curve.thresholds)} corners, EER {crossing.value:.6f}, FNMR@{FMR:g} {fnmr}"


def pyeer(genuine: NDArray[np.float64], impostor: NDArray[np.float64]) -> None:
    stats = importlib.import_module("pyeer.eer_stats")
    _, fmr, fnmr = stats.calculate_roc(genuine, impostor)
    stats.get_eer_values(fmr, fnmr)


def least(run: Callable[[], object], *, rounds: int) -> float:
    """Seconds of the fastest round."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def compare() -> None:
    """Print our seconds, and how many times as long the others take."""
    from sklearn.metrics import det_curve as sklearn_det_curve

    rng = np.random.default_rng(20260901)
    genuine, impostor = rng.normal(4.0, 1.0, GENUINE), rng.normal(0.0, 1.0, IMPOSTOR)
    mine = least(lambda: ours(genuine, impostor), rounds=ROUNDS)
    print(f"{GENUINE:,} genuine, {IMPOSTOR:,} impostor, float64: {mine:.3f} s; {ours(genuine, impostor)}")
    print(f"NumPy's sort of the impostor scores alone: {least(lambda: np.sort(impostor), rounds=3):.3f} s")
    labels, scores = np.repeat([1, 0], [GENUINE, IMPOSTOR]), np.concatenate([genuine, impostor])
    other = least(lambda: sklearn_det_curve(labels, scores), rounds=3)
    print(f"scikit-learn, curve only: {other:.2f} s, ratio {other / mine:.0f} (needed {NEEDED_SKLEARN})")
    if importlib.util.find_spec("pyeer") is None:
        print(f"pyeer: not run, it is not installed; measured before: {PYEER_BASELINE} (needed {NEEDED_PYEER})")
        return
    other = least(lambda: pyeer(genuine, impostor), rounds=1)
    print(f"pyeer, curve and EER only: {other:.1f} s, ratio {other / mine:.0f} (needed {NEEDED_PYEER})")


def large() -> None:
    """Print seconds and peak memory for 100 million impostor scores in float32."""
    rng = np.random.default_rng(20260902)
    genuine = rng.standard_normal(GENUINE, dtype=np.float32) + np.float32(4)
    impostor = np.empty(LARGE, np.float32)
    rng.standard_normal(dtype=np.float32, out=impostor)
    given = peak_gib()
    start = time.perf_counter()
    found = ours(genuine, impostor)
    seconds = time.perf_counter() - start
    print(f"{LARGE:,} impostor, float32: {seconds:.2f} s; {found}")
    print(f"peak memory of the process {peak_gib():.2f} GiB, {given:.2f} with the scores alone (needed < {NEEDED_GIB})")


def peak_gib() -> float:
    """The most memory that this process ever held; Linux counts it in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(arguments: list[str]) -> None:
    """Both parts, or the second one alone."""
    if arguments == ["--large"]:
        large()
        return
    # First, while this process is small: a child's peak starts at what its parent held.
    subprocess.run([sys.executable, "-m", "benchmarks.curves", "--large"], check=True)
    compare()


if __name__ == "__main__":
    main(sys.argv[1:])
