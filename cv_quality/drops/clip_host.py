"""Decoders of clips, forked from one process that has loaded what they need: a clip costs milliseconds, not a start.

The host never sees a byte of a clip. A decoder (`cv_quality.drops.clip_decoder`) is a process of its own for each clip,
with limits of its own; it ends when its reader does, and all end with the process that reads.
"""

import atexit
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, Final

import msgspec

_NUMBER_BYTES: Final = 8
_MAX_REQUEST_BYTES: Final = 4096


class DecodeRequest(msgspec.Struct, array_like=True):
    """What a decoder is to do; it is sent with its clip, its output, and the socket that controls it."""

    format: str
    seconds_per_frame: int
    pixels: str


class ForkedDecoder:
    """One decoder, as its reader has it.

    Attributes:
        output: what the decoder writes.
        pid: its process.
    """

    def __init__(self, output: IO[bytes], control: socket.socket, pid: int) -> None:
        self.output = output
        self.pid = pid
        self._control = control
        self._code: int | None = None

    def kill(self) -> None:
        """Tell the host to kill it."""
        if self._code is None:
            self._control.shutdown(socket.SHUT_WR)

    def wait(self) -> int:
        """Wait for its end; gives its code, minus the signal of a killed one."""
        if self._code is None:
            code = _received(self._control)
            self._code = -signal.SIGKILL if code is None else code
            self._control.close()
        return self._code


def _send(connection: socket.socket, number: int) -> None:
    connection.send(number.to_bytes(_NUMBER_BYTES, "little", signed=True))


def _received(connection: socket.socket) -> int | None:
    """A number that the other side sent; None where it is gone."""
    sent = connection.recv(_NUMBER_BYTES, socket.MSG_WAITALL)
    return int.from_bytes(sent, "little", signed=True) if len(sent) == _NUMBER_BYTES else None


class _Host:
    """The process that forks decoders, as this process has it."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair()
        quiet = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cv_quality.drops.clip_host"],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | quiet,
        )
        theirs.close()

    def start(self, file: IO[bytes], request: DecodeRequest) -> ForkedDecoder | None:
        """Start a decoder of an open clip; None where the host is gone."""
        read, write = os.pipe()
        control, theirs = socket.socketpair()
        output = os.fdopen(read, "rb", buffering=0)
        try:
            handles = [file.fileno(), write, theirs.fileno()]
            socket.send_fds(self._requests, [msgspec.json.encode(request)], handles)
            if pid := _received(self._requests):
                return ForkedDecoder(output, control, pid)
        except OSError:  # the host is gone
            pass
        finally:
            os.close(write)
            theirs.close()
        output.close()
        control.close()
        return None

    def close(self) -> None:
        self._requests.close()
        self._process.wait()


_hosts: dict[int, _Host] = {}
_lock = threading.Lock()


def start_decoder(file: IO[bytes], request: DecodeRequest) -> ForkedDecoder:
    """Start a decoder of an open clip; the first one of a process starts the host."""
    with _lock:
        for _ in range(2):
            # A forked process must not speak on its parent's socket.
            host = _hosts.get(os.getpid())
            if host is None:
                host = _hosts[os.getpid()] = _Host()
                atexit.register(_close, host)
            if decoder := host.start(file, request):
                return decoder
            del _hosts[os.getpid()]
            atexit.unregister(_close)
            host.close()
    raise OSError("the process that decodes clips cannot be started")


def _close(host: _Host) -> None:
    if _hosts.get(os.getpid()) is host:
        host.close()


class _Server:
    """The host's own side: forks, and tells who has ended."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._controls: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ, 0)
        self._wake, wake = self._pipe = os.pipe()
        for handle in self._pipe:
            os.set_blocking(handle, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._selector.register(self._wake, selectors.EVENT_READ, -1)

    def run(self) -> None:
        """Serve until the process that reads has ended; then end every decoder."""
        while True:
            for key, _ in self._selector.select():
                if key.data == 0 and not self._fork():
                    self._end()
                    return
                if key.data > 0:
                    self._selector.unregister(key.fileobj)
                    os.kill(key.data, signal.SIGKILL)
                if key.data < 0:
                    os.read(self._wake, _MAX_REQUEST_BYTES)
            self._reap()

    def close_handles(self) -> None:
        """Close what a decoder must not have: the host's sockets and pipes, and the controls of others."""
        self._selector.close()
        for handle in self._pipe:
            os.close(handle)
        for control in (self._requests, *self._controls.values()):
            control.close()

    def _fork(self) -> bool:
        data, handles, _, _ = socket.recv_fds(self._requests, _MAX_REQUEST_BYTES, 3)
        if not data:
            return False
        clip, output, control = handles
        request = msgspec.json.decode(data, type=DecodeRequest)
        pid = os.fork()
        if pid == 0:
            os.close(control)
            _become_decoder(clip, output, self, request)
        os.close(clip)
        os.close(output)
        self._controls[pid] = socket.socket(fileno=control)
        self._selector.register(self._controls[pid], selectors.EVENT_READ, pid)
        _send(self._requests, pid)
        return True

    def _reap(self) -> None:
        while self._controls:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            control = self._controls.pop(pid)
            if control in self._selector.get_map():
                self._selector.unregister(control)
            code = os.waitstatus_to_exitcode(status)
            with suppress(OSError):  # its reader may be gone
                _send(control, code)
            control.close()

    def _end(self) -> None:
        for pid in self._controls:
            os.kill(pid, signal.SIGKILL)


def _become_decoder(clip: int, output: int, server: _Server, request: DecodeRequest) -> None:
    """Become the decoder of one clip, with no handle but its own."""
    from cv_quality.drops.clip_decoder import decode_clip

    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        server.close_handles()
        for handle, own in ((clip, 0), (output, 1)):
            os.dup2(handle, own)
            os.close(handle)
        decode_clip(request)
        code = 0
    finally:
        os._exit(code)


def _main() -> None:
    from cv_quality.drops.clip_decoder import load_libraries

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The reader ends its decoders, whoever a terminal interrupts.
    load_libraries()
    _Server(socket.socket(fileno=os.dup(0))).run()


if __name__ == "__main__":
    _main()
