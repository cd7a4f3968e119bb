"""A broker as a part of an application: it is there when the application goes on, and gone when that has ended."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
import trio
from user_shell import lives, wait_for

from maitred.client import AsyncClient, Client
from maitred.client.errors import Unavailable
from maitred.config import ConfigError
from maitred.launcher import Broker, StartError
from maitred.worker import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

HERE = Path(__file__).parent
SERVICE = f"{HERE / 'app.py'}:service"
APP = {"pools": {"app": {"adapter": SERVICE, "size": 2}}}
SLOW = {"pools": {"app": {"adapter": f"{HERE / 'embedded_slow.py'}:service", "size": 1}}}


def family() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


@pytest.fixture(autouse=True)
def nobody_is_left() -> object:
    before = family()
    yield
    wait_for(lambda: not [one for one in family() if one not in before and lives(one)])


def test_it_is_ready_with_all_its_workers_and_gone_at_the_end() -> None:
    with Broker(APP) as broker:
        started = family()
        assert len({worker["pid"] for worker in broker.client.workers()}) == 2
        assert broker.client.execute("app", "pid") in {one.pid for one in started}
    assert not [one for one in started if lives(one)]
    with pytest.raises(RuntimeError, match="not running"):
        _ = broker.endpoint


def test_brokers_of_two_applications_do_not_meet(tmp_path: Path) -> None:
    with Broker(APP) as one, Broker(APP) as other:
        assert {*one.endpoints, *one.workers}.isdisjoint({*other.endpoints, *other.workers})
        assert one.client.execute("app", "pid") != other.client.execute("app", "pid")


def test_what_the_configuration_says_is_so(tmp_path: Path) -> None:
    file = tmp_path / "maitred.toml"
    file.write_text(f"""
        [broker]
        http = "127.0.0.1:0"
        run_dir = "{tmp_path}/run"
        [pools.app]
        adapter = "{SERVICE}"
        size = 1
    """)
    with Broker(file, overrides=["pools.app.size=2"]) as broker:
        assert broker.endpoint == f"ipc://{tmp_path}/run/clients.ipc"
        assert len(broker.client.workers()) == 2
        assert broker.http.startswith("127.0.0.1:")
        assert broker.token


@pytest.mark.parametrize("run", [trio.run, asyncio.run], ids=["trio", "asyncio"])
def test_with_a_loop(run: object) -> None:
    async def main() -> float:
        async with Broker(APP) as broker, AsyncClient(broker.endpoint) as client:
            return await client.execute("app", "nap", {"seconds": 0})

    if run is trio.run:
        assert trio.run(main) == 0
    else:
        assert asyncio.run(main()) == 0


@pytest.mark.parametrize("kind", [None, SystemExit])
def test_what_runs_may_finish(kind: type[BaseException] | None) -> None:
    broker = Broker(APP).start()
    with Client(broker.endpoint) as client:
        future = client.submit("app", "nap", {"seconds": 0.5})
        wait_for(lambda: any(row["busy"] for row in broker.client.pools()))
        broker.__exit__(kind, None, None)
        assert future.result(5) == 0.5


def test_an_error_of_the_application_ends_it_at_once() -> None:
    broker = Broker(APP).start()
    with Client(broker.endpoint, connect_timeout=1) as client:
        future = client.submit("app", "nap", {"seconds": 60})
        wait_for(lambda: any(row["busy"] for row in broker.client.pools()))
        began = time.monotonic()
        broker.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        assert time.monotonic() - began < 5
        assert isinstance(future.exception(20), Unavailable)


async def test_who_is_cancelled_while_it_starts_leaves_nothing() -> None:
    began = time.monotonic()
    with trio.move_on_after(1.0) as scope:
        async with Broker(SLOW):
            pytest.fail("it was ready")
    assert scope.cancelled_caught
    assert time.monotonic() - began < 6


async def test_who_is_cancelled_while_it_drains_does_not_wait() -> None:
    broker = Broker(APP)
    await broker.__aenter__()
    with Client(broker.endpoint) as client:
        client.submit("app", "nap", {"seconds": 60})
        wait_for(lambda: any(row["busy"] for row in broker.client.pools()))
        began = time.monotonic()
        with trio.move_on_after(0.5) as scope:
            await broker.__aexit__(None, None, None)
    assert scope.cancelled_caught
    assert time.monotonic() - began < 6


def test_events_are_there_for_both_kinds_of_loop() -> None:
    async def first(broker: Broker) -> str:
        async with broker.events("worker.*", after=0) as events:
            return (await anext(events)).name

    with Broker(APP) as broker:
        kept = [event.name for event in broker.events("worker.*", after=0, follow=False)]
        assert kept
        assert trio.run(first, broker) == kept[0]


def test_it_says_why_it_did_not_start(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise LookupError('no model here')\n")
    began = time.monotonic()
    with pytest.raises(StartError, match=r"app 0 of 1 .*no model here"):
        Broker({"pools": {"app": {"adapter": f"{broken}:service", "size": 1}}}).start()
    assert time.monotonic() - began < 15


LOOPING = """
from maitred.launcher import Broker
from maitred.worker import Service

