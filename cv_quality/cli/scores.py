"""The command that evaluates score files of any tool, without drops or builds."""

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import click

from cv_quality.cli.common import JSON, PAGE, print_document, progress_bars, say, writing
from cv_quality.cli.iris import evaluate_iris, print_evaluations
from cv_quality.cli.liveness import (
    evaluate_liveness_set,
    liveness_document,
    pair,
    print_liveness,
    shares,
    species_patterns,
)
from cv_quality.cli.video import evaluate_video
from cv_quality.errors import MetricError, ScoreFileError
from cv_quality.scores.source import Format, Polarity
from cv_quality.text import visible

if TYPE_CHECKING:
    from cv_quality.metrics.detection_cost import CostWeights
    from cv_quality.reports.liveness_page import AnsweredLiveness
    from cv_quality.scores.evaluation import Evaluation
    from cv_quality.scores.score_set import ScoreSet
    from cv_quality.scores.source import Sentinel

T = TypeVar("T")
SECONDS_UNSAID = 5.0
"""A command that is done sooner says nothing of its steps, where there is no terminal for a bar."""


def _sentinel(_context: click.Context, _option: click.Parameter, text: str) -> "Sentinel":
    if text in ("detect", "keep"):
        return cast("Sentinel", text)
    try:
        return float(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is neither a number nor detect nor keep", param_hint="--sentinel"
        ) from error


def _weights(
    _context: click.Context, _option: click.Parameter, texts: Sequence[str]
) -> "tuple[CostWeights, ...] | None":
    """Read each P_TARGET[,C_MISS,C_FA]; None where none is given."""
    from cv_quality.metrics.detection_cost import CostWeights

    found = []
    for text in texts:
        try:
            prior, miss, false_alarm = map(float, (text if "," in text else f"{text},1,1").split(","))
            found.append(CostWeights(prior, miss, false_alarm))
        except (ValueError, MetricError) as error:
            told = "" if isinstance(error, ValueError) else f": {error}"
            raise click.BadParameter(f"{text!r} is no P_TARGET or P_TARGET,C_MISS,C_FA{told}") from error
    return tuple(found) or None


