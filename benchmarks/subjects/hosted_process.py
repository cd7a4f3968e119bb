"""The process of a peer that takes over the process it is used in: starts it, and carries out loads beside its client.

It reads its settings from a line of its standard input, reports that it is ready (or why it is not), and answers
questions on a Unix socket, a thread for each connection, which is one caller. It ends with its input. Whatever the peer
prints goes to a file.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection, Listener
from typing import Any, NoReturn, TypeAlias

import msgspec
import psutil
from msgspec import Struct

from maitred.benchmarks.method.load import Flow
from maitred.benchmarks.subjects.protocol import Caller, Running, Setup

__all__ = ["HostedError", "Hosting", "Start", "main", "quiet"]

Start: TypeAlias = Callable[[Setup, str], AbstractContextManager[Running]]
"""What starts a peer here; the text is the path of a folder for its files."""

PENDING_CONNECTIONS = 64
"""Callers that may connect at once; the standard library's 1 would refuse the second."""

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>

EXIT_GIVEN_UP = 1
EXIT_TIMEOUT_S = 10.0
"""Within this the peer has to end by itself, or this process ends without it; less than whoever waits for it allows."""


class HostedError(Exception):
    """What a peer raised: the name of its exception, and its text."""


class Hosting(Struct):
    """What this process is told; it answers with the same, filled in.

    Attributes:
        start: "module:function" of a `Start`.
        setup: for it.
        directory: for all files.
        address: of the Unix socket.
        processes: ids by role.
        error: why it did not start.
    """

    start: str
    setup: Setup
    directory: str
    address: str = ""
    processes: dict[str, int] = {}
    error: str = ""


def main() -> NoReturn:
    """Start the peer, carry out loads until standard input ends, end the peer."""
    told = msgspec.json.decode(sys.stdin.buffer.readline(), type=Hosting)
    reports = quiet(os.path.join(told.directory, "host.log"))
    _keep_files_in(told.directory)
    _adopt_orphans()
    code = EXIT_GIVEN_UP
    try:
        with _start(told.start)(told.setup, told.directory) as running:
            told.address = _listen(running, told.directory)
            told.processes = {"caller": os.getpid(), **running.processes}
            _report(reports, told)
            sys.stdin.buffer.read()
            threading.Timer(EXIT_TIMEOUT_S, os._exit, [EXIT_GIVEN_UP]).start()
        code = 0
    except Exception as error:
        traceback.print_exc()
        told.error = _text(_first_cause(error))
        _report(reports, told)
    _end_descendants()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the threads of a peer, and what it runs at exit, could keep this process


def quiet(log: str) -> int:
    """Have all that is printed in this process, and in those it starts, go to a file.

    Returns:
        A descriptor of what was standard output.
    """
    kept = os.dup(1)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    return kept


def _keep_files_in(directory: str) -> None:
    os.environ["TMPDIR"] = tempfile.tempdir = directory
    os.chdir(directory)


def _adopt_orphans() -> None:
    """Become the parent of what a peer's processes leave behind, so that it can be found. Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def _end_descendants() -> None:
    """Kill what the peer has left running, and wait until nothing of it is there, not even its exit code."""
    this = psutil.Process()
    while children := this.children(recursive=True):  # anew each time: the last act of one may be to start another
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        with contextlib.suppress(ChildProcessError):
            os.wait()


def _start(where: str) -> Start:
    module, _, function = where.partition(":")
    return getattr(importlib.import_module(module), function)


def _report(descriptor: int, told: Hosting) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(descriptor, msgspec.json.encode(told) + b"\n")


def _listen(running: Running, directory: str) -> str:
    """Answer whoever connects, each in a thread; returns where."""
    listener = Listener(os.path.join(directory, "host"), "AF_UNIX", backlog=PENDING_CONNECTIONS)

    def accept() -> None:
        while True:
            connection = listener.accept()
            threading.Thread(target=_serve, args=(running, connection), name="caller", daemon=True).start()

    threading.Thread(target=accept, name="callers", daemon=True).start()
    return str(listener.address)


def _serve(running: Running, connection: Connection) -> None:
    """One caller, made and used by this thread."""
    try:
        caller = running.caller()
    except Exception as error:
        connection.send(HostedError(_text(error)))
        return
    with contextlib.closing(caller), contextlib.suppress(EOFError, ConnectionError):
        while True:
            verb, *arguments = connection.recv()
            connection.send(_answer(caller, verb, arguments))


def _answer(caller: Caller, verb: str, arguments: list[Any]) -> object:
    try:
        return _portable(getattr(caller, verb)(*arguments))
    except Exception as error:
        return HostedError(_text(error))


def _portable(answer: Any) -> Any:
    """A peer's exceptions need not be known where the flow is read, and some cannot be pickled."""
    if isinstance(answer, Flow):
        answer.errors = {name: HostedError(_text(error)) for name, error in answer.errors.items()}
    return answer


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
