"""SIGTERM to a house under load: /readyz first, nothing accepted is lost, and nothing is left."""

from __future__ import annotations

import http.client
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from user_shell import ANY_PORT, Shell, ended, ready, wait_for

from maitred.client import Client
from maitred.client.errors import MaitredError, Unavailable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

APP = f"{Path(__file__).with_name('app.py')}:service"
CALLERS = 6
DELAY_S = 1.5


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.end()


class Load:
    """Callers, one call after another each, until they are refused; and what became of each call, with when."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.served: list[float] = []
        self.refused: list[tuple[float, MaitredError]] = []
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        with Client(self._endpoint) as client:
            while True:
                try:
                    client.execute("app", "nap", {"seconds": 0.05}, timeout=20)
                    self.served.append(time.monotonic())
                except MaitredError as error:
                    self.refused.append((time.monotonic(), error))
                    return

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)


def status(address: str) -> int:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    finally:
        connection.close()


def test_readyz_first_nothing_accepted_is_lost_and_nobody_is_left(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text(
        f'[broker]\ndrain_delay = "{DELAY_S}s"\n[pools.app]\nadapter = "{APP}"\nsize = 2\n'
    )
    house = shell.start(*ANY_PORT, "up")
    line = ready(house)
    address = line.partition("http://")[2].split(",")[0]
    load = Load(next(word for word in line.split() if word.startswith("tcp://")))
    children = psutil.Process(house.pid).children(recursive=True)
    wait_for(lambda: len(load.served) > 20)
    assert status(address) == 200
    house.send_signal(signal.SIGTERM)
    told_at = time.monotonic()
    wait_for(lambda: status(address) == 503)
    not_ready_at = time.monotonic()
    load.join()
    code, _ = ended(house)
    assert code == 0
    assert not_ready_at - told_at < DELAY_S / 2
    assert sum(when > not_ready_at for when in load.served) > 10, "it still served who came"
    assert len(load.refused) == CALLERS
    assert min(when for when, _ in load.refused) >= told_at + DELAY_S - 0.1
    for _, error in load.refused:  # either refused when it came, or queued and answered so: never run and unanswered
        assert isinstance(error, Unavailable), error
        assert error.details.get("reason") == "draining", error.details
    wait_for(lambda: not [process for process in children if process.is_running()], 5)
