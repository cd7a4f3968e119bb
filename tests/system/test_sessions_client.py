"""Sessions as their callers meet them: client, broker, agent and workers are real processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from maitred.broker.core.settings import PoolSettings
from maitred.broker.settings import BrokerSettings
from maitred.client import AsyncClient, Client, Session
from maitred.client.errors import (
    MaitredError,
    PoolSaturated,
    RequestCancelled,
    SessionLost,
    SessionNotFound,
    SessionPoolMismatch,
)
from maitred.launcher.processes import ChildProcess, start_broker
from maitred.testing import House, Pool, running

APP = f"{Path(__file__).with_name('app.py')}:service"
WITHIN_S = 5.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running(Pool(APP, size=3), other=Pool(APP)) as house:
        yield house


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    with Client(house.clients) as client:
        yield client


def wait(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(0.002)


def pid(session: Session) -> int:
    return session.execute("pid")


def test_all_calls_of_a_session_run_on_one_worker(house: House, client: Client) -> None:
    with client.session("general") as session:
        pids = {pid(session) for _ in range(20)} | {
            future.result() for future in [session.submit("pid") for _ in range(20)]
        }
        pids |= set(session.map("pid", [{}] * 20)) | {client.execute(None, "pid", session=session.id)}
        assert len(pids) == 1
        (row,) = client.sessions()
        assert (row["id"], row["pool"], {row["pid"]}) == (session.id, "general", pids)
        assert (row["epoch"], session.epoch) == (1, 1)
    assert client.sessions() == []


def test_sessions_are_spread_over_the_workers(client: Client) -> None:
    sessions = [client.session("general") for _ in range(6)]
    pids = [pid(session) for session in sessions]
    assert sorted(pids.count(one) for one in set(pids)) == [2, 2, 2]
    for session in sessions:
        session.close()


def test_another_client_attaches(house: House, client: Client) -> None:
    with client.session("general", metadata={"user": "ada"}) as session, Client(house.clients) as other:
        told: list[MaitredError] = []
        with other.session(id=session.id, on_lost=told.append) as attached:
            assert pid(attached) == pid(session)
            assert attached.metadata == session.metadata
            with pytest.raises(SessionPoolMismatch):
                other.execute("other", "pid", session=attached.id)
            session.close()
            wait(lambda: told)
            assert isinstance(told[0], SessionNotFound)
            assert told[0].reason == "closed"
            with pytest.raises(SessionNotFound):
                attached.execute("pid")


def test_it_ends_with_its_time_to_live_and_not_while_it_is_kept_alive(client: Client) -> None:
    told: list[MaitredError] = []
    with client.session("general", ttl=0.3, keep_alive=True) as kept:
        with client.session("general", ttl=0.3, on_lost=told.append) as session:
            wait(lambda: told)
            assert isinstance(told[0], SessionNotFound)
            assert told[0].reason == "expired"
            with pytest.raises(SessionNotFound):
                session.execute("pid")
        assert kept.lost is None
        pid(kept)


def test_a_worker_that_is_busy_makes_callers_wait_or_go_elsewhere_or_refuses_them(client: Client) -> None:
    with client.session("general") as session:
        napping = session.submit("nap", {"seconds": 0.3})
        wait(lambda: any(row["running"] for row in client.sessions()))
        with pytest.raises(PoolSaturated) as caught:
            session.execute("pid", affinity="fail_fast")
        assert caught.value.reason == "session_busy"
        elsewhere = session.execute("pid", affinity="prefer")
        assert session.elsewhere
        assert not napping.done()
        assert pid(session) != elsewhere
        assert not session.elsewhere
        assert napping.done()


def test_closing_ends_what_is_under_way(client: Client) -> None:
    with client.session("general") as session:
        futures = [session.submit("nap", {"seconds": WITHIN_S}) for _ in range(3)]
        wait(lambda: any(row["running"] for row in client.sessions()))
    for future in futures:
        assert isinstance(future.exception(WITHIN_S), RequestCancelled | SessionNotFound)


def test_the_death_of_its_worker_is_told_at_once_with_the_certificate(client: Client) -> None:
    told: list[tuple[float, MaitredError]] = []
    with client.session("general", on_lost=lambda error: told.append((time.monotonic(), error))) as session:
        killed_at = time.monotonic()
        os.kill(pid(session), signal.SIGKILL)
        wait(lambda: told)
        at, error = told[0]
        assert isinstance(error, SessionLost)
        assert (error.session, error.reason, error.certificate["signal"]) == (session.id, "lost", "SIGKILL")
        assert at - killed_at < 0.25
        with pytest.raises(SessionLost) as caught:
            session.execute("pid")
        assert caught.value.certificate["signal"] == "SIGKILL"
        with client.session("general") as another:
            assert pid(another)
    assert len(told) == 1


def test_threads_share_a_session(client: Client) -> None:
    pids: list[int] = []
    with client.session("general") as session:
        threads = [threading.Thread(target=lambda: pids.append(pid(session))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WITHIN_S)
    assert len(pids) == 8
    assert len(set(pids)) == 1


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_tasks_share_a_session(house: House, backend: str) -> None:
    async def scene() -> None:
        found: list[int] = []

        async def ask(session: Any) -> None:
            found.append(await session.execute("pid"))

        async with AsyncClient(house.clients) as client, client.session("general", ttl=60, keep_alive=True) as session:
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(ask, session)
            assert len(found) == 20
            assert len(set(found)) == 1
            told: list[MaitredError] = []
            async with client.session("general", on_lost=told.append) as doomed:
                os.kill(await doomed.execute("pid"), signal.SIGKILL)
                with anyio.fail_after(WITHIN_S):
                    while not told:  # noqa: ASYNC110 - it comes when it comes
                        await anyio.sleep(0.002)
                with pytest.raises(SessionLost):
                    await doomed.execute("pid")

    anyio.run(scene, backend=backend)


# --- a broker that is killed ---


def start_again(house: House) -> ChildProcess:
    """Kill the broker, and start another one at the same addresses."""
    house.broker.kill()
    house.broker.wait()
    process, _ = start_broker(
        BrokerSettings(
            clients=house.clients_tcp,
            workers=house.workers_tcp,
            pools=[PoolSettings("general")],
            routing=[("*", "general")],
            run_dir=str(Path(house.clients.removeprefix("ipc://")).parent),
            parent=os.getpid(),
            log_level="warning",
        )
    )
    return process


def test_sessions_outlive_their_broker_and_their_end_is_told_after_it() -> None:
    told: list[MaitredError] = []
    with running(Pool(APP, size=2)) as house, Client(house.clients) as client:
        sessions = [client.session("general", ttl=60, on_lost=told.append) for _ in range(20)]
        pids = [pid(session) for session in sessions]
        house.broker = start_again(house)
        assert [pid(session) for session in sessions] == pids
        assert {session.epoch for session in sessions} == {1}
        assert not told
        wait(lambda: len(client.sessions()) == 20)
        os.kill(pids[0], signal.SIGKILL)
        wait(lambda: len(told) == pids.count(pids[0]))
        assert {type(error) for error in told} == {SessionLost}
        sessions[0].close()
