"""RabbitMQ as a way to call: requests through a queue, answers by direct reply-to, through pika."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import re
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maitred.benchmarks.method.drivers import drive_calls
from maitred.benchmarks.method.environment import versions_of
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.numbered import drive_numbered
from maitred.benchmarks.subjects.protocol import Payload, Setup, Transport
from maitred.benchmarks.subjects.rabbitmq_worker import QUEUE, TASK_HEADER, RabbitWorker
from maitred.benchmarks.subjects.servers import LOOPBACK, House, Server, binary, free_port, house, missing

__all__ = ["RabbitMQ", "rabbitmq"]

BINARY, NAME_SERVER = "rabbitmq-server", "epmd"

REPLY_TO = "amq.rabbitmq.reply-to"
"""RabbitMQ's name for "straight to the channel that asked"."""

MAX_FILES = 1024
"""Erlang reserves memory for each descriptor that it may have; a few connections are needed."""

TIMEOUT_S = 60.0
"""Of a single call."""


@dataclass(frozen=True)
class RabbitMQ:
    """See `Subject`.

    Attributes:
        prefetch: messages that the broker sends a worker ahead; 0 is without a limit and without acknowledgements,
            which measured up to twice as fast as 32, and loses what was sent ahead to a worker that dies.
    """

    name: str = "rabbitmq"
    prefetch: int = 0
    transports: tuple[Transport, ...] = ("tcp",)
    carries_arrays: bool = False

    @property
    def description(self) -> str:
        """See `Subject`."""
        ahead = f"prefetch {self.prefetch}, acknowledged" if self.prefetch else "no limit of prefetch, auto-ack"
        return f"RabbitMQ (Erlang) between pika's BlockingConnections: transient messages, direct reply-to, {ahead}"

    def skip_reason(self) -> str | None:
        """See `Subject`."""
        return missing({"pika": "pika"}, {BINARY: "rabbitmq-server", NAME_SERVER: "erlang-base"})

    def versions(self) -> dict[str, str]:
        """See `Subject`. The server's is in its folder's name: to ask it takes seconds."""
        found = re.search(r"rabbitmq_server-([\d.]+)", str(Path(_path(BINARY)).resolve()))
        return {**versions_of("pika"), BINARY: found[1] if found else "unknown"}

    @contextlib.contextmanager
    def start(self, setup: Setup) -> Generator[RunningRabbitMQ]:
        """See `Subject`."""
        with house() as processes:
            names = free_port()
            # Erlang starts one where it finds none, which then stays for ever.
            processes.start_server("epmd", Server(command=[_path(NAME_SERVER), "-port", str(names)], port=names))
            server = _server(processes.directory, names)
            processes.start_server("broker", server)
            told = RabbitWorker(server.port, self.prefetch)
            for number in range(setup.workers):
                processes.start_worker(f"worker {number + 1}", RabbitWorker.__module__, "worker", told)
            yield RunningRabbitMQ(processes, server.port)


def _path(name: str) -> str:
    return binary(name) or name


def _server(directory: Path, names_port: int) -> Server:
    """A node of its own: no file, port or name of one that the system may run, and no name to be looked up."""
    port = free_port()
    files = {kind: directory / kind for kind in ("rabbitmq.conf", "enabled_plugins", "advanced.config", "env.conf")}
    files["rabbitmq.conf"].write_text(f"listeners.tcp.1 = {LOOPBACK}:{port}\n")
    files["enabled_plugins"].write_text("[].\n")
    environment = {
        "HOME": str(directory),  # for its cookie
        "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server, instead of a shell that waits for it
        "ERL_EPMD_PORT": str(names_port),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "RABBITMQ_NODENAME": "bench@localhost",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_CONF_ENV_FILE": str(files["env.conf"]),
        "RABBITMQ_CONFIG_FILE": str(files["rabbitmq.conf"]),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(files["advanced.config"]),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(files["enabled_plugins"]),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_LOGS": "-",
    }
    return Server(command=[_path(BINARY)], port=port, environment=environment, max_files=MAX_FILES)


class RunningRabbitMQ:
    """See `Running`."""

    def __init__(self, processes: House, port: int) -> None:
        self._house, self._port = processes, port

    def caller(self) -> RabbitCaller:
        """See `Running`."""
        return RabbitCaller(self._port)

    @property
    def processes(self) -> Mapping[str, int]:
        """See `Running`."""
        return self._house.pids


class RabbitCaller:
    """See `Caller`. One channel; answers are told apart by their correlation ids."""

    def __init__(self, port: int) -> None:
        pika: Any = importlib.import_module("pika")
        self._properties: Any = pika.BasicProperties
        self._connection: Any = pika.BlockingConnection(pika.ConnectionParameters(LOOPBACK, port))
        self._channel: Any = self._connection.channel()
        self._channel.basic_consume(REPLY_TO, self._take, auto_ack=True)
        self._numbers = itertools.count(1)
        self._answers: dict[int, bytes] = {}

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        """See `Caller`."""
        return self._call(payload, task_s, TIMEOUT_S)

    def drive(self, load: Load) -> Flow:
        """See `Caller`."""
        if load.outstanding == 1 and not load.rate_per_s:
            return drive_calls(lambda: self._call(load.payload, load.task_s, load.timeout_s), load)
        return drive_numbered(self, load)

    def send(self, payload: Payload, task_s: float) -> int:
        """See `Numbered`."""
        number = next(self._numbers)
        headers = {TASK_HEADER: repr(task_s)} if task_s else None
        about = self._properties(reply_to=REPLY_TO, correlation_id=str(number), headers=headers)
        self._channel.basic_publish("", QUEUE, payload, about)
        return number

    def receive(self, wait_s: float) -> Iterable[int]:
        """See `Numbered`."""
        self._connection.process_data_events(wait_s)
        found, self._answers = self._answers, {}
        return found

    def close(self) -> None:
        """See `Caller`."""
        if self._connection.is_open:
            self._connection.close()

    def _take(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        self._answers[int(properties.correlation_id)] = body

    def _call(self, payload: Payload, task_s: float, timeout_s: float) -> Payload:
        self._answers.clear()  # of calls that were given up
        number = self.send(payload, task_s)
        while number not in self._answers:
            self._connection.process_data_events(timeout_s)
            if not self._answers:
                raise TimeoutError(f"no answer within {timeout_s:g} s")
        return self._answers.pop(number)


rabbitmq = RabbitMQ()