service = Service()

with Broker({"pools": {"app": {"adapter": service, "size": 1}}}) as broker:
    print("never")
"""

IMPORTING = """
from elsewhere import service
from maitred.launcher import Broker

with Broker({"pools": {"app": {"adapter": service, "size": 1}}}) as broker:
    print(broker.client.execute("app", "half", {"x": 42}))
"""

ELSEWHERE = """
from maitred.worker import Service

service = Service()

@service.command
def half(x: int) -> int:
    return x // 2
"""


def test_a_script_that_would_start_it_again_in_its_workers_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "looping.py").write_text(LOOPING)
    done = subprocess.run([sys.executable, "looping.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "StartError" in done.stderr.splitlines()[-1]
    assert 'put what starts it under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


def test_a_script_whose_service_is_elsewhere_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "importing.py").write_text(IMPORTING)
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    done = subprocess.run([sys.executable, "importing.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "21\n"), done.stderr


def test_it_does_not_wait_for_ever() -> None:
    with pytest.raises(StartError, match="not ready after 1 s: app 0 of 1"):
        Broker(SLOW, ready_timeout=1).start()


def test_a_port_that_is_taken_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with Broker(APP) as broker:
        taken = broker.endpoints[-1]
        with pytest.raises(StartError, match="did not start"):
            Broker(APP, overrides=[f"broker.clients={taken}"]).start()
    assert taken.removeprefix("tcp://") in capfd.readouterr().err


def test_all_that_is_wrong_is_said_before_anything_starts() -> None:
    wrong = {"broker": {"heartbeat": 1}, "pools": {"app": {"adapter": SERVICE, "size": "many"}}}
    with pytest.raises(ConfigError) as caught:
        Broker(wrong)
    text = str(caught.value)
    assert "the given configuration" in text
    assert "heartbeat" in text
    assert "pools.app.size" in text
    with pytest.raises(ValueError, match="top level"):
        Broker({"pools": {"app": {"adapter": Service()}}})


def test_one_worker_of_each_pool_may_be_enough() -> None:
    with Broker({"pools": {"app": {"adapter": SERVICE, "size": 4}}}, ready="one") as broker:
        assert broker.client.execute("app", "nap", {"seconds": 0}) == 0


def test_an_application_of_many_descriptors_may_start_it() -> None:
    """Waiting by `select` ends at descriptor 1023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with Broker(APP) as broker:
            assert broker.client.execute("app", "nap", {"seconds": 0}) == 0
    finally:
        for each in held:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thread_may_start_it_and_end() -> None:
    """The kernel's signal for orphans fires when the *thread* that started a process ends."""
    started: list[Broker] = []
    thread = threading.Thread(target=lambda: started.append(Broker(APP).start()))
    thread.start()
    thread.join()
    (broker,) = started
    assert broker.client.execute("app", "nap", {"seconds": 0.2}) == 0.2
    broker.close()
    broker.close()


def test_what_dies_is_started_again() -> None:
    with Broker(APP) as broker:
        for child in family():
            if "broker.process" in " ".join(child.cmdline()):
                child.kill()
        assert broker.client.execute("app", "nap", {"seconds": 0}, timeout=20, retries=3, on_saturated="wait") == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_an_application_that_was_killed(number: int, tmp_path: Path) -> None:
    script = tmp_path / "application.py"
    script.write_text(
        textwrap.dedent("""
            import time
            from maitred.launcher import Broker
            from maitred.worker import Service

            service = Service()

            @service.command
            def double(x: int) -> int:
                return 2 * x

            if __name__ == "__main__":
                with Broker({"pools": {"app": {"adapter": service, "size": 1}}}) as broker:
                    print(broker.client.execute("app", "double", {"x": 21}), broker.endpoint, flush=True)
                    time.sleep(60)
        """)
    )
    application = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    try:
        assert application.stdout is not None
        result, endpoint = application.stdout.readline().split()
        assert result == "42"
        started = psutil.Process(application.pid).children(recursive=True)
        assert len(started) >= 4  # it, the broker, the agent with its fork server and worker
        application.send_signal(number)
        application.wait(10)
        wait_for(lambda: not [one for one in started if lives(one)], 10)
        wait_for(lambda: not Path(endpoint.removeprefix("ipc://")).parent.exists())
    finally:
        application.kill()
        application.communicate()