class EvaluateSwitch(click.Command):
    """A command that hands over to another where `--video` or `--iris` is given, or a folder first: of codes."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        before = args[: args.index("--")] if "--" in args else args
        for switch, command in (("--video", evaluate_video), ("--iris", evaluate_iris)):
            if switch in before:
                args.remove(switch)
                return command.make_context(f"{info_name} {switch}", args, parent, **extra)
        if before and Path(before[0]).is_dir():
            return evaluate_iris.make_context(f"{info_name} --iris", args, parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=EvaluateSwitch)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--video",
    is_flag=True,
    expose_value=False,
    help="Evaluate masks, tracks or pictures of clips instead: `cvq evaluate --video --help`.",
)
@click.option(
    "--iris",
    is_flag=True,
    expose_value=False,
    help="Compare iris codes of a folder, all pairs, instead: `cvq evaluate --iris --help`.",
)
@click.option("--fmr", "targets", type=float, multiple=True, help="Highest FMR allowed; repeatable. [0.01 to 1e-6]")
@click.option("--threshold", type=float, help="Give both rates at this decision threshold as well.")
@click.option(
    "--dcf",
    "weights",
    multiple=True,
    callback=_weights,
    metavar="P_TARGET[,C_MISS,C_FA]",
    help="Give the smallest detection cost at this prior and these costs; repeatable. [0.01 and 0.05, costs 1]",
)
@click.option("--format", type=click.Choice(get_args(Format)), help="Of every file. [told from the content]")
@click.option(
    "--trials",
    type=click.Path(path_type=Path),
    help="A list of trials with labels; FILES hold their scores, in its order or with the ids.",
)
@click.option(
    "--columns",
    metavar="MEANING=NAME,...",
    help="Columns that are called otherwise, such as score=sim,is_genuine=same; by number from 1 without a header.",
)
@click.option(
    "--polarity", type=click.Choice(get_args(Polarity)), help="What a high score means. [told from the scores]"
)
@click.option(
    "--sentinel",
    default="detect",
    show_default=True,
    callback=_sentinel,
    help="A value that means 'no score', or 'keep'.",
)
@click.option("--genuine-pattern", metavar="REGEX", help="Ids of bona fide samples, where a JSON file cannot tell.")
@click.option(
    "--species-pattern",
    multiple=True,
    callback=species_patterns,
    metavar="[NAME=]REGEX",
    help="Ids of attacks of a PAI species, repeatable; or one REGEX whose group is the species.",
)
@click.option("--subject-pattern", metavar="REGEX", help="Its group is the subject in an id of a presentation.")
@click.option("--artefact-pattern", metavar="REGEX", help="Its group is the artefact in the id of an attack.")
@click.option("--devel", type=click.Path(path_type=Path), help="Liveness: choose thresholds on this file instead.")
@click.option(
    "--apcer",
    "apcer_targets",
    callback=shares,
    metavar="SHARE",
    multiple=True,
    help="Liveness: highest APCER of the worst species; repeatable. [10 %, 5 %, 1 %]",
)
@click.option("--profile", metavar="NAME", help="Liveness: answer these requirements, by name or YAML file.")
@click.option(
    "--fusion",
    "fusion_weights",
    callback=pair,
    metavar="W1,W2",
    help="Liveness: weights of score and second_score, in standard deviations. [1,1]",
)
@click.option(
    "--skip-broken", "on_error", flag_value="skip", default="raise", help="Set broken lines apart, counted, and go on."
)
@click.option(
    "--replicates",
    type=click.IntRange(min=100),
    default=1000,
    show_default=True,
    help="Of the bootstrap that bounds extrapolations.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random.")
@click.option("--report", type=PAGE, help="Write an HTML page with the curves.")
@JSON
def evaluate(
    files: Sequence[Path],
    targets: Sequence[float],
    threshold: float | None,
    weights: "tuple[CostWeights, ...] | None",
    replicates: int,
    seed: int,
    devel: Path | None,
    apcer_targets: Sequence[float],
    profile: str | None,
    fusion_weights: tuple[float, float] | None,
    report: Path | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Evaluate score FILES of verification or liveness: error rates with intervals, and the curve.

    \b
    Reads what other tools write, told apart by content and proven, or asked for:
      tables with a header (CSV, Parquet, JSON, Excel): score and is_genuine, or what other tools call them;
      optionally subject_a, subject_b, group_a, group_b, family_a, family_b, quality_a, quality_b, species
      columns without a header: a label, a score and ids in any order (VoxCeleb, IJB, wespeaker, ASVspoof, LFW)
      scores beside a list of trials (--trials: VoxCeleb, Kaldi, NIST SRE, IJB, LFW, ASVspoof)
      bob's 2-, 4- and 5-column files and CSV, pyeer's lists and histograms, similarity matrices (CSV, BEE)
      JSON of id and score, NumPy arrays; compressed or not

    Two lists named alike but for "genuine" and "impostor" (or true and false) are one score set; every other file is a
    set of its own. Where subjects are named, the intervals respect that comparisons of one person are alike; where
    families are, that those of relatives are.

    Bona fide presentations and attacks are liveness: APCER by PAI species and the worst, BPCER, APNRR and BPNRR, with
    bounds by artefact (columns species, artefact, subject, response). Two scores for each presentation (second_score)
    are compared alone, by AND, by OR and fused.

    \b
      cvq evaluate scores.csv --report scores.html
      cvq evaluate exp1_true.txt exp1_false.txt --fmr 1e-3 --fmr 1e-4
      cvq evaluate scores.txt --trials veri_test.txt --dcf 0.05
      cvq evaluate results.csv --columns score=sim,is_genuine=same
      cvq evaluate face-C.csv --sentinel keep --json
      cvq evaluate pad-test.csv --devel pad-devel.csv --profile cpp-level-2
      cvq evaluate pad.csv --columns score=depth,second_score=texture --apcer 5%
      cvq evaluate pad.json --genuine-pattern /real/ --species-pattern "_(print|replay)_"
    """
    from cv_quality.metrics import FMR_TARGETS
    from cv_quality.metrics.detection_cost import VOXSRC_AND_SRE
    from cv_quality.scores.evaluation import STEPS
    from cv_quality.scores.grouping import group_files

    work = partial(
        _evaluated,
        fmr_targets=targets or FMR_TARGETS,
        threshold=threshold,
        weights=weights or VOXSRC_AND_SRE,
        replicates=replicates,
        seed=seed,
    )
    groups, sets, live = group_files(files), [], []
    development = None if devel is None else _read([devel], **reading)
    with _steps(len(groups) * (1 + len(STEPS))) as starting:
        for group in groups:
            starting(group.name, "reading")
            scores = _read(group.paths, **reading)
            _say_what_was_read(scores, name=group.name)
            if scores.kind == "liveness":
                live.append(
                    _in_words(
                        scores,
                        evaluate_liveness_set,
                        name=group.name,
                        devel=development,
                        apcer_targets=apcer_targets,
                        threshold=threshold,
                        profile=profile,
                        weights=fusion_weights,
                    )
                )
            else:
                sets.append((scores, work(scores, name=group.name, starting=partial(starting, group.name))))
    if live:
        _show_liveness(live, is_alone=not sets, report=report, as_json=as_json)
        return
    if devel is not None or apcer_targets or profile is not None or fusion_weights is not None:
        raise click.UsageError("--devel, --apcer, --profile and --fusion are of liveness; these files hold comparisons")
    if report is not None:
        from cv_quality.reports.evaluation_page import write_evaluation_report

        with writing(report):
            write_evaluation_report(sets, target=report)
    print_evaluations([found for _, found in sets], as_json=as_json)


