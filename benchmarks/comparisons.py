"""Wrong and right passes of compared builds, over simulated studies whose truth is known.

    python -m benchmarks.comparisons [--runs N] [--seed S]

Every row is one design: 250 subjects, FNMR at FMR 1e-3, margin .02. A run draws both builds' scores, compares them and
passes where the one-sided 95 % bound of the difference is below the margin. `wrong` is the share of passes where the
truth lies at the margin, `right` where the builds do not differ; `se / sd` is the root mean square of the standard
errors over the standard deviation of the differences.
"""

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.paired_builds import ScoreModel
from cv_quality.studies.comparison import compare_fnmr_at_fmr

MARGIN, FMR, LEVEL = 0.02, 1e-3, 0.90
DESIGNS = (
    ScoreModel(fnmr=0.035, impostor_sd=0.2),
    ScoreModel(fnmr=0.035, impostor_sd=0.35),
    ScoreModel(fnmr=0.035, impostor_sd=0.45),
    ScoreModel(fnmr=0.028, impostor_sd=0.5),
    ScoreModel(fnmr=0.06, impostor_sd=0.35),
    ScoreModel(fnmr=0.06, impostor_sd=0.35, correlation=0.9),
    ScoreModel(fnmr=0.06, impostor_sd=0.35, correlation=0.0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    print(f"{'FNMR':>6} {'impostor sd':>11} {'correlation':>11} {'sd':>7} {'se / sd':>8} {'wrong':>7} {'right':>7}")
    with ProcessPoolExecutor() as pool:
        for design in DESIGNS:
            seeds = [(chosen.seed, run) for run in range(chosen.runs)]
            null, margin = (
                list(pool.map(partial(compared, replace(design, difference=difference)), seeds, chunksize=25))
                for difference in (0.0, MARGIN)
            )
            sd = float(np.std([value for value, _, _ in null]))
            errors = math.sqrt(float(np.mean([error**2 for _, error, _ in null])))
            print(
                f"{design.fnmr:6.3f} {design.impostor_sd:11.2f} {design.correlation:11.1f} {sd:7.4f} "
                f"{errors / sd:8.2f} {passes(margin):7.3f} {passes(null):7.3f}",
                flush=True,
            )


def compared(model: ScoreModel, seed: tuple[int, int]) -> tuple[float, float, float]:
    """Difference, standard error and upper bound of one study."""
    reference, candidate = (side.clustered() for side in model.draw(np.random.default_rng(seed)))
    found = compare_fnmr_at_fmr(reference, candidate, fmr=FMR, level=LEVEL)
    assert found.value is not None
    assert found.standard_error is not None
    assert found.high is not None
    return found.value, found.standard_error, found.high


def passes(studies: Sequence[tuple[float, float, float]]) -> float:
    return float(np.mean([high < MARGIN for _, _, high in studies]))


if __name__ == "__main__":
    main()
