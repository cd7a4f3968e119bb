"""A broker that is replaced while it is used, as docs/deployment.md has it for upgrades: what it took is finished before it
ends, so that callers may send again whatever was not answered, and nothing runs twice.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_blocks import ROOT, blocks
from user_shell import Shell, ended, ready, wait_for

from maitred.client import Client
from maitred.client.errors import MaitredError, Unavailable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

APP = f"{Path(__file__).with_name('app.py')}:service"
CALLERS = 6


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.end()


PAGE_LOOP = next(block.text for block in blocks(ROOT / "docs" / "deployment.md") if "def call" in block.text)


class Watched:
    """A client that keeps what it was refused with."""

    def __init__(self, client: Client, again: list[Unavailable]) -> None:
        self._client = client
        self._again = again

    def execute(self, *arguments: Any, **options: Any) -> Any:
        try:
            return self._client.execute(*arguments, **options)
        except Unavailable as error:
            self._again.append(error)
            raise


class Load:
    """Callers, one call after another each, by the page's loop."""

    def __init__(self, endpoint: str, file: Path) -> None:
        self.served: list[int] = []
        self.again: list[Unavailable] = []
        self.failed: list[MaitredError] = []
        self._file = file
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(endpoint,)) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _call(self, endpoint: str) -> None:
        with Client(endpoint) as client:
            names: dict[str, Any] = {"client": Watched(client, self.again), "Unavailable": Unavailable, "time": time}
            exec(PAGE_LOOP, names)
            while not self._over.is_set():
                try:
                    arguments = {"number": next(self._numbers), "seconds": 0.05, "file": str(self._file)}
                    self.served.append(names["call"]("mark", arguments))
                except MaitredError as error:
                    self.failed.append(error)

    def ran(self) -> list[int]:
        return sorted(int(line) for line in self._file.read_text().split())

    def goes_on(self) -> None:
        served = len(self.served)
        wait_for(lambda: len(self.served) > served + 20)

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(40)
            assert not thread.is_alive()


def start_broker(shell: Shell, clients: str, workers: str) -> tuple[subprocess.Popen[str], str, str]:
    addresses = {"clients": clients, "workers": workers, "http": ""}
    words = [word for key, address in addresses.items() for word in ("--set", f"broker.{key}={address}")]
    broker = shell.start(*words, "broker")
    line = ready(broker)
    found = [next(word for word in part.split() if "tcp://" in word).rstrip(",") for part in line.split(", ")[:2]]
    return broker, found[0], found[1]


def test_who_sends_again_is_served_and_nothing_runs_twice(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text(f'[pools.general]\nadapter = "{APP}"\nsize = 2\n')
    broker, clients, workers = start_broker(shell, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0")
    shell.start("pool", "general", "--connect", workers, "--clients", clients)
    with Client(clients) as client:
        wait_for(lambda: client.pools()[0]["available"] == 2)
        with client.session("general") as session:
            worker = session.execute("pid")
            load = Load(clients, shell.directory / "ran")
            try:
                load.goes_on()
                broker.send_signal(signal.SIGTERM)
                assert ended(broker)[0] == 0
                start_broker(shell, clients, workers)
                load.goes_on()
            finally:
                load.end()
            assert load.failed == []
            assert any(error.details.get("reason") == "draining" for error in load.again)
            assert load.ran() == sorted(load.served)
            assert session.execute("pid") == worker
