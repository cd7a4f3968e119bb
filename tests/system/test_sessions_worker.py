"""Sessions in real processes, from the worker's side: its hooks, its state, and what becomes of both when it goes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from maitred.broker.core.settings import PoolSettings
from maitred.broker.settings import BrokerSettings
from maitred.client.errors import SessionLost, SessionNotFound, Unavailable
from maitred.launcher.processes import start_broker
from maitred.testing import House, Pool, running

APP = f"{Path(__file__).with_name('sessions_app.py')}:"

pytestmark = pytest.mark.slow


def until(condition: Callable[[], Any], patience_s: float = 10.0) -> Any:
    """Wait for something to become true."""
    began = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() - began < patience_s, "it never came true"
        time.sleep(0.005)
    return found


def lines(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


@pytest.mark.parametrize(
    ("service", "command", "concurrency"), [("kept", "add", 1), ("asynchronous", "add_slowly", 4)], ids=str
)
def test_every_counter_is_exact_and_every_session_on_one_process(service: str, command: str, concurrency: int) -> None:
    with running(Pool(f"{APP}{service}", size=2, concurrency=concurrency)) as house:
        sessions = [house.client.session("general", ttl=60) for _ in range(12)]
        futures = [[session.submit(command, {"by": n}) for n in range(1, 21)] for session in sessions]
        for each in futures:
            results = [future.result(20) for future in each]
            assert [n for n, _, _ in results] == [n * (n + 1) // 2 for n in range(1, 21)]
            assert len({pid for _, pid, _ in results}) == 1
        assert len({each[0].result()[1] for each in futures}) == 2


def test_a_process_that_is_killed_and_had_snapshots(tmp_path: Path) -> None:
    with running(Pool(f"{APP}kept", size=2)) as house:
        journals = [tmp_path / str(n) for n in range(10)]
        sessions = [house.client.session("general", ttl=60, metadata={"journal": str(each)}) for each in journals]
        pids = [session.execute("add", {"by": 5})[1] for session in sessions]
        time.sleep(0.05)  # the state follows the answer
        os.kill(pids[0], signal.SIGKILL)
        for session, pid, journal in zip(sessions, pids, journals, strict=True):
            n, found, epoch = until(lambda session=session: execute(session))
            moved = pid == pids[0]
            assert (n, epoch) == (6, 2 if moved else 1)
            assert (found != pid) == moved
            assert lines(journal) == (["opened", "opened", "restored 5"] if moved else ["opened"])


def execute(session: Any) -> Any:
    return session.execute("add", timeout=10)


def test_a_process_that_is_killed_and_had_none(tmp_path: Path) -> None:
    with running(Pool(f"{APP}fleeting", size=2)) as house:
        session = house.client.session("general", ttl=60)
        os.kill(session.execute("add")[1], signal.SIGKILL)
        with pytest.raises(SessionLost):
            until(lambda: execute(session) and False)


def test_a_process_that_has_to_go_takes_its_leave(tmp_path: Path) -> None:
    """Its state leaves before it, and its hook runs; nobody is told of a loss."""
    with running(Pool(f"{APP}kept", size=2)) as house:
        journal = tmp_path / "journal"
        session = house.client.session("general", ttl=60, metadata={"journal": str(journal)})
        _, pid, _ = session.execute("add", {"by": 3})
        os.kill(pid, signal.SIGTERM)
        until(lambda: not psutil.pid_exists(pid))
        n, found, epoch = execute(session)
        assert (n, epoch) == (4, 2)
        assert found != pid
        assert sorted(lines(journal)) == ["closed drain 3", "opened", "opened", "restored 3"]


def test_an_agent_that_is_told_to_end_waits_for_the_sessions_of_its_workers() -> None:
    with running(Pool(f"{APP}fleeting", size=2)) as house:
        agent = house.agents["general"]
        with house.client.session("general", ttl=60) as session:
            _, pid, _ = session.execute("add")
            agent.terminate()
            until(lambda: len(house.client.workers()) == 1)  # the one without a session is not missed
            waiting = house.client.submit("general", "plain")
            for count in (2, 3, 4):
                n, found, epoch = execute(session)
                assert (n, found, epoch) == (count, pid, 1)
            assert not waiting.done()  # nothing new is given to who goes
            assert agent.exit_code is None
            waiting.cancel()
        assert agent.wait(5) == 0


def test_its_time_to_live_ends_it_and_gives_its_memory_back(tmp_path: Path) -> None:
    size = 100 << 20
    with running(Pool(f"{APP}kept")) as house:
        journal = tmp_path / "journal"
        pid = house.client.execute("general", "plain")
        before = psutil.Process(pid).memory_info().rss
        metadata = {"journal": str(journal), "bytes": size}
        session = house.client.session("general", ttl=0.3, metadata=metadata)
        session.execute("add")
        until(lambda: "closed expired 1" in lines(journal), 2.0)
        with pytest.raises(SessionNotFound):
            execute(session)
        assert psutil.Process(pid).memory_info().rss - before < size / 2


def test_one_that_cannot_be_opened(tmp_path: Path) -> None:
    with running(Pool(f"{APP}kept")) as house, pytest.raises((SessionLost, SessionNotFound), match="no room here"):
        execute(house.client.session("general", ttl=60, metadata={"raises": True}))


def test_a_broker_that_is_killed_learns_them_back(tmp_path: Path) -> None:
    """And what is known of their state: the process that has them is killed after it."""
    settings = BrokerSettings(
        clients="tcp://127.0.0.1:0",
        workers="tcp://127.0.0.1:0",
        pools=[PoolSettings("general")],
        routing=[("*", "general")],
        run_dir=str(tmp_path),
        parent=os.getpid(),
        log_level="error",
    )
    with running(Pool(f"{APP}kept", size=2)) as house:
        settings = msgspec.structs.replace(settings, run_dir=str(Path(house.clients.removeprefix("ipc://")).parent))
        sessions = [house.client.session("general", ttl=60) for _ in range(10)]
        pids = [execute(session)[1] for session in sessions]
        house.broker.kill()
        house.broker.wait()
        house.broker, _ = start_broker(settings)
        for session, pid in zip(sessions, pids, strict=True):
            assert until(lambda session=session: patient(session)) == [2, pid, 1]
        until(lambda: all(row["snapshot_bytes"] for row in house.client.sessions()))
        until(lambda: house.client.pools()[0]["agents"])  # who says which of its requests the dead one had begun
        os.kill(pids[0], signal.SIGKILL)
        for session, pid in zip(sessions, pids, strict=True):
            n, _, epoch = until(lambda session=session: patient(session))
            assert (n, epoch) == (3, 2 if pid == pids[0] else 1)


def patient(session: Any) -> Any:
    """Call it, or wait for a broker."""
    try:
        return execute(session)
    except Unavailable:
        return None


def test_a_model_is_trained_on_and_moves() -> None:
    pytest.importorskip("sklearn")
    with running(neural=Pool("maitred.worker.adapters.neural:service", size=2, timeout_s=60)) as house:
        session = house.client.session("neural", ttl=60)
        args = {"epochs": 2, "data": "iris", "learning_rate": 0.02}
        assert session.execute("train_model", args)["epochs_in_all"] == 2
        session.execute("train_model", {"epochs": 10})
        owner = owner_of(house, session)
        before = session.execute("predict", {"data": "iris"})
        os.kill(owner, signal.SIGTERM)  # the state after the last request leaves first, though its second is not over
        until(lambda: not psutil.pid_exists(owner))
        assert session.execute("predict", {"data": "iris"}, timeout=30) == before
        assert session.execute("train_model", {"epochs": 1}, timeout=30)["epochs_in_all"] == 13
        assert owner_of(house, session) != owner


def owner_of(house: House, session: Any) -> int:
    (row,) = [each for each in house.client.sessions() if each["id"] == session.id]
    return row["pid"]
