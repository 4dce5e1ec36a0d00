"""Progress where no one looks at a terminal: a line every half minute on standard error, so that a log shows life.

The bars themselves are made in `cv_quality.cli.common`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_A_LINE = 30


@contextmanager
def lines_without_terminal(progress: "Progress", *, seconds: float = SECONDS_A_LINE) -> Iterator[None]:
    """Print how far the loop under way has come every so often, where the bars are not drawn on a terminal.

    Args:
        progress: the bars.
        seconds: between the lines.
    """
    if progress.console.is_terminal:
        yield
        return
    ended = Event()

    def speak() -> None:
        while not ended.wait(seconds):
            # Loops follow each other, and one without work never ends for the bars.
            for task in progress.tasks[-1:]:
                if not task.finished:
                    done = f"{task.completed:,.0f} of {task.total:,.0f}, " if task.total is not None else ""
                    click.echo(f"{task.description}: {done}{task.elapsed or 0:,.0f} s", err=True)

    thread = Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
