"""The agent with real workers, against a broker in the test's hands."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from agent_peers import Broker, agent, gone

from maitred.protocol import messages
from maitred.protocol.messages import Degraded, Died, Dismiss, Fence, Recycle, Report, Resize, Retire, Spawned

pytestmark = pytest.mark.slow

ADAPTER = """
import os, time
from maitred.worker import Service
service = Service()

@service.command
def ping() -> str:
    return "pong"
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    it = Broker(tmp_path)
    yield it
    it.close()


@pytest.fixture
def adapter(tmp_path: Path) -> str:
    (tmp_path / "adapter.py").write_text(ADAPTER)
    return f"{tmp_path}/adapter.py:service"


def test_it_says_what_it_keeps_and_what_it_may_be_asked_for(broker: Broker, adapter: str) -> None:
    with agent(broker, adapter, 1, least=1, most=4, memory_limit_bytes=1 << 30) as process:
        broker.ready(1)
    (said,) = broker.all(messages.Agent)
    assert (said.pid, said.size, said.least, said.most) == (process.pid, 1, 1, 4)
    assert said.memory in ("cgroup2", "cgroup1", "polling")


def test_it_grows_and_shrinks_as_it_is_told(broker: Broker, adapter: str) -> None:
    with agent(broker, adapter, 1, least=1, most=3):
        broker.ready(1)
        broker.order(Resize(3))
        first, second, _ = broker.ready(3)
        broker.order(Resize(2))
        broker.order(Dismiss(second, "drain"))
        death = broker.until(lambda: broker.died(second))
        assert (death.certificate.cause, death.certificate.exit_code) == ("drain", 0)
        os.kill(broker.registered[first], signal.SIGKILL)
        broker.ready(2)
        broker.until(lambda: len(broker.all(Spawned)) == 4)
        broker.restart()
        broker.until(lambda: len(broker.all(messages.Agent)) == 2)
        assert broker.all(messages.Agent)[1].size == 2


