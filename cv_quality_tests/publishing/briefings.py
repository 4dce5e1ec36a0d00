"""Makes briefings by hand: an ordinary one, one that knows next to nothing, and one with far too much of everything."""

import io
from dataclasses import replace
from datetime import UTC, datetime

from cv_quality.error_analysis.slices import Predicate, Slice
from cv_quality.metrics.rates import NO_TRIAL, Rate, binomial_rate, clustered_rate
from cv_quality.reports.briefing import Briefing, Cause, Example, Figure, GroupLine, Point, RateChange, ThinEvidence
from cv_quality.reports.pictures import NO_CONSENT, Picture, data_uri
from cv_quality.reports.rates import Change, RatePair, undefined

LONG_LABEL = "spectacles worn at an angle in a corridor that is lit from one side only, " * 7
RIGHT_TO_LEFT = "משקפיים ואור חלש"
N_CROWDED = 200


def rate_of(errors: int, trials: int, *, subjects: int = 40) -> Rate:
    """Make a rate of which every subject has the same number of trials, and five in eight err."""
    erring = max(1, subjects * 5 // 8)
    spread = [len(range(place, errors, erring)) if place < erring else 0 for place in range(subjects)]
    return clustered_rate(spread, [trials // subjects] * subjects)


def figure_of(rate: Rate, name: str, **where: object) -> Figure:
    """Make a figure that stands in the table of operating points."""
    return Figure(name, rate, "operating_points", {"point": "decision_threshold", **where}, "fnmr")


def photo(colour: tuple[int, int, int] = (90, 110, 130)) -> Picture:
    """Make a picture of one colour."""
    from PIL import Image

    target = io.BytesIO()
    Image.new("RGB", (96, 120), colour).save(target, "PNG")
    return Picture(data_uri(target.getvalue(), kind="png"))


def change_of(
    name: str, build: Rate, baseline: Rate | None, *, limit: float | None = None, change: Change | None = None
) -> RateChange:
    """Make the change of a rate with the rows that it is read from."""
    sides = [figure_of(build, name, build="face-1.2")]
    if baseline is not None:
        sides.append(figure_of(baseline, name, build="face-1.1"))
    return RateChange(name, RatePair(build, baseline, change=change), limit, tuple(sides))


def latency() -> RateChange:
    """Make the change of a mean over clips, which is no rate."""
    now = replace(rate_of(40, 80), value=51.5, numerator=0, low=48.0, high=float("inf"), denominator=40)
    pair = RatePair(now, replace(now, value=44.25, high=47.0), change=Change(1.0, 9.5))
    return RateChange("Latency, 95th percentile", pair, 50.0, (), is_rate=False, unit="ms")


def cause_of(rank: int, condition: str, *, is_shown: bool = True) -> Cause:
    """Make a cause with a gain, two pieces of evidence and two examples."""
    words = "spectacles, low light, 48 cm: rejected, score 0.31"
    pair = Example(photo(), words, photo((120, 140, 120)), "no spectacles, low light, 46 cm: accepted", "spectacles")
    hidden = Example(Picture(None, NO_CONSENT), words, None, "no pass that differs in little", None)
    gained = figure_of(rate_of(18, 1520), "attempts rejected without it (FRR)", slice=rank)
    gain = Point(
        "Mended, the build would reject 1.18 % of genuine attempts instead of 5 %.", (gained,), section="slices"
    )
    return Cause(
        rank=rank,
        condition=condition,
        sentence=f"With {condition}, 1 in 4 genuine attempts is rejected; elsewhere 1 in 85.",
        rate=rate_of(62, 240),
        rest=18 / 1520,
        before=rate_of(6, 240),
        share_of_failures=0.775,
        n_attempts=240,
        n_subjects=40,
        outcome="frr",
        where=Slice((Predicate("eyewear", "==", "glasses"), Predicate("illuminance_lux", "<=", 50.0))),
        evidence=(
            "The darker it is, the more attempts fail: 4 % above 500 lux, 26 % below 50.",
            "Brightened, 48 of 62 failures pass; spectacles removed, 40 of 62.",
        ),
        gain=gain,
        export=f"cvq export face-1.2 --slice {rank} --to slice-{rank}",
        examples=(pair, hidden) if is_shown else (),
    )


def group_line(dimension: str, level: str, build: Rate, baseline: Rate | None) -> GroupLine:
    """Make the line of a group."""
    return GroupLine(dimension, level, "no different from the whole", RatePair(build, baseline))


def ordinary_briefing() -> Briefing:
    """Make the briefing of a build that is worse than its baseline for one reason."""
    now, before = rate_of(80, 1600), rate_of(24, 1600)
    false_match = binomial_rate(3, 48_000, is_subject_known=True), binomial_rate(4, 48_000, is_subject_known=True)
    worse = Change(0.018, 0.052)
    return Briefing(
        build="face-1.2",
        baseline="face-1.1",
        subject_matter="face verification",
        standing="worse",
        headline="face-1.2 rejects its owners three times as often as face-1.1: 5 % of attempts against 1.5 %.",
        impact=Point(
            "1 in 20 genuine attempts is rejected (FRR 5 %); with face-1.1 it was 1 in 67 (1.5 %).",
            (figure_of(now, "attempts rejected (FRR)", build="face-1.2"),),
            section="change",
        ),
        cause=Point("Spectacles in low light hold 77.5 % of the failures.", section="slices"),
        gain=cause_of(1, "spectacles and low light").gain,
        groups=Point("No age group and no sex differs from the whole by more than chance.", section="groups"),
        quality=Point("12 of 1,640 attempts were set aside: no usable sample.", section="data-quality"),
        next_step=Point("Train with spectacles below 50 lux, then repeat the 240 attempts of the slice."),
        changes=(
            change_of("genuine attempts rejected (FRR)", now, before, limit=0.03, change=worse),
            change_of("strangers accepted (FMR)", *false_match),
            change_of("attempts without a usable sample (FTA)", rate_of(12, 1640), rate_of(10, 1640)),
        ),
        causes=(cause_of(1, "spectacles and low light"), cause_of(2, "a turned head", is_shown=False)),
        group_lines=(
            group_line("sex", "female", rate_of(41, 800, subjects=20), rate_of(12, 800, subjects=20)),
            group_line("sex", "male", rate_of(39, 800, subjects=20), rate_of(12, 800, subjects=20)),
            group_line("age", "18 to 39", rate_of(50, 1000, subjects=25), rate_of(14, 1000, subjects=25)),
            group_line("age", "40 and older", rate_of(30, 600, subjects=15), rate_of(10, 600, subjects=15)),
        ),
        terms={
            "FRR": "false rejection rate, the share of genuine attempts that are rejected",
            "FMR": "false match rate, the share of comparisons of two people that are accepted",
            "FTA": "failure to acquire, the share of attempts without a usable sample",
        },
        n_subjects=40,
        n_attempts=1640,
        drops=("20260901-face-1.2-lab", "20260914-face-1.2-field"),
        sites=("lab", "field"),
        captured_from=datetime(2026, 9, 1, 8, tzinfo=UTC),
        captured_until=datetime(2026, 9, 14, 17, 30, tzinfo=UTC),
        commands=("cvq run --build face-1.2", "cvq report face-1.2"),
    )


def bare_briefing() -> Briefing:
    """Make the briefing of a build without baseline and without failures, of which nothing can be told."""
    nothing = Point("Nothing can be told: no trial.")
    return replace(
        ordinary_briefing(),
        baseline=None,
        standing="insufficient",
        headline="Too few attempts to tell how good face-1.2 is.",
        impact=nothing,
        cause=Point("No failure, so there is no cause to search for."),
        gain=None,
        groups=nothing,
        quality=Point("No drop was refused."),
        next_step=Point("Record 60 more subjects."),
        changes=(
            change_of("genuine attempts rejected (FRR)", NO_TRIAL, None),
            change_of("strangers accepted (FMR)", undefined("insufficient: no impostor attempt"), None),
        ),
        causes=(),
        group_lines=(group_line("sex", "female", NO_TRIAL, None),),
    )


def steering_briefing() -> Briefing:
    """Make a briefing whose names hold characters that steer a terminal, end a line, or are no text at all."""
    base, name = ordinary_briefing(), "a\x00\x1b[31m\u202e\r\nBcc: b\ud800\uffff<&>`"
    steering = Slice((Predicate(name, "==", name),))
    return replace(
        base,
        build=name,
        baseline=name,
        headline=name,
        impact=replace(base.impact, text=name),
        causes=tuple(replace(cause, condition=name, sentence=name, where=steering) for cause in base.causes),
        group_lines=tuple(replace(line, dimension=name, level=name, sentence=name) for line in base.group_lines),
        changes=tuple(replace(change, name=name) for change in base.changes),
        terms={name: name},
        drops=(name,),
        sites=(name,),
        commands=(name,),
        thin=(ThinEvidence(name, name, 3, None),),
    )


def crowded_briefing() -> Briefing:
    """Make a briefing with 200 causes and groups, labels of 500 characters, and names that run from right to left."""
    base = ordinary_briefing()
    names = [f"{RIGHT_TO_LEFT if rank % 2 else LONG_LABEL}{rank}" for rank in range(1, N_CROWDED + 1)]
    unbroken = "x" * 500
    return replace(
        base,
        build=RIGHT_TO_LEFT,
        baseline=unbroken,
        impact=Point(LONG_LABEL * 3, base.impact.figures),
        cause=Point(unbroken),
        causes=tuple(cause_of(rank, name, is_shown=rank <= 3) for rank, name in enumerate(names, 1)),
        group_lines=tuple(
            group_line(unbroken if place % 7 == 0 else "corridor", name, rate_of(3, 80, subjects=4), None)
            for place, name in enumerate(names)
        ),
        changes=base.changes * 6,
        terms={f"T{place}": LONG_LABEL for place in range(30)},
        drops=tuple(f"2026-{place:04d}-{LONG_LABEL}" for place in range(N_CROWDED)),
        sites=tuple(names),
        commands=(f"cvq report {unbroken}",) * 9,
    )
