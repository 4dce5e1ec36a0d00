"""False alarms and delays of the bets that watch a build: `python -m benchmarks.monitoring [RUNS [SEED]]`.

`python -m benchmarks.monitoring picture FILE` draws the picture of the documentation.

60 looks at 60 subjects of 5 attempts each: fresh ones a day, or the same panel every day. Subjects' rates are beta
distributed with mean 3 % and a coefficient of variation of 0, 1 or 2. With 2,000 runs, as in the documentation, it
takes some minutes; the bets' settings were chosen on other seeds (`TUNED_ON`).
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cv_quality.studies.betting import Capital, bet_on_change, bet_on_level
from cv_quality.studies.multiplicity import e_bh

Floats = NDArray[np.float64]

TARGET, ALPHA = 0.03, 0.05
DAYS, SUBJECTS, ATTEMPTS = 60, 60, 5
SLICES, SUBJECTS_OF_SLICE = 40, 15
QUIET = 30
SPREADS = (0.0, 1.0, 2.0)
RUNS, SEED = 200, 2026
TUNED_ON = 77


def main() -> None:
    if sys.argv[1:2] == ["picture"]:
        Path(sys.argv[2]).write_bytes(picture())
        return
    runs, seed = (int(word) for word in (*sys.argv[1:], *(str(RUNS), str(SEED))[len(sys.argv) - 1 :]))
    started = time.perf_counter()
    print(f"{runs:,} runs of {DAYS} looks, {SUBJECTS} subjects x {ATTEMPTS} attempts, rate {TARGET:.0%}, seed {seed}")
    for line in (*quiet_table(runs, seed), *rise_table(runs, seed + 1), *slices_table(runs, seed + 2)):
        print(line, flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


def quiet_table(runs: int, seed: int) -> Iterator[str]:
    """Count false alarms, where no rate is above the target and nothing changed."""
    yield "\nfalse alarms       " + "".join(f"  CV {spread:g} " for spread in SPREADS) + "  allowed"
    allowed = ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / runs)
    cases = (("fresh subjects", fresh_days), ("change of a panel", panel_days), ("the same, shuffled", shuffled_days))
    for name, days in cases:
        shares = []
        for k, spread in enumerate(SPREADS):
            rng = np.random.default_rng([seed, k, len(name)])
            shares.append(np.mean([days(rng, spread) is not None for _ in range(runs)]))
        yield f"{name:<19}" + "".join(f"{share:7.4f}" for share in shares) + f"{allowed:9.4f}"


def rise_table(runs: int, seed: int) -> Iterator[str]:
    """Measure the days until a rise of the rate is found, and how often it is."""
    yield "\nrise                 CV  found  median day  10 % to 90 %"
    cases: list[tuple[str, Callable[[np.random.Generator, float, float], int | None], float]] = [
        ("fresh subjects", fresh_days, 1.5),
        (f"after {QUIET} days", late_days, 1.5),
        ("change of a panel", panel_days, 1.2),
        ("change of a panel", panel_days, 1.5),
    ]
    for name, days, rise in cases:
        for k, spread in enumerate(SPREADS):
            rng = np.random.default_rng([seed, k, int(10 * rise), len(name)])
            found = np.array([days(rng, spread, rise) or np.inf for _ in range(runs)])
            low, middle, high = np.quantile(found, (0.1, 0.5, 0.9), method="inverted_cdf")
            share = np.mean(np.isfinite(found))
            yield f"{name:<17} x{rise:g} {spread:3g} {share:6.3f} {middle:11g}  {low:g} to {high:g}"


def slices_table(runs: int, seed: int) -> Iterator[str]:
    """Count runs with any alarm by e-BH over slices of which none has risen."""
    yield f"\n{SLICES} null slices of {SUBJECTS_OF_SLICE} subjects a day, e-BH at {ALPHA:g}: runs with any alarm"
    for k, spread in enumerate(SPREADS):
        rng = np.random.default_rng([seed, k])
        alarms = np.mean([any_slice(rng, spread) for _ in range(max(runs // 5, 1))])
        yield f"CV {spread:g}: {alarms:.4f}"


def subject_rates(rng: np.random.Generator, n: int, spread: float, mean: float = TARGET) -> Floats:
    """Draw subjects' rates: beta distributed, of this mean and coefficient of variation."""
    if not spread:
        return np.full(n, mean)
    size = mean * (1 - mean) / (spread * mean) ** 2 - 1
    return rng.beta(mean * size, (1 - mean) * size, n)


