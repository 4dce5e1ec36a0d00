"""Power of planned studies, over simulated ones of the size that the plan asks for.

    python -m benchmarks.planning [--runs N] [--seed S]

A row is one design: the plan's subjects, the power that it promises at that size, and the share of simulated studies
that pass where the builds do not differ. Rates of attempts are beta-binomial, times lognormal, scores normal with
effects of both subjects of a pair (`benchmarks.paired_builds`); what the plan assumes is computed from the same truth.
A study passes where the one-sided bound of `cv_quality.studies.comparison` lies below the margin; with looks, where Z
exceeds the bound of a look.

With 2,000 runs all twelve designs pass within .02 of the power promised (`docs/studies.md`).
"""

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cv_quality.metrics.clustered_scores import ClusteredScores
from cv_quality.metrics.trials import CrossTrials
from cv_quality.studies.comparison import Difference, compare_fnmr_at_fmr, compare_quantiles, compare_rates
from cv_quality.studies.planning import StudyPlan, plan_study
from cv_quality.studies.protocol import parse_protocol

Floats = NDArray[np.float64]

ALPHA, POWER = 0.05, 0.9
LISTED = 20_000
"""The highest impostor scores that are kept one by one."""


@dataclass(frozen=True, slots=True)
class PlannedDesign:
    """A design, and how its data come about.

    Attributes:
        kind: "rate", "time" or "scores".
        value: rate of the reference, or FNMR at `fmr`.
        margin: as a difference; of a time as a ratio.
        attempts: of each subject.
        spread: ICC of the attempts, or, of scores, the standard deviation that a subject adds to genuine ones.
        shared: whether a subject's rate is the same for both builds.
        arms, looks: as of a protocol.
        fmr, impostor_sd: of scores: where FNMR is compared, and what each subject of a pair adds to impostor ones.
    """

    kind: str
    value: float
    margin: float
    attempts: int
    spread: float
    shared: bool = False
    arms: str = "paired"
    looks: str = "{rule: fixed}"
    fmr: float = 1e-3
    impostor_sd: float = 0.0


OBF = "{rule: lan_demets_obf, at_information: [0.5, 0.75, 1.0]}"
POCOCK = "{rule: lan_demets_pocock, at_information: [0.25, 0.5, 0.75, 1.0]}"
DESIGNS = (
    PlannedDesign("rate", 0.05, 0.02, 1, 0.0),
    PlannedDesign("rate", 0.03, 0.01, 10, 0.15),
    PlannedDesign("rate", 0.10, 0.03, 5, 0.4),
    PlannedDesign("rate", 0.03, 0.01, 10, 0.15, shared=True),
    PlannedDesign("rate", 0.05, 0.02, 8, 0.1, arms="parallel"),
    PlannedDesign("rate", 0.03, 0.01, 10, 0.15, looks=OBF),
    PlannedDesign("rate", 0.05, 0.02, 8, 0.1, looks=POCOCK),
    PlannedDesign("time", 0.95, 1.05, 10, 0.2),
    PlannedDesign("time", 0.50, 1.03, 20, 0.3),
    PlannedDesign("scores", 0.05, 0.025, 5, 0.5, fmr=1e-2, impostor_sd=0.2),
    PlannedDesign("scores", 0.05, 0.025, 5, 0.5, fmr=1e-2, impostor_sd=0.35),
    PlannedDesign("scores", 0.035, 0.025, 4, 0.5, fmr=1e-3, impostor_sd=0.3),
)
LOG_SD = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    print(f"{'design':<68} {'subjects':>8} {'planned':>8} {'passed':>7}")
    with ProcessPoolExecutor() as pool:
        for design in DESIGNS:
            plan = planned(design)
            seeds = [(chosen.seed, run) for run in range(chosen.runs)]
            passed = list(pool.map(partial(passes, design, plan), seeds, chunksize=25))
            power = plan.endpoints[0].power
            print(f"{described(design):<68} {plan.subjects:8,} {power:8.3f} {np.mean(passed):7.3f}", flush=True)


def described(design: PlannedDesign) -> str:
    """Write a design in a line."""
    names = {"rate": "frr", "time": "quantile", "scores": f"FNMR at FMR {design.fmr:g}, CV {fmr_cv(design):.2f}"}
    rule = design.looks.split(",")[0].strip("{}").removeprefix("rule: ")
    head = f"{names[design.kind]}: {design.value:g}, margin {design.margin:g}"
    return f"{head}, {design.attempts} x, {design.arms}{', shared' * design.shared}, {rule}"


def planned(design: PlannedDesign) -> StudyPlan:
    """Plan a design, assuming the truth."""
    metric = {
        "rate": f"metric: frr, margin: {design.margin}",
        "time": f"metric: latency_ms, quantile: {design.value}, margin_ratio: {design.margin}",
        "scores": f"metric: fnmr_at_fmr, fmr: {design.fmr}, margin: {design.margin}",
    }
    values = "" if design.kind == "time" else f", values: {{e: {design.value}}}"
    log_sd = f", log_sd: {{e: {LOG_SD}}}" if design.kind == "time" else ""
    assume = f"{{icc: {icc(design)}, fmr_cv: {fmr_cv(design)}, agreement: {agreement(design)}{values}{log_sd}}}"
    text = f"""
study: simulated
purpose: {{kind: non_inferiority, candidate: b, reference: a}}
population: {{unit: subject}}
design: {{arms: {design.arms}, attempts_per_subject: {design.attempts}}}
endpoints: [{{id: e, {metric[design.kind]}, role: primary}}]
analysis: {{alpha: {ALPHA}}}
sample_size: {{power: {POWER}, assume: {assume}}}
looks: {design.looks}
"""
    return plan_study(parse_protocol(text.encode(), file="simulated.yaml"))


