"""The peers behind brokers, and gRPC: what each gives back, that workers share the work, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import msgspec
import psutil
import pytest
from user_shell import lives

from maitred.benchmarks.method.load import Load
from maitred.benchmarks.subjects import servers
from maitred.benchmarks.subjects.protocol import Caller, Running, Setup, StartError, Subject
from maitred.benchmarks.subjects.registry import load as subject_named
from maitred.benchmarks.subjects.servers import LOOPBACK, Server, free_port, house

NAMES = ["majordomo", "nats", "rabbitmq", "grpc"]
EACH = [pytest.param(name, marks=[pytest.mark.soak] if name == "rabbitmq" else []) for name in NAMES]
"""RabbitMQ takes ten seconds to start: in the long runs only."""

GONE_WITHIN_S = 10.0
"""After the harness was killed: the kernel ends what hangs on it, and then the children of that see its end."""


def present(name: str) -> Subject:
    subject = subject_named(name)
    if reason := subject.skip_reason():
        pytest.skip(reason)
    return subject


@pytest.fixture(scope="module", params=EACH)
def running(request: pytest.FixtureRequest) -> Generator[Running]:
    with present(request.param).start(Setup(workers=2)) as it:
        yield it


@pytest.fixture
def caller(running: Running) -> Generator[Caller]:
    it = running.caller()
    yield it
    it.close()


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 128, 64 * 1024])
def test_a_payload_comes_back(caller: Caller, size: int) -> None:
    payload = bytes(index % 251 for index in range(size))
    assert bytes(caller.call(payload)) == payload


@pytest.mark.slow
@pytest.mark.parametrize("outstanding", [1, 16])
def test_each_request_is_answered_once(caller: Caller, outstanding: int) -> None:
    flow = caller.drive(Load(payload=b"many", requests=100, outstanding=outstanding))
    assert len(flow.latency) == 100
    assert not flow.failed
    assert bytes(caller.call(b"another")) == b"another"


@pytest.mark.slow
def test_an_open_loop_counts_its_lag(caller: Caller) -> None:
    flow = caller.drive(Load(requests=30, outstanding=30, rate_per_s=200, spacing="constant"))
    assert len(flow.latency) == len(flow.lag) == 30
    assert flow.took_s >= 29 / 200


@pytest.mark.slow
@pytest.mark.parametrize("task_s", [0.05, 0.1])
def test_a_task_takes_its_time(caller: Caller, task_s: float) -> None:
    began = time.perf_counter()
    assert bytes(caller.call(b"slow", task_s)) == b"slow"
    assert time.perf_counter() - began >= task_s
    flow = caller.drive(Load(payload=b"slow", task_s=task_s, requests=1, outstanding=2))
    assert flow.latency[0] >= task_s * 1e9


@pytest.mark.slow
@pytest.mark.parametrize("outstanding", [1, 2])
def test_what_is_not_answered_in_time_has_failed_and_is_no_answer_to_the_next(caller: Caller, outstanding: int) -> None:
    flow = caller.drive(
        Load(payload=b"late", task_s=0.1, requests=outstanding, outstanding=outstanding, timeout_s=0.05)
    )
    assert sum(len(times) for times in flow.failed.values()) == outstanding
    assert not flow.latency
    assert bytes(caller.call(b"next")) == b"next"


@pytest.mark.slow
def test_two_workers_share_the_work(running: Running, caller: Caller) -> None:
    """A task sleeps, and with each sleep its worker gives its core away of its own accord.

    The load takes longer than what a test before this one may have left to a worker.
    """
    workers = [psutil.Process(pid) for role, pid in running.processes.items() if role.startswith("worker")]
    before = [worker.num_ctx_switches().voluntary for worker in workers]
    caller.drive(Load(task_s=0.001, requests=300, outstanding=4))
    slept = [worker.num_ctx_switches().voluntary - since for worker, since in zip(workers, before, strict=True)]
    assert len(slept) == 2
    assert min(slept) >= 20, slept


@pytest.mark.slow
def test_its_processes_are_known_by_role(running: Running, request: pytest.FixtureRequest) -> None:
    roles = set(running.processes)
    assert roles >= {"worker 1", "worker 2"}
    assert "broker" in roles or request.node.callspec.params["running"] == "grpc"
    assert all(psutil.pid_exists(pid) for pid in running.processes.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_its_versions_are_known(name: str) -> None:
    versions = present(name).versions()
    assert versions
    assert all(version[0].isdigit() for version in versions.values()), versions


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_nothing_is_left_when_it_is_stopped(name: str) -> None:
    with present(name).start(Setup(workers=2)) as it:
        family = [psutil.Process(pid) for pid in it.processes.values()]
        family += [child for process in family for child in process.children(recursive=True)]
    assert len(family) >= 2
    assert not alive(family)


HARNESS = """
import msgspec, sys, time
from maitred.benchmarks.subjects.protocol import Setup
from maitred.benchmarks.subjects.registry import load
with load(sys.argv[1]).start(Setup(workers=1)) as it:
    print(msgspec.json.encode(it.processes).decode(), flush=True)
    time.sleep(600)
