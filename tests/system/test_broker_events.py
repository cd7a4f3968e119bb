"""Events of the broker's own life, which only a process has: as they are logged, in JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maitred.client import Client
from maitred.client.errors import MaitredError
from maitred.config.rundir import read_connection
from maitred.protocol.events import EVENTS
from maitred.testing import running

pytestmark = pytest.mark.slow

APP = f"{Path(__file__).with_name('app.py')}:service"
CRASHING = """
import maitred.broker.core.clients as it
inner = it.Clients.receive
def receive(self, client, message, *rest):
    if type(message).__name__ == "Query":
        raise RuntimeError("planted")
    return inner(self, client, message, *rest)
it.Clients.receive = receive
"""
NO_HTTP = "import maitred.broker.web.serving as it\nit.serve = None"


class Broker:
    """A broker whose code was changed before it started."""

    def __init__(self, directory: Path, change: str = "", *words: str) -> None:
        places = ("clients=tcp://127.0.0.1:0", "workers=tcp://127.0.0.1:0", f"run_dir={directory}", *words)
        sets = [word for place in places for word in ("--set", f"broker.{place}")]
        run = f"{change}\nimport sys\nfrom maitred.cli.main import main\nsys.exit(main())"
        self.process = subprocess.Popen(
            [sys.executable, "-c", run, *sets, "broker"],
            cwd=directory, env={**os.environ, "HOME": str(directory)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()

    def end(self, number: int = signal.SIGTERM) -> list[dict[str, Any]]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=20)
        return [json.loads(line) for line in errors.splitlines() if line.startswith("{")]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., Broker]:
    (tmp_path / "run").mkdir(mode=0o700)
    return lambda *words: Broker(tmp_path / "run", *words)


def place(directory: Path) -> str:
    found = read_connection(directory / "run")
    assert found is not None
    return found.clients[0]


def named(lines: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The one line of this event, but what each line has."""
    (line,) = [line for line in lines if line["event"] == name]
    return {key: value for key, value in line.items() if key not in ("event", "level", "timestamp", "exception")}


def test_its_end_is_told(start: Callable[..., Broker]) -> None:
    lines = start("", "http=").end()
    assert named(lines, "broker.stopping") == {"signal": "SIGTERM"}
    assert named(lines, "broker.draining") == {"requests": 0}
    assert named(lines, "broker.stopped") == {"forced": False}


def test_a_crash_of_its_own_is_told_with_where_its_last_inputs_are(
    start: Callable[..., Broker], tmp_path: Path
) -> None:
    broker = start(CRASHING, "http=")
    with pytest.raises(MaitredError), Client(place(tmp_path), connect_timeout=2) as client:
        client.pools()
    broker.process.wait(20)
    told = named(broker.end(), "broker.crashed")
    assert told.keys() == EVENTS["broker.crashed"].fields.keys()
    assert Path(told["written_to"]).stat().st_size > 0


def test_http_that_fails_takes_nobody_along(start: Callable[..., Broker], tmp_path: Path) -> None:
    broker = start(NO_HTTP, "http=127.0.0.1:0")
    with Client(place(tmp_path)) as client:
        assert client.broker()["requests"] == 0
    lines = broker.end()
    assert named(lines, "http.failed") == {}
    assert broker.process.returncode == 0


def test_what_a_broker_told_is_as_registered() -> None:
    with running(APP, broker={"http": "127.0.0.1:0"}) as house:
        house.client.operate("recycle", "general")
        with house.client.session("general"):
            pass
        with pytest.raises(MaitredError):
            house.client.execute("general", "kill_itself")
        with urllib.request.urlopen(f"http://{house.http}/api/v1/events", timeout=10) as answer:
            events = json.loads(answer.read())["events"]
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert {"worker.started", "operator.recycle", "worker.died", "session.opened"} <= {
        event["name"] for event in events
    }
    for event in events:
        assert event["fields"].keys() <= EVENTS[event["name"]].fields.keys(), event
