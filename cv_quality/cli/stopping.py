"""How a command ends when it is told to: in words, with the exit code of the signal, within seconds.

Whatever a command was killed at is done again by the next one, so nothing is lost where it cannot end by itself.
"""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import NoReturn

import click

REPEAT_SECONDS = 3.0
"""When the signal is sent again: what it raises in a finalizer is lost."""
STOP_SECONDS = 5.0
"""How long the command has from then on: code of the engines below is interrupted only when it returns."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
ENDING = b"\0"


@contextmanager
def ending_in_words() -> Iterator[None]:
    """Say which signal ended the command, and end it with 128 and the signal's number.

    Dagster puts its own handlers in the place of ours and takes TERM for INT, DuckDB raises an error of its own, and a
    finalizer loses it: whether there was a signal, and which, is read from the interpreter's wakeup socket.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    received = SimpleQueue[int]()
    Thread(target=_watch, args=(reader, received), daemon=True).start()
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        if not isinstance(error, KeyboardInterrupt) and received.empty():
            raise
        writer.send(ENDING)
        _end(received.get())
    else:
        writer.close()
        if not received.empty():
            _end(received.get())
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def going_on_after_interrupts() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt where it does not end the command; TERM ends it without a word."""
    before = signal.set_wakeup_fd(-1)
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        signal.set_wakeup_fd(before)


def _watch(reader: socket.socket, received: "SimpleQueue[int]") -> None:
    """Hand on the signal that ends the command, and see to it that it ends."""
    while (data := reader.recv(1)) and data != ENDING and data[0] not in SIGNALS:
        pass
    if not data:
        return
    number = signal.SIGINT if data == ENDING else data[0]
    received.put(number)
    if data != ENDING and not _is_ending(reader):
        os.kill(os.getpid(), number)
    time.sleep(STOP_SECONDS)
    _say(number)
    os._exit(128 + number)


def _end(number: int) -> NoReturn:
    _say(number)
    raise SystemExit(128 + number) from None


def _is_ending(reader: socket.socket) -> bool:
    reader.settimeout(REPEAT_SECONDS)
    try:
        return reader.recv(1) in (ENDING, b"")
    except TimeoutError:
        return False


def _say(number: int) -> None:
    name = signal.Signals(number).name
    click.echo(f"stopped by {name}: what was done stays, and the same command does the rest", err=True)