def both_below(z: float, correlation: float) -> float:
    """The chance that two standard normals of a correlation both lie below z."""
    from scipy import stats

    return float(stats.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]]).cdf([z, z]))


def icc(design: PlannedDesign) -> float:
    """The intraclass correlation of what is counted: misses, or attempts slower than the quantile."""
    from scipy import special

    if design.kind == "rate":
        return design.spread
    p = 1 - design.value if design.kind == "time" else design.value
    alike = design.spread if design.kind == "time" else design.spread**2
    return (both_below(float(special.ndtri(p)), alike) - p**2) / (p * (1 - p))


def fmr_cv(design: PlannedDesign) -> float:
    """The coefficient of variation of the subjects' FMR."""
    from scipy import special

    if design.kind != "scores":
        return 0.0
    return math.sqrt(max(both_below(float(special.ndtri(design.fmr)), design.impostor_sd**2) / design.fmr**2 - 1, 0.0))


def agreement(design: PlannedDesign) -> float:
    """The correlation of the two builds' rates of a subject."""
    if not design.shared:
        return 0.0
    return design.spread / (design.spread + (1 - design.spread) / design.attempts)


def passes(design: PlannedDesign, plan: StudyPlan, seed: tuple[int, int]) -> bool:
    """Draw a study of the planned size whose builds do not differ; whether it passes."""
    rng, n = np.random.default_rng(seed), plan.subjects or 0
    if design.kind == "scores":
        sides = [scores(design, n, rng) for _ in range(2)]
        return below(compare_fnmr_at_fmr(sides[0], sides[1], fmr=design.fmr), design.margin)
    if design.kind == "time":
        people = np.repeat(np.arange(n), design.attempts)
        own, rest = math.sqrt(design.spread), math.sqrt(1 - design.spread)
        times = [
            LOG_SD * (own * rng.standard_normal(n)[people] + rest * rng.standard_normal(len(people))) for _ in range(2)
        ]
        found = compare_quantiles("log", (times[0], people), (times[1], people), quantile=design.value)
        return below(found, math.log(design.margin))
    errors, trials = rates(design, n, rng)
    order = rng.permutation(n)
    for part, bound in zip(plan.information, plan.bounds or (math.inf,), strict=True):
        seen = order[: math.ceil(part * n)]
        found = compare_rates("frr", (errors[0, seen], trials[0, seen]), (errors[1, seen], trials[1, seen]))
        if not plan.bounds:
            return below(found, design.margin)
        if (
            found.value is not None
            and found.standard_error
            and (design.margin - found.value) / found.standard_error > bound
        ):
            return True
    return False


def below(found: Difference, margin: float) -> bool:
    """Whether the one-sided bound lies below the margin."""
    bounds = found.bounds(1 - 2 * ALPHA)
    return bounds is not None and bounds[1] < margin


def rates(design: PlannedDesign, n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Errors and trials of each subject under both builds."""
    own = np.full((2, n), design.value)
    if design.spread:
        scale = 1 / design.spread - 1
        own = rng.beta(design.value * scale, (1 - design.value) * scale, size=(2, n))
    if design.shared:
        own[1] = own[0]
    trials = np.full((2, n), design.attempts)
    if design.arms == "parallel":
        is_first = rng.permutation(n) < n // 2
        trials = np.where(np.array([is_first, ~is_first]), design.attempts, 0)
    return rng.binomial(trials, own), trials


def scores(design: PlannedDesign, n: int, rng: np.random.Generator) -> ClusteredScores:
    """Scores of one build: each subject's probes against his own reference and that of every other subject."""
    from scipy import special

    people = np.repeat(np.arange(n), design.attempts)
    threshold = -float(special.ndtri(design.fmr))
    own, noise = design.spread * rng.standard_normal(n), math.sqrt(1 - design.spread**2)
    genuine = threshold - float(special.ndtri(design.value)) + own[people] + noise * rng.standard_normal(len(people))
    alike = design.impostor_sd * rng.standard_normal(n)
    impostor = math.sqrt(1 - 2 * design.impostor_sd**2) * rng.standard_normal((len(people), n), dtype=np.float32)
    impostor += (alike[people][:, None] + alike[None, :]).astype(np.float32)
    impostor[np.arange(len(people)), people] = -np.inf
    listed = np.argpartition(impostor, -LISTED, axis=None)[-LISTED:]
    probe, reference = np.unravel_index(listed, impostor.shape)
    tail = (people[probe], reference, impostor.ravel()[listed].astype(np.float64))
    trials = CrossTrials.enrolled(np.ones(n, np.int64), np.full(n, design.attempts))
    return ClusteredScores.of(genuine, people, tail, trials)


if __name__ == "__main__":
    main()
