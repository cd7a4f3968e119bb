"""Workers that are told to end while they load, that cannot be forked, or whose application does not want to end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from maitred.launcher.processes import start_agent
from maitred.testing import House, Pool
from maitred.worker.agent_settings import AgentSettings

APP = str(Path(__file__).with_name("loading_app.py"))

pytestmark = pytest.mark.slow


def test_a_thread_that_goes_on_does_not_keep_a_worker_from_being_replaced(maitred: Callable[..., House]) -> None:
    house = maitred(f"{APP}:lingering")
    pid = house.client.execute("general", "pid")
    os.kill(pid, signal.SIGTERM)
    assert house.client.execute("general", "pid", timeout=10) != pid


def test_an_adapter_that_cannot_be_forked_is_spawned(maitred: Callable[..., House]) -> None:
    house = maitred(Pool(f"{APP}:threaded_import", size=2))
    assert house.client.execute("general", "pid") in {row["pid"] for row in house.client.workers()}


def test_sigterm_ends_a_worker_that_is_loading_under_trio(
    maitred: Callable[..., House], capfd: pytest.CaptureFixture[str]
) -> None:
    house = maitred(f"{APP}:lingering", asynchronous=Pool(f"{APP}:slow_async", size=0))
    told = AgentSettings("asynchronous", f"{APP}:slow_async", house.workers, 1, parent=os.getpid())
    agent = start_agent(told)
    said, patience = "", time.monotonic() + 20
    while "loading" not in said:
        assert time.monotonic() < patience
        said += capfd.readouterr().err
        time.sleep(0.005)
    began = time.monotonic()
    agent.terminate()
    assert agent.wait(10) == 0
    assert time.monotonic() - began < 2.0
    assert "Traceback" not in capfd.readouterr().err
    assert not psutil.pid_exists(agent.pid)
