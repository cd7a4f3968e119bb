"""The peers that are Python libraries: what each gives back, that workers share the work, and that nothing outlives it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from maitred.benchmarks.method.load import Load
from maitred.benchmarks.subjects import hosted, servers
from maitred.benchmarks.subjects.hosted import Hosted, HostedError
from maitred.benchmarks.subjects.hosted_process import Start
from maitred.benchmarks.subjects.process_pool import start as start_pool
from maitred.benchmarks.subjects.protocol import Caller, Payload, Running, Setup, StartError
from maitred.benchmarks.subjects.registry import load as subject_named

NAMES = ["celery", "ray", "dask", "ipyparallel", "process-pool"]

LONG = {"ray", "dask", "ipyparallel"}
EACH = [pytest.param(name, marks=[pytest.mark.soak] if name in LONG else []) for name in NAMES]
"""Those that take ten seconds to start are looked at in the long runs only."""

MODULES = {"celery": "celery", "ray": "ray", "dask": "distributed", "ipyparallel": "ipyparallel"}

GONE_WITHIN_S = 20.0
"""After the harness was killed each peer ends by itself, or is ended after 10 s."""


def present(name: str) -> Hosted:
    subject = subject_named(name)
    assert isinstance(subject, Hosted)
    if reason := subject.skip_reason():
        pytest.skip(reason)
    return subject


def family_of(pids: Mapping[str, int]) -> list[psutil.Process]:
    found = [psutil.Process(pid) for pid in pids.values()]
    return list({*found, *(child for process in found for child in process.children(recursive=True))})


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Who has not ended; an exit code that nobody has asked for is no process."""
    found: list[psutil.Process] = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture(scope="module", params=EACH)
def running(request: pytest.FixtureRequest) -> Generator[Running]:
    """Each peer is started once; at its end, whatever it had started has to be gone, and its folder too."""
    with tempfile.TemporaryDirectory(prefix="b-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)
        with present(request.param).start(Setup(workers=2)) as it:
            yield it
            family = family_of(it.processes)
        assert not alive(family)
        assert os.listdir(folder) == []


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Hosted]:
    """What makes a peer of a function in this file."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return lambda function: Hosted("fake", "", f"{Path(__file__).stem}:{function}")


@pytest.fixture
def caller(running: Running) -> Generator[Caller]:
    with contextlib.closing(running.caller()) as it:
        yield it


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 128, 64 * 1024])
def test_a_payload_comes_back(caller: Caller, size: int) -> None:
    payload = bytes(index % 251 for index in range(size))
    assert caller.call(payload) == payload


@pytest.mark.slow
def test_an_array_comes_back(caller: Caller, request: pytest.FixtureRequest) -> None:
    numpy = pytest.importorskip("numpy")
    if not present(request.node.callspec.params["running"]).carries_arrays:
        pytest.skip("it carries none")
    array = numpy.arange(1000.0)
    assert (caller.call(array) == array).all()


@pytest.mark.slow
@pytest.mark.parametrize("outstanding", [1, 16])
def test_each_request_is_answered_once(caller: Caller, outstanding: int) -> None:
    flow = caller.drive(Load(payload=b"many", requests=60, outstanding=outstanding))
    assert len(flow.latency) == 60
    assert not flow.failed
    assert caller.call(b"another") == b"another"


@pytest.mark.slow
def test_an_open_loop_counts_its_lag(caller: Caller) -> None:
    flow = caller.drive(Load(requests=20, outstanding=20, rate_per_s=100, spacing="constant"))
    assert len(flow.latency) == len(flow.lag) == 20
    assert flow.took_s >= 19 / 100


@pytest.mark.slow
def test_a_task_takes_its_time(caller: Caller) -> None:
    began = time.perf_counter()
    assert caller.call(b"slow", 0.05) == b"slow"
    assert time.perf_counter() - began >= 0.05
    flow = caller.drive(Load(payload=b"slow", task_s=0.05, requests=2, outstanding=1))
    assert min(flow.latency) >= 0.05e9


@pytest.mark.slow
def test_two_workers_share_the_work(caller: Caller) -> None:
    flow = caller.drive(Load(task_s=0.1, requests=4, outstanding=4))
    assert len(flow.latency) == 4
    assert flow.took_s < 4 * 0.1


@pytest.mark.slow
def test_callers_are_independent(running: Running) -> None:
    with contextlib.closing(running.caller()) as one:
        with contextlib.closing(running.caller()) as other:
            assert other.call(b"other") == b"other"
        assert one.call(b"one") == b"one"


@pytest.mark.slow
def test_its_processes_are_known_by_role(running: Running) -> None:
    assert set(running.processes) >= {"caller", "worker 1", "worker 2"}
    assert len(set(running.processes.values())) == len(running.processes)
    assert all(psutil.pid_exists(pid) for pid in running.processes.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_its_versions_are_known(name: str) -> None:
    versions = present(name).versions()
    assert versions
    assert all(version[0].isdigit() for version in versions.values()), versions


@pytest.mark.parametrize(("name", "module"), [*MODULES.items(), ("celery", "redis")])
def test_without_its_library_it_says_what_to_install(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    reason = subject_named(name).skip_reason()
    assert reason is not None
    assert reason.startswith(module)
    assert "pip install 'maitred[bench]'" in reason


def test_without_redis_celery_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = present("celery")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(servers, "HIDDEN_FOLDERS", ())
    assert "apt-get install redis-server" in str(subject.skip_reason())


@pytest.mark.slow
def test_a_subject_is_named_without_its_library() -> None:
    libraries = {*MODULES.values(), "redis"}
    command = f"""
