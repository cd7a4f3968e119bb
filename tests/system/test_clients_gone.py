"""A client process that is killed: what it waited for is not begun, and what runs for it is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from maitred.testing import Pool, running

APP = f"{Path(__file__).with_name('app.py')}:"

pytestmark = pytest.mark.slow

ASKS_FOR_MUCH = """
import sys, time
from maitred.client import Client
client = Client(sys.argv[1])
futures = [client.submit("general", "nap", {"seconds": 30.0}) for _ in range(40)]
time.sleep(60)
"""

WITHIN_S = 0.1
"""It takes some milliseconds; so much is promised."""


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_killed_clients_work_is_given_up_within_a_tenth_of_a_second(transport: str) -> None:
    with running(Pool(f"{APP}service", size=2)) as house:
        endpoint = house.clients if transport == "ipc" else house.clients_tcp
        with subprocess.Popen([sys.executable, "-c", ASKS_FOR_MUCH, endpoint]) as process:
            try:
                wait_for(lambda: house.client.pools()[0]["queued"] == 38, 20.0)
                os.kill(process.pid, signal.SIGKILL)
                began = time.monotonic()
                wait_for(lambda: house.client.pools()[0]["queued"] == 0, 5.0)
                assert time.monotonic() - began < WITHIN_S
                wait_for(lambda: house.client.pools()[0]["available"] == 2, 5.0)
            finally:
                process.kill()
        assert sorted(row["requests"] for row in house.client.workers()) == [1, 1]


def wait_for(condition: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