def test_workers_that_are_starting_are_ended_when_they_are_too_many(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(f"{ADAPTER}\n@service.startup\ndef load():\n    time.sleep(60)\n")
    with agent(broker, f"{tmp_path}/slow.py:service", 3):
        broker.until(lambda: len(broker.all(Spawned)) == 3)
        broker.order(Resize(1))
        broker.until(lambda: len(broker.all(Died)) == 2)
        assert [death.certificate.cause for death in broker.all(Died)] == ["drain"] * 2
        oldest, *newer = [spawned.worker for spawned in broker.all(Spawned)]
        assert {death.worker for death in broker.all(Died)} == set(newer)
        assert broker.died(oldest) is None
        assert not broker.registered


def test_one_that_does_not_end_in_its_time_is_killed(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "deaf.py").write_text(
        f"{ADAPTER}\nimport signal, threading\n"
        "@service.startup\ndef load():\n    threading.Thread(target=time.sleep, args=(0,)).start()\n"
    )
    with agent(broker, f"{tmp_path}/deaf.py:service", 1, drain_timeout_s=0.5):
        (worker,) = broker.ready(1)
        os.kill(broker.registered[worker], signal.SIGSTOP)  # hears of no SIGTERM
        broker.order(Dismiss(worker, "recycle"))
        death = broker.until(lambda: broker.died(worker))
        assert (death.certificate.cause, death.certificate.signal) == ("recycle", "SIGKILL")
        broker.ready(1)


def test_at_sigterm_a_worker_ends_when_the_broker_says_that_it_holds_nothing_more(broker: Broker, adapter: str) -> None:
    with agent(broker, adapter, 2) as process:
        first, second = broker.ready(2)
        process.terminate()
        broker.until(lambda: len(broker.all(Retire)) == 2)
        assert {retire.worker for retire in broker.all(Retire)} == {first, second}
        assert {retire.cause for retire in broker.all(Retire)} == {"drain"}
        broker.order(Resize(3))  # nothing is started any more
        broker.order(Dismiss(first, "drain"))
        death = broker.until(lambda: broker.died(first))
        assert (death.certificate.cause, death.certificate.exit_code) == ("drain", 0)
        assert (broker.died(second), process.exit_code) == (None, None)
        broker.order(Dismiss(second, "drain"))
        broker.until(lambda: broker.died(second))
        broker.until(lambda: process.exit_code == 0)
        assert len(broker.all(Spawned)) == 2


def test_it_does_not_wait_longer_than_its_time(broker: Broker, adapter: str) -> None:
    with agent(broker, adapter, 1, drain_timeout_s=0.7) as process:
        (worker,) = broker.ready(1)
        began = time.monotonic()
        process.terminate()
        death = broker.until(lambda: broker.died(worker))
        assert (death.certificate.cause, death.certificate.exit_code) == ("drain", 0)
        assert time.monotonic() - began >= 0.7
        broker.until(lambda: process.exit_code == 0)


@pytest.mark.parametrize("how", ["ends first", "is away"])
def test_nor_for_a_broker_that_is_gone(broker: Broker, adapter: str, how: str) -> None:
    with agent(broker, adapter, 2, broker_first=how == "ends first") as process:
        broker.ready(2)
        if how == "is away":
            broker.close()
            time.sleep(1.0)  # the end of a connection is seen by a thread of libzmq
        process.terminate()
        assert process.wait(8) == 0  # well within its drain_timeout


def test_recycling_has_another_one_ready_first_one_after_another(broker: Broker, adapter: str) -> None:
    with agent(broker, adapter, 2):
        old = broker.ready(2)
        broker.order(Recycle(old, "operator"))
        for number in (1, 2):
            broker.until(lambda: len(broker.all(Retire)) == number)  # noqa: B023
            retire = broker.all(Retire)[-1]
            assert retire == Retire(retire.worker, "operator")
            assert len(broker.let_in()) == 3
            broker.order(Dismiss(retire.worker, retire.cause))
            death = broker.until(lambda: broker.died(retire.worker))  # noqa: B023
            assert (death.certificate.cause, death.certificate.exit_code) == ("operator", 0)
        assert {retire.worker for retire in broker.all(Retire)} == set(old)
        assert len(broker.let_in()) == 2


def test_who_is_old_is_replaced_and_a_broker_that_restarts_hears_of_it_again(broker: Broker, adapter: str) -> None:
    with agent(broker, adapter, 1, recycle_age_s=0.5):
        broker.until(lambda: broker.all(Retire))
        retire = broker.all(Retire)[0]
        assert retire.cause == "recycle"
        assert "recycle_age" in retire.note
        broker.restart()
        broker.until(lambda: len(broker.all(Retire)) >= 2)
        assert broker.all(Retire)[1] == retire


def test_a_spare_one_waits_and_takes_a_dead_ones_place(broker: Broker, adapter: str) -> None:
    with agent(broker, adapter, 1, warm_spares=1) as process:
        (worker,) = broker.ready(1)
        report = broker.until(lambda: [s for r in broker.all(Report) for s in r.workers if s.spare and s.rss])
        spare = report[0].worker
        assert spare not in broker.registered
        assert sorted(spawned.worker for spawned in broker.all(Spawned)) == sorted([worker, spare])
        broker.until(lambda: _loaded_spares(process.pid) == 2)
        os.kill(broker.registered[worker], signal.SIGKILL)
        broker.until(lambda: spare in broker.registered)
        broker.until(lambda: len(broker.all(Spawned)) >= 3)
        assert broker.all(Spawned)[2].worker == spare
        broker.until(lambda: {s.worker for r in broker.all(Report) for s in r.workers if s.spare} > {spare})


def _loaded_spares(agent_pid: int) -> int:
    """Workers that have opened their sockets: more cannot be seen from outside."""
    family = psutil.Process(agent_pid).children(recursive=True)
    return sum(os.getsid(process.pid) == process.pid and process.num_threads() > 1 for process in family)


def test_what_is_seen_of_a_worker_counts_its_children_and_is_said_when_it_changes(
    broker: Broker, tmp_path: Path
) -> None:
    (tmp_path / "parent.py").write_text(
        f"{ADAPTER}\nimport subprocess, sys\n@service.startup\ndef load():\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; x = b\"x\" * 150_000_000; time.sleep(600)'])\n"
    )
    with agent(broker, f"{tmp_path}/parent.py:service", 1):
        (worker,) = broker.ready(1)
        broker.until(lambda: any(s.worker == worker and s.rss > 150e6 for r in broker.all(Report) for s in r.workers))


def test_a_worker_over_its_memory_limit_is_killed_with_cause_and_figures(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "hungry.py").write_text(
        f"{ADAPTER}\nimport threading\nhoard = []\n"
        "def eat():\n    while True:\n        hoard.append(b'x' * 1_000_000)\n        time.sleep(0.005)\n"
        "@service.startup\ndef load():\n    threading.Timer(0.5, eat).start()\n"
    )
    limit = 200_000_000
    with agent(broker, f"{tmp_path}/hungry.py:service", 1, memory_limit_bytes=limit):
        (worker,) = broker.ready(1)
        certificate = broker.until(lambda: broker.died(worker)).certificate
        assert (certificate.cause, certificate.signal, certificate.memory_limit) == ("oom", "SIGKILL", limit)
        assert certificate.memory >= 0.9 * limit


class TestCrashLoops:
    def test_an_import_that_fails_is_told_with_exception_and_file(self, broker: Broker, tmp_path: Path) -> None:
        (tmp_path / "broken.py").write_text("import os\nimport no_such_module_at_all\n")
        with agent(broker, f"{tmp_path}/broken.py:service", 1, restart_backoff_s=0.01):
            broker.until(lambda: broker.all(Degraded))
        reason = broker.all(Degraded)[0].reason
        assert "ModuleNotFoundError: No module named 'no_such_module_at_all'" in reason
        assert f"{tmp_path}/broken.py, line 2" in reason

    def test_a_spent_budget_stops_the_storm_and_the_same_size_again_tries_at_once(
        self, broker: Broker, tmp_path: Path
    ) -> None:
        (tmp_path / "broken.py").write_text("raise RuntimeError('not today')\n")
        settings = {"restart_backoff_s": 0.01, "restart_backoff_max_s": 600.0, "restart_budget": 6}
        with agent(broker, f"{tmp_path}/broken.py:service", 2, **settings):
            broker.until(lambda: any("6 workers died within 60 s" in told.reason for told in broker.all(Degraded)))
            deaths = len(broker.all(Died))
            assert deaths in (6, 7)  # one may have been under way
            (tmp_path / "broken.py").write_text(ADAPTER)
            broker.order(Resize(2))
            broker.ready(2)
            broker.until(lambda: broker.all(Degraded)[-1].reason == "")

    def test_a_fork_server_that_dies_of_the_import_is_no_storm(self, broker: Broker, tmp_path: Path) -> None:
        (tmp_path / "fatal.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
        with agent(broker, f"{tmp_path}/fatal.py:service", 1, restart_backoff_s=0.05):
            reason = broker.until(lambda: broker.all(Degraded))[0].reason
        assert "fork server" in reason


class TestForkServer:
    def test_when_it_is_killed_its_workers_are_replaced_at_once(self, broker: Broker, adapter: str) -> None:
        with agent(broker, adapter, 2):
            for count in (1, 2, 3):
                old = broker.ready(2)
                server = psutil.Process(broker.registered[old[0]]).ppid()
                os.kill(server, signal.SIGKILL)
                broker.until(lambda: all(broker.died(worker) for worker in old))  # noqa: B023
                certificate = broker.until(lambda: broker.died(old[0])).certificate  # noqa: B023
                assert (certificate.cause, certificate.signal) == ("signal", "SIGKILL")
                assert "fork server" in certificate.note
                broker.ready(2)
                assert len(broker.all(Died)) == 2 * count

    def test_new_code_comes_with_a_new_one(self, broker: Broker, adapter: str, tmp_path: Path) -> None:
        with agent(broker, adapter, 1):
            (old,) = broker.ready(1)
            server = psutil.Process(broker.registered[old]).ppid()
            (tmp_path / "adapter.py").write_text(f"{ADAPTER}\nopen({str(tmp_path / 'new')!r}, 'w')\n")
            broker.order(Recycle([old], "operator"))
            retire = broker.until(lambda: broker.all(Retire))[0]
            assert (tmp_path / "new").exists()
            assert not gone(server)  # the old worker would die with it
            broker.order(Dismiss(retire.worker, "operator"))
            broker.until(lambda: broker.died(old))
            broker.until(lambda: gone(server))

    def test_in_development_a_change_is_seen_and_a_broken_one_leaves_the_old_in_service(
        self, broker: Broker, adapter: str, tmp_path: Path
    ) -> None:
        with agent(broker, adapter, 1, reload=True, restart_backoff_s=0.01):
            (old,) = broker.ready(1)
            (tmp_path / "adapter.py").write_text("raise RuntimeError('half typed')\n")
            broker.until(lambda: any("half typed" in told.reason for told in broker.all(Degraded)))
            assert broker.died(old) is None
            (tmp_path / "adapter.py").write_text(ADAPTER + "# whole again\n")
            retire = broker.until(lambda: broker.all(Retire))[0]
            assert retire.worker == old
            assert "adapter.py has changed" in retire.note
            broker.until(lambda: broker.all(Degraded)[-1].reason == "")


def test_a_fence_for_silence_is_obeyed_and_a_question_for_the_dead_is_answered(broker: Broker, adapter: str) -> None:
    with agent(broker, adapter, 1):
        (worker,) = broker.ready(1)
        broker.order(Fence(worker))
        death = broker.until(lambda: broker.died(worker))
        assert death.certificate.cause == "heartbeat"
        broker.order(Dismiss(worker))
        broker.until(lambda: broker.all(Died).count(death) == 2)


def test_sigterm_while_the_adapter_is_imported_ends_the_agent_soon(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text("import time\ntime.sleep(600)\n")
    with agent(broker, f"{tmp_path}/heavy.py:service", 2) as process:
        broker.until(lambda: broker.all(messages.Agent))
        process.terminate()
        assert process.wait(10) == 0


def test_an_import_that_hangs_is_ended_after_the_startup_timeout(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text("import time\ntime.sleep(600)\n")
    with agent(broker, f"{tmp_path}/heavy.py:service", 1, startup_timeout_s=0.3, restart_backoff_s=0.01):
        assert "fork server" in broker.until(lambda: broker.all(Degraded))[0].reason