def _show_liveness(
    found: "Sequence[AnsweredLiveness]",
    *,
    is_alone: bool,
    report: Path | None,
    as_json: bool,
) -> None:
    """Print what was found of liveness sets, and write their page."""
    if not is_alone:
        raise click.UsageError("some files hold liveness scores and others comparisons; evaluate them apart")
    if report is not None:
        from cv_quality.reports.liveness_page import write_liveness_page

        with writing(report):
            write_liveness_page(found, target=report)
    if as_json:
        documents = [liveness_document(one) for one in found]
        print_document(documents[0] if len(documents) == 1 else documents)
        return
    for one in found:
        print_liveness(one)


@contextmanager
def _steps(total: int) -> "Iterator[Callable[[str, str], None]]":
    """Show a bar that moves on at each step; without a terminal, name each step after the first seconds."""
    begun, done = time.monotonic(), itertools.count()
    with progress_bars() as progress:
        task = progress.add_task("score sets", total=total)

        def starting(name: str, step: str) -> None:
            progress.update(task, description=visible(f"{name}: {step}"), completed=next(done))
            seconds = time.monotonic() - begun
            if not progress.console.is_terminal and seconds > SECONDS_UNSAID:
                say(f"{seconds:.0f} s, {name}: {step}", err=True)

        yield starting
        progress.update(task, description="score sets", completed=total)


_KEYWORD = re.compile(
    r'\b(on_error|genuine_pattern|species_pattern|subject_pattern|artefact_pattern|sentinel|polarity|format|columns|trials)=("[^"]*"|[-+.\w]+)'
)


def _in_options(text: str) -> str:
    """Write what the reader says of its arguments in terms of the options that set them."""

    def option(found: "re.Match[str]") -> str:
        name, value = found.groups()
        plain = value.strip('"')
        given = plain if re.fullmatch(r"[-+.,=\w]+", plain) else value
        return "--skip-broken" if name == "on_error" else f"--{name.replace('_', '-')} {given}"

    return _KEYWORD.sub(option, text)


def _read(paths: Sequence[Path], **options: Any) -> "ScoreSet":
    """Read one score set; its errors, notes and warnings speak of options."""
    from cv_quality.scores.reading import read_scores

    try:
        scores = read_scores(paths, **options)
    except ScoreFileError as error:
        raise ScoreFileError(_in_options(str(error)), file=error.file, line=error.line) from error
    return replace(
        scores, notes=tuple(map(_in_options, scores.notes)), warnings=tuple(map(_in_options, scores.warnings))
    )


def _say_what_was_read(scores: "ScoreSet", *, name: str) -> None:
    """Say what the files were taken for and what was done with them, before anything is computed of them."""
    say(f"{name}: taken for {scores.format}", err=True)
    for note in scores.notes:
        say(f"note: {note}", err=True)


def _evaluated(scores: "ScoreSet", **options: Any) -> "Evaluation":
    """Evaluate a set of comparisons."""
    from cv_quality.scores.evaluation import evaluate as evaluate_set

    return _in_words(scores, evaluate_set, **options)


def _in_words(scores: "ScoreSet", evaluating: "Callable[..., T]", **options: Any) -> "T":
    """Evaluate a score set; one that has no error rates is named, with what its files were taken for."""
    try:
        return evaluating(scores, **options)
    except MetricError as error:
        classes = (
            "bona fide presentations and {} attacks"
            if scores.kind == "liveness"
            else "genuine and {} impostor comparisons"
        )
        counts = f"{scores.n_genuine:,} {classes.format(f'{scores.n_impostor:,}')} were read"
        taken = f"taken for {scores.format}, --format NAME declares another"
        raise ScoreFileError(f"{', '.join(scores.sources)}: {error}; {counts} ({taken})") from error
