"""`cvq`: the chain and the evaluation of score files from the command line, thin over the functions that do the work.

Only arguments, tables and progress bars live here, a module for each group of commands. Results go to standard output
(`--json` for scripts), everything else to standard error.
"""

import logging
import os
from errno import EPIPE

import click

from cv_quality.cli import (
    chain,
    decisions,
    digest,
    drops,
    exploration,
    forgetting,
    housekeeping,
    liveness,
    metrics,
    monitor,
    pipeline,
    publish,
    regressions,
    root_causes,
    samples,
    scores,
    studies,
    video,
)
from cv_quality.cli.common import VisibleFormatter
from cv_quality.cli.stopping import ending_in_words
from cv_quality.errors import CvQualityError
from cv_quality.extras import missing_library
from cv_quality.text import visible_lines

PRIVATE_UMASK = 0o077
"""What a command writes, and what the programs that it starts write, is its owner's alone."""


class TypedErrors(click.Group):
    """Typed errors end the command with their message and exit code 1; a traceback is for defects of ours."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            with ending_in_words():
                return super().invoke(ctx)
        except CvQualityError as error:
            raise click.ClickException(visible_lines(f"{type(error).__name__}: {error}")) from error
        except ModuleNotFoundError as error:
            if (missing := missing_library(error.name or "")) is None:
                raise
            raise click.ClickException(f"cvq {ctx.invoked_subcommand} {missing}") from error
        except OSError as error:
            if error.errno == EPIPE:
                raise
            raise click.ClickException(visible_lines(f"{type(error).__name__}: {error}")) from error
        except click.ClickException as error:
            vars(error).update(message=visible_lines(error.message))
            raise


@click.group(cls=TypedErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="cv-quality")
@click.option("-v", "--verbose", is_flag=True, help="Log what the package does.")
def main(verbose: bool) -> None:
    """Evaluate computer-vision algorithms on devices, from raw logs to failure reports.

    \b
    A tour, in the order of the data:
      cvq demo                     simulate three builds of a face verifier, evaluate and report them
      cvq simulate tiny            drops of a simulated fleet, with a known cause of failure
      cvq import faces DIR         a folder of face images as a drop
      cvq import iris DIR          a folder of iris strips, eye images or templates as a drop
      cvq import video DIR         clips with masks or tracks as a drop
      cvq import logs FILES        logs of devices as a drop, through a mapping
      cvq status                   what has arrived, what passed its gates, what is left to do
      cvq run                      do everything that is left to do, without an orchestrator
      cvq why KEY                  why a drop or a build is refused or waits, and what to do
      cvq quarantine DROP          the rows that were rejected, and why
      cvq evaluate FILES...        score files of any tool: rates, intervals and curves, without drops or builds
      cvq evaluate --iris CODES    iris codes compared with one another, all pairs
      cvq evaluate --video P T     masks, tracks or pictures of clips against their truth, in folders
      cvq slices TABLE             which slices of any table fail more, and what only looks as if
      cvq attribute BEFORE AFTER   what a change between two tables is made of
      cvq compare A B              build B against build A: differences with intervals, pass, fail or insufficient
      cvq release BUILD            whether a build may ship, by the release policy
      cvq plan artefacts           how many artefacts of an attack species settle a limit of its APCER
      cvq study plan PROTOCOL      how many subjects a study needs, and on what that rests
      cvq study lock PROTOCOL      a study's protocol made binding, before its data
      cvq study assign PROTOCOL    its subjects assigned to builds and orders of conditions
      cvq study analyse PROTOCOL   a look at its data, and the verdict
      cvq monitor BUILD            a build in the field, watched daily without false alarms
      cvq sql "SELECT ..."         ask the metric tables and the lake; without a statement, a shell
      cvq export BUILD --slice N   the attempts of a slice as a table, with images of those who agreed
      cvq models                   the builds of the model registry
      cvq report BUILD             write the failure report of one build again
      cvq digest                   what happened in a week: drops, verdicts, changes, alarms, refusals
      cvq metrics                  how the deployment stands, for Prometheus
      cvq publish BUILD            brief, slides, message, tickets, and the page over all builds
      cvq regressions BUILD        causes of earlier builds in this one: fixed, still there, worse
      cvq backfill                 score historical builds over a grid of drops
      cvq forget SUBJECT           erase all that is held of a person, with proof and a signed receipt
      cvq export-subject SUBJECT   all that is held of a person, for whoever asks
      cvq verify-receipt FILE      whether the receipt of a forgetting is as it was signed
      cvq gc                       free what old runs left behind and nobody needs any more
      cvq ui                       the same as assets, checks and sensors in the Dagster UI

    Locations come from CVQ_* variables or cvq.toml; everything lies under .cvq unless they say otherwise.
    """
    os.umask(PRIVATE_UMASK)
    handler = logging.StreamHandler()
    handler.setFormatter(VisibleFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


for importer in (samples.faces, samples.iris, video.import_video):
    drops.import_.add_command(importer)
for command in (
    *(chain.status, chain.run, chain.why, chain.quarantine, chain.models, chain.report),
    *(drops.simulate, drops.import_),
    *(pipeline.backfill, pipeline.demo, pipeline.ui),
    *(exploration.sql, exploration.export),
    housekeeping.gc,
    *(decisions.compare, decisions.release, monitor.monitor, publish.publish, digest.digest, metrics.metrics),
    regressions.regressions,
    *(forgetting.forget, forgetting.export_subject, forgetting.verify_receipt),
    *(root_causes.slices, root_causes.attribute, scores.evaluate, studies.study, liveness.plan),
):
    main.add_command(command)
