"""The processes of one peer: servers of third parties, and workers of our own; none outlives the harness.

A server is an installed program. It gets loopback ports of its own, keeps all its files in a temporary folder, and is
ready once it listens there. Nothing of a server that the system may run already is touched.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import resource
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec
import psutil
from msgspec import Struct

from maitred.benchmarks.subjects.protocol import StartError
from maitred.launcher.processes import ChildProcess
from maitred.transport.lifeline import die_with_parent

__all__ = ["LOOPBACK", "House", "Server", "binary", "free_port", "house", "missing"]

LOOPBACK = "127.0.0.1"

PORTS = range(20_000, 32_768)
"""Servers' ports are drawn from these: below what Linux and macOS deal out by themselves, or while RabbitMQ takes its
seconds to start, its port could be given to anybody who asks for any."""

PORT_TRIES = 100
"""So many ports that are all taken are no coincidence."""

HIDDEN_FOLDERS = ("/usr/lib/rabbitmq/bin", "/usr/sbin", "/usr/local/sbin")
"""Where Debian keeps servers and where a user's PATH does not lead. RabbitMQ's own folder comes first: what the others
have under its name changes the user to `rabbitmq`, whose folders these servers do not use."""

START_TIMEOUT_S = 45.0
"""Within this a process has to be there: RabbitMQ takes 5 s alone on 2 cores, and twice that on busy ones."""

END_TIMEOUT_S = 2.0
"""Within this the kernel has done away with what was killed."""

POLL_S = 0.02
"""How often it is seen whether a server listens."""

MAX_FILES = 4096
"""Descriptors that a server may have. Erlang makes room for all that it may have, and asks for memory accordingly."""

LOG_LINES = 12
"""Of what a server that did not start has said, so many lines are shown."""

T = TypeVar("T", bound=Struct)


class Server(Struct, frozen=True, kw_only=True):
    """A program, and how it is started.

    Attributes:
        command: its path and its arguments.
        port: of its own, on the loopback interface; it is ready once it listens there.
        environment: variables beside those of this process.
        max_files: descriptors that it may have.
    """

    command: list[str]
    port: int
    environment: dict[str, str] = {}
    max_files: int = MAX_FILES


class Launch(Struct):
    """What `launch` is told."""

    server: Server
    directory: str
    log: str
    parent: int


@dataclass
class House:
    """The processes of one peer.

    Attributes:
        directory: a temporary one, for all files; removed at the end.
        processes: by role.
    """

    directory: Path
    processes: dict[str, ChildProcess] = field(default_factory=dict[str, ChildProcess])

    def start_server(self, role: str, server: Server, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start a server and wait until it listens.

        Raises:
            StartError: it ended, or did not listen in time; the text has the last lines of its log.
        """
        log = self.directory / f"{role}.log"
        launched = Launch(server, str(self.directory), str(log), os.getpid())
        process = self.processes[role] = ChildProcess(__name__, "launch", launched)
        end = time.monotonic() + timeout_s
        while not _listens(process.pid, server.port):
            if process.exit_code is not None or time.monotonic() > end:
                raise StartError(f"{role} ({server.command[0]}) did not start. {_last_lines(log)}")
            time.sleep(POLL_S)

    def start_worker(self, role: str, module: str, function: str, settings: T, timeout_s: float = START_TIMEOUT_S) -> T:
        """Start a process of ours (see `child`) and wait for its report, which has the type of the settings.

        Raises:
            StartError: it ended, or did not report in time; its own words are on standard error.
        """
        process = self.processes[role] = ChildProcess(module, function, settings, reports=True)
        line = process.read_report(timeout_s)
        if not line:
            raise StartError(f"the {role} did not start; what it said is on standard error")
        return msgspec.json.decode(line, type=type(settings))

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by role."""
        return {role: process.pid for role, process in self.processes.items()}


@contextlib.contextmanager
def house() -> Generator[House]:
    """A house whose processes, and all that those have started, are ended when it is left, last one first."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as directory:
        found = House(Path(directory))
        try:
            yield found
        finally:
            for process in reversed(found.processes.values()):
                _end(process)


def binary(name: str) -> str | None:
    """The path of an installed program; None where there is none."""
    return shutil.which(name, path=os.pathsep.join([*HIDDEN_FOLDERS, os.environ.get("PATH", os.defpath)]))


def missing(modules: Mapping[str, str], binaries: Mapping[str, str] | None = None) -> str | None:
    """What is not installed and how to install it; None where all is there.

    Args:
        modules: distributions by the name of the module that they bring; all are in the extra `bench`.
        binaries: Debian packages by the name of the program that they bring.
    """
    for module, distribution in modules.items():
        if importlib.util.find_spec(module) is None:
            return f"{distribution} is not installed: pip install 'maitred[bench]'"
    for name, package in (binaries or {}).items():
        if binary(name) is None:
            return f"{name} is not installed: apt-get install {package} (as root), or make peers"
    return None


def free_port() -> int:
    """A loopback port that nobody listens on.

    Raises:
        StartError: there is none.
    """
    for port in random.SystemRandom().sample(PORTS, PORT_TRIES):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise StartError(
        f"no loopback port from {PORTS[0]} to {PORTS[-1]} is free: {PORT_TRIES} were tried; end some servers"
    )


def launch() -> NoReturn:
    """Become the server: what is prepared here (its end with ours, its log, its limit) outlives the exec."""
    told = msgspec.json.decode(sys.stdin.buffer.readline(), type=Launch)
    die_with_parent(told.parent)
    server = told.server
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    allowed = server.max_files if most == resource.RLIM_INFINITY else min(server.max_files, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    log = os.open(told.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.chdir(told.directory)
    os.execve(server.command[0], server.command, {**os.environ, **server.environment})


def _listens(pid: int, port: int) -> bool:
    """Whether this very process does, which a connection would not tell."""
    with contextlib.suppress(psutil.Error):
        sockets = psutil.Process(pid).net_connections("tcp")
        return any(it.status == psutil.CONN_LISTEN and it.laddr.port == port for it in sockets)
    return False


def _last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "The end of its log:\n" + "\n".join(lines[-LOG_LINES:]) if lines else "It said nothing."


def _end(process: ChildProcess) -> None:
    started: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for child in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(started, timeout=END_TIMEOUT_S)