"""


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize("name", EACH)
def test_nothing_is_left_when_the_harness_is_killed(name: str, tmp_path: Path) -> None:
    present(name)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # who is killed removes no folder
    harness = subprocess.Popen([sys.executable, "-c", HARNESS, name], stdout=subprocess.PIPE, env=environment)
    assert harness.stdout is not None
    with harness, harness.stdout:
        pids = msgspec.json.decode(harness.stdout.readline(), type=dict[str, int])
        family = psutil.Process(harness.pid).children(recursive=True)
        harness.send_signal(signal.SIGKILL)
    assert {process.pid for process in family} >= set(pids.values())
    assert not eventually_alive(family)


@pytest.mark.parametrize("name", EACH[1:3])
def test_without_its_server_it_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = present(name)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(servers, "HIDDEN_FOLDERS", ())
    reason = subject.skip_reason()
    assert reason is not None
    assert f"apt-get install {name}-server" in reason
    assert "make peers" in reason


@pytest.mark.parametrize(("name", "module"), [("nats", "nats"), ("rabbitmq", "pika"), ("grpc", "grpc")])
def test_without_its_library_it_says_what_to_install(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    reason = subject_named(name).skip_reason()
    assert reason is not None
    assert "pip install 'maitred[bench]'" in reason


@pytest.mark.slow
def test_a_server_that_ends_is_told_with_its_last_words() -> None:
    server = Server(command=["/bin/sh", "-c", "echo the disk is full >&2; exit 3"], port=free_port())
    with house() as it, pytest.raises(StartError, match="the disk is full"):
        it.start_server("broker", server)


@pytest.mark.slow
def test_a_server_that_never_listens_is_ended_whoever_else_listens_on_its_port() -> None:
    with socket.create_server((LOOPBACK, 0)) as stranger, house() as it:
        server = Server(command=["/bin/sleep", "600"], port=stranger.getsockname()[1])
        with pytest.raises(StartError, match="It said nothing"):
            it.start_server("broker", server, timeout_s=0.1)
        family = [psutil.Process(pid) for pid in it.pids.values()]
    assert not alive(family)


def test_a_port_is_drawn_from_those_that_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_port()
    assert first in servers.PORTS
    with socket.create_server((LOOPBACK, first)):
        monkeypatch.setattr(servers, "PORTS", range(first, first + 1))
        monkeypatch.setattr(servers, "PORT_TRIES", 1)
        with pytest.raises(StartError, match="no loopback port"):
            free_port()


@pytest.mark.slow
def test_what_a_server_has_started_ends_with_it_and_its_folder_too() -> None:
    port = free_port()
    script = f"sleep 600 & pwd; exec {sys.executable} -m http.server --bind 127.0.0.1 {port}"
    with house() as it:
        it.start_server("broker", Server(command=["/bin/sh", "-c", script], port=port))
        family = psutil.Process(it.pids["broker"]).children(recursive=True)
        assert (it.directory / "broker.log").read_text().splitlines()[0] == str(it.directory)
    assert len(family) == 1
    assert not alive(family)
    assert not it.directory.exists()


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still do something; a zombie only waits for whoever has adopted it."""
    return [it for it in family if lives(it)]


def eventually_alive(family: list[psutil.Process]) -> list[psutil.Process]:
    end = time.monotonic() + GONE_WITHIN_S
    while (left := alive(family)) and time.monotonic() < end:
        psutil.wait_procs(left, timeout=0.05)
    return left
