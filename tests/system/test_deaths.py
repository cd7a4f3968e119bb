"""Workers that die, hang, or never start: who is told what, and how soon."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from user_shell import lives

from maitred.client.errors import MaitredError, Unavailable, WorkerLost
from maitred.testing import House, Pool, running

APP = f"{Path(__file__).with_name('app.py')}:"

pytestmark = pytest.mark.slow

QUICK = {"heartbeat_interval_s": 0.05, "heartbeat_liveness": 2}


def until(condition: Callable[[], Any], patience_s: float = 10.0) -> float:
    """Wait for something to become true; returns the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience_s, "it never came true"
        time.sleep(0.002)
    return time.monotonic() - began


class Begun:
    """A request that has begun in its worker, on a thread of its own. `outcome` is its result or its error."""

    def __init__(self, house: House, what: str, seconds: float, timeout: float | None = None) -> None:
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(house, what, seconds, timeout))
        self._thread.start()
        assert self._begun.wait(10), "it never began"

    def _run(self, house: House, what: str, seconds: float, timeout: float | None) -> None:
        args = {"what": what, "seconds": seconds}
        try:
            for part in house.client.stream("general", "begin_and", args, timeout=timeout):
                self.outcome: Any = part
                self._begun.set()
        except MaitredError as error:
            self.outcome = error
        self.told_at = time.monotonic()

    def wait(self, patience_s: float = 10.0) -> Any:
        self._thread.join(patience_s)
        assert not self._thread.is_alive(), "nobody told it anything"
        return self.outcome


def test_kill_9_of_a_worker_that_runs_a_request(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}service")
    pid = house.client.execute("general", "pid")
    call = Begun(house, "nap", 30)
    killed_at = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    assert house.client.execute("general", "pid", timeout=10) != pid
    served_after = time.monotonic() - killed_at
    error = call.wait()
    assert isinstance(error, WorkerLost)
    assert (error.cause, error.certificate["signal"], error.certificate["pid"]) == ("signal", "SIGKILL", pid)
    assert call.told_at - killed_at < 0.1
    assert served_after < 0.5


def test_a_certificate_has_the_exit_code_and_the_last_words(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}service")
    with pytest.raises(WorkerLost) as caught:
        house.client.execute("general", "leave", {"code": 7})
    assert caught.value.cause == "exit"
    assert caught.value.certificate["exit_code"] == 7
    assert caught.value.certificate["stderr"].endswith("leaving")


def test_an_idempotent_request_is_run_again(maitred: Callable[..., House], tmp_path: Path) -> None:
    house = maitred(f"{APP}service")
    assert house.client.execute("general", "die_once", {"marker": str(tmp_path / "marker")}) == "survived"


def test_requests_that_had_not_begun_are_served_by_the_replacement(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}service")
    list(house.client.map("general", "begin_and", ({"what": "nap", "seconds": 0} for _ in range(100))))  # a quick one
    answers: list[Any] = []

    def call(command: str, args: dict[str, Any]) -> None:
        answers.append(house.client.execute("general", command, args))

    first = Begun(house, "nap", 30)
    pid = next(row["pid"] for row in house.client.workers())
    others = [threading.Thread(target=call, args=("echo", {"message": str(n)})) for n in range(3)]
    for other in others:
        other.start()
    until(lambda: house.client.broker()["requests"] == 4)
    os.kill(pid, signal.SIGKILL)
    assert isinstance(first.wait(), WorkerLost)
    for other in others:
        other.join(10)
    assert sorted(answer["message"] for answer in answers) == ["0", "1", "2"]


def test_c_code_that_keeps_the_interpreter_is_not_taken_for_dead(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}service", broker=QUICK)  # a second is ten times the silence that is allowed
    pid = house.client.execute("general", "pid")
    assert house.client.execute("general", "hold_interpreter", {"seconds": 1}) == "held"
    assert house.client.execute("general", "pid") == pid


@pytest.mark.soak
def test_c_code_that_keeps_the_interpreter_for_20_s_is_not_taken_for_dead(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}service")
    pid = house.client.execute("general", "pid")
    assert house.client.execute("general", "hold_interpreter", {"seconds": 20}) == "held"
    assert house.client.execute("general", "pid") == pid


def test_a_worker_stopped_amid_a_request_is_found_by_its_silence(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}service", broker=QUICK)
    pid = house.client.execute("general", "pid")
    call = Begun(house, "nap", 20)
    os.kill(pid, signal.SIGSTOP)
    error = call.wait()
    assert isinstance(error, WorkerLost)
    assert error.cause == "heartbeat"
    assert house.client.execute("general", "pid") != pid


def test_a_request_sent_to_a_stopped_worker_is_served_by_its_replacement(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}service", broker=QUICK)
    pid = house.client.execute("general", "pid")
    os.kill(pid, signal.SIGSTOP)
    assert house.client.execute("general", "pid") != pid


def test_a_pool_whose_workers_cannot_load_says_why(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}service", broken=Pool(f"{APP}broken", size=0))
    with pytest.raises(RuntimeError, match="the model file is missing"), running(f"{APP}broken"):
        pass
    assert house.client.execute("general", "echo", {"message": "unharmed"}) == {"message": "unharmed"}


def test_no_worker_outlives_its_agent(maitred: Callable[..., House]) -> None:
    house = maitred(Pool(f"{APP}service", size=3))
    family = psutil.Process(house.agents["general"].pid).children(recursive=True)
    workers = {row["pid"] for row in house.client.workers()}
    assert workers <= {process.pid for process in family}
    house.agents["general"].kill()
    until(lambda: not any(lives(process) for process in family), 2.0)


def test_an_agent_killed_while_its_workers_hold_the_interpreter_takes_them_along(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}service", broker=QUICK)
    pid = psutil.Process(house.client.execute("general", "pid"))
    call = Begun(house, "hold", 60, timeout=10)
    house.agents["general"].kill()
    until(lambda: not lives(pid), 2.0)
    assert isinstance(call.wait(5), WorkerLost)


def test_a_killed_broker_leaves_no_request_waiting(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}service")
    call = Begun(house, "nap", 60, timeout=30)
    house.broker.kill()
    assert isinstance(call.wait(25), Unavailable)


def test_sigterm_of_a_worker_lets_it_finish(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}service")
    pid = house.client.execute("general", "pid")
    call = Begun(house, "compute", 0.3)
    os.kill(pid, signal.SIGTERM)
    assert house.client.execute("general", "pid", timeout=10) != pid
    assert call.wait() == "compute"