import sys
from maitred.benchmarks.subjects.registry import load
subjects = [load(name) for name in {NAMES}]
sys.exit(bool({libraries} & set(sys.modules)) or not all(it.description for it in subjects))
"""
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


HARNESS = """
import msgspec, sys, time
from maitred.benchmarks.subjects.hosted import Hosted
from maitred.benchmarks.subjects.protocol import Setup
with Hosted("harnessed", "", sys.argv[1]).start(Setup(workers=1)) as it:
    print(msgspec.json.encode(it.processes).decode(), flush=True)
    time.sleep(600)
"""


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize("name", [*EACH, "lingering"])
def test_nothing_is_left_when_the_harness_is_killed(name: str, fake: Callable[[str], Hosted]) -> None:
    subject = fake(name) if name == "lingering" else present(name)
    with tempfile.TemporaryDirectory(prefix="b-") as folder:  # who is killed removes none
        environment = {**os.environ, "TMPDIR": folder}
        command = [sys.executable, "-c", HARNESS, subject.start_it]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as harness:
            assert harness.stdout is not None
            assert harness.stderr is not None
            pids = msgspec.json.decode(harness.stdout.readline(), type=dict[str, int])
            family = family_of(pids)
            harness.kill()
            assert harness.stderr.read() == b""
        end = time.monotonic() + GONE_WITHIN_S
        while (left := alive(family)) and time.monotonic() < end:
            psutil.wait_procs(left, timeout=0.1)
        assert not left


class Fake:
    """A peer, to see what becomes of what it does: given by name to a process of its own."""

    processes: Mapping[str, int] = {}

    def caller(self) -> Fake:
        return self

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        return payload

    def close(self) -> None:
        return None


class Failing(Fake):
    """Raises what cannot be pickled."""

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        raise _odd_error("the queue is full")


class Silent(Fake):
    """Never comes to the end of a load."""

    def drive(self, load: Load) -> None:
        time.sleep(600)


class Dying(Fake):
    """Takes its process along."""

    def call(self, payload: Payload, task_s: float = 0.0) -> Payload:
        os._exit(1)


def _odd_error(text: str) -> Exception:
    return type("OddError", (Exception,), {"lock": open})(text)


def starting(fake: Callable[[], Any]) -> Start:
    @contextlib.contextmanager
    def start(setup: Setup, directory: str) -> Generator[Any]:
        print("chatter")
        yield fake()

    return start


failing, silent, dying = starting(Failing), starting(Silent), starting(Dying)


@contextlib.contextmanager
def refusing(setup: Setup, directory: str) -> Generator[Running]:
    """Does not start, for a reason behind the reason."""
    try:
        raise LookupError("no room")
    except LookupError as error:
        raise RuntimeError("failed") from error
    yield


@contextlib.contextmanager
def lingering(setup: Setup, directory: str) -> Generator[Running]:
    """Leaves a process behind, and a file."""
    with start_pool(setup, directory) as pool:
        subprocess.Popen(["/bin/sh", "-c", "/bin/sleep 600 & exec /bin/sleep 600"])
        Path(directory, "rubbish").touch()
        yield pool


@pytest.mark.slow
def test_what_a_peer_raises_is_told_by_name_and_text(
    fake: Callable[[str], Hosted], capfd: pytest.CaptureFixture[str]
) -> None:
    with fake("failing").start(Setup()) as it, contextlib.closing(it.caller()) as caller:
        for _ in range(2):
            with pytest.raises(HostedError, match="OddError: the queue is full"):
                caller.call(b"")
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_peer_that_never_answers_ends_the_load(
    fake: Callable[[str], Hosted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosted, "MARGIN_S", 0.1)
    with fake("silent").start(Setup()) as it, contextlib.closing(it.caller()) as caller:
        with pytest.raises(HostedError, match="no end of the load"):
            caller.drive(Load(requests=1, timeout_s=0.01))
        with pytest.raises(HostedError, match="closed"):
            caller.call(b"")


@pytest.mark.slow
def test_a_peer_that_dies_is_told(fake: Callable[[str], Hosted]) -> None:
    with (
        fake("dying").start(Setup()) as it,
        contextlib.closing(it.caller()) as caller,
        pytest.raises(HostedError, match="has ended"),
    ):
        caller.call(b"")


@pytest.mark.slow
def test_why_a_peer_did_not_start_is_told(fake: Callable[[str], Hosted]) -> None:
    with pytest.raises(StartError, match="fake did not start: LookupError: no room"), fake("refusing").start(Setup()):
        pass


@pytest.mark.slow
def test_what_a_peer_leaves_behind_is_ended(fake: Callable[[str], Hosted]) -> None:
    with fake("lingering").start(Setup()) as it:
        family = family_of(it.processes)
    assert len(family) >= 4  # the caller, a worker, and two that sleep
    assert not alive(family)