def late_days(rng: np.random.Generator, spread: float, rise: float) -> int | None:
    """Watch fresh subjects whose rate rises after `QUIET` days; the days from then on to the alarm."""
    day = fresh_days(rng, spread, rise, quiet=QUIET)
    return None if day is None else max(day - QUIET, 1)


def fresh_days(rng: np.random.Generator, spread: float, rise: float = 1.0, *, quiet: int = 0) -> int | None:
    """Watch fresh subjects every day; the day of the alarm, None without one."""
    capital = Capital()
    for day in range(1, DAYS + 1):
        rates = subject_rates(rng, SUBJECTS, spread, TARGET * (rise if day > quiet else 1.0))
        errors = rng.binomial(ATTEMPTS, rates) / ATTEMPTS
        capital = bet_on_level(capital, errors, attempts=np.full(SUBJECTS, ATTEMPTS), target=TARGET)
        if capital.e_value >= 1 / ALPHA:
            return day
    return None


def shuffled_days(rng: np.random.Generator, spread: float) -> int | None:
    """Watch a panel of which some got better and others worse: its rates are there again, in other subjects."""
    return panel_days(rng, spread, is_shuffled=True)


def panel_days(rng: np.random.Generator, spread: float, rise: float = 1.0, *, is_shuffled: bool = False) -> int | None:
    """Watch one panel against the baseline on the same attempts; the day of the alarm, None without one.

    Half of the lower rate's errors are those of both: they lie in the attempt.
    """
    capital, rates = Capital(), np.minimum(subject_rates(rng, SUBJECTS, spread), 0.5)
    changed = rng.permutation(rates) if is_shuffled else rates * rise
    shared = np.minimum(rates, changed) / 2
    own = [np.clip((level - shared) / (1 - shared), 0, 1) for level in (rates, changed)]
    for day in range(1, DAYS + 1):
        both = rng.random((SUBJECTS, ATTEMPTS)) < shared[:, None]
        baseline, candidate = (
            (both | (rng.random((SUBJECTS, ATTEMPTS)) < extra[:, None])).mean(axis=1) for extra in own
        )
        capital = bet_on_change(capital, baseline, candidate)
        if capital.e_value >= 1 / ALPHA:
            return day
    return None


def any_slice(rng: np.random.Generator, spread: float) -> bool:
    """Watch slices of fresh subjects, none of which has risen; whether e-BH ever raises an alarm."""
    capitals = [Capital()] * SLICES
    for _ in range(DAYS):
        rates = subject_rates(rng, SLICES * SUBJECTS_OF_SLICE, spread).reshape(SLICES, -1)
        errors = rng.binomial(ATTEMPTS, rates) / ATTEMPTS
        attempts = np.full(SUBJECTS_OF_SLICE, ATTEMPTS)
        capitals = [
            bet_on_level(capital, own, attempts=attempts, target=TARGET)
            for capital, own in zip(capitals, errors, strict=True)
        ]
        if e_bh([capital.e_value for capital in capitals], alpha=ALPHA).any():
            return True
    return False


def picture() -> bytes:
    """Draw what a monitor of 24 days shows where the rate in the dark doubles on day 12."""
    import polars as pl
    import vl_convert

    from cv_quality.reports.monitor_page import capital_chart
    from cv_quality.studies.monitoring import Arrival, Monitored, MonitorPlan, watch

    rng = np.random.default_rng(12)
    days = [f"2026-08-{day:02}" for day in range(1, 25)]
    rows = []
    for look in range(1, len(days) + 1):
        for k in range(SUBJECTS):
            level = ("dark", "indoor", "outdoor")[k % 3]
            rate = 2 * TARGET if level == "dark" and look > 12 else 0.8 * TARGET
            errors = int(rng.binomial(ATTEMPTS, subject_rates(rng, 1, 1.0, rate)[0]))
            who = (f"s{look}-{k}", errors, ATTEMPTS)
            rows += [(look, "frr", "all", "all", *who), (look, "frr", "light", level, *who)]
    names = ["look", "metric", "dimension", "level", "subject_id", "errors", "trials"]
    plan = MonitorPlan(build="face-1.3", metrics=("frr",), targets={"frr": TARGET}, slices=("light",))
    rates = watch(pl.DataFrame(rows, schema=names, orient="row"), plan)
    arrivals = tuple(Arrival(look, day, f"{day}_face-1.3_field", day, False) for look, day in enumerate(days, 1))
    found = Monitored(plan, arrivals, tuple(rates), ())
    print(*found.sentences, sep="\n")
    return bytes(vl_convert.svg_to_png(capital_chart(found)._repr_svg_(), scale=1.5))


if __name__ == "__main__":
    main()
