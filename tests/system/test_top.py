"""`maitred top` on a real terminal: under load, with a worker that is killed, a pool that is full, a broker that goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from broker_alone import BrokerAlone
from terminal import Terminal

from maitred.client import Client
from maitred.testing import House, Pool, running

pytestmark = pytest.mark.slow

APP = f"{Path(__file__).parent / 'app.py'}:service"

Open = Callable[..., Terminal]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running(general=Pool(APP, size=2, max_queue=6), quiet=Pool(APP)) as house:
        yield house


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Open]:
    """Starts it; what a test leaves is ended."""
    opened: list[Terminal] = []

    def start(endpoint: str, *words: str, **size: int) -> Terminal:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MAITRED_")}
        opened.append(Terminal(environment, tmp_path, "--endpoint", endpoint, "top", *words, **size))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


def test_views_keys_and_a_clean_end(house: House, top: Open) -> None:
    terminal = top(house.clients)
    terminal.shows("general", "quiet", "POOL", "q quit")
    terminal.press("w")
    terminal.when(lambda text: text.count("idle") >= 3 and "PID" in text)
    terminal.press("/quiet\r")
    terminal.when(lambda text: "pool: quiet" in text and text.count("idle") == 1)
    terminal.press("r")
    terminal.shows("no requests")
    terminal.press("s")
    terminal.shows("no sessions")
    terminal.press("\x1b")
    terminal.press("p")
    terminal.shows("general")
    terminal.press(" ")
    terminal.shows("PAUSED")
    terminal.press("q")
    assert terminal.ended() == 0
    assert b"\x1b[?1049h" in terminal.raw
    assert b"\x1b[?1049l" in terminal.raw, "the shell's own screen is not back"
    assert terminal.raw.rstrip().endswith((b"\x1b[?1049l", b"\x1b[?25h")), "the cursor is not back"
    assert b"Traceback" not in terminal.raw


@pytest.mark.parametrize("end", ["ctrl-c", "SIGTERM", "SIGHUP"])
def test_ctrl_c_and_signals_leave_the_terminal_as_it_was(house: House, top: Open, end: str) -> None:
    terminal = top(house.clients)
    terminal.shows("general")
    if end == "ctrl-c":
        terminal.press("\x03")
    else:
        terminal.process.send_signal(signal.Signals[end])
    assert terminal.ended() == 0
    assert b"\x1b[?1049l" in terminal.raw
    assert b"\x1b[?25h" in terminal.raw
    assert b"Traceback" not in terminal.raw


def test_it_follows_the_size_of_the_terminal(house: House, top: Open) -> None:
    terminal = top(house.clients, columns=120, lines=30)
    terminal.shows("REFUSED", "q quit")
    terminal.resize(40, 12)
    # what was drawn for the old width may be seen first
    terminal.when(
        lambda text: "general" in text and "REFUSED" not in text and text.splitlines()[-1].startswith("q quit")
    )
    terminal.resize(160, 40)
    terminal.when(lambda text: "REFUSED" in text and "q quit" in text.splitlines()[-1])


def test_a_pool_that_is_full_is_seen_and_in_colour(house: House, top: Open) -> None:
    terminal = top(house.clients)
    terminal.shows("general")
    assert terminal.colours_of("general") == {"default"}
    futures = [house.client.submit("general", "nap", {"seconds": 30}, timeout=60) for _ in range(6)]
    terminal.shows("full: general", "█")
    assert terminal.colours_of("full") == {"red"}
    assert terminal.colours_of("quiet") == {"default"}
    terminal.press("r")
    terminal.when(lambda text: text.count(" nap ") == 6 and text.count("running") == 2)
    terminal.press("w")
    terminal.when(lambda text: text.count(" busy ") == 2)
    for future in futures:
        future.cancel()
    terminal.when(lambda text: text.count(" busy ") == 0)
    terminal.press("p")
    terminal.when(lambda text: "full" not in text)


def test_rates_are_those_of_the_load(house: House, top: Open) -> None:
    terminal = top(house.clients)
    terminal.shows("general")
    for _ in house.client.map("general", "echo", ({"message": "x"} for _ in range(3000)), window=4):
        pass
    terminal.when(lambda text: any(line.split()[-1].endswith("/s") and line.split()[-1] != "0/s"
                                   for line in text.splitlines() if "queued," in line))  # fmt: skip


def test_a_worker_that_is_killed_is_replaced_before_your_eyes(house: House, top: Open) -> None:
    terminal = top(house.clients)
    terminal.press("w")
    (victim,) = [row for row in house.client.workers() if row["pool"] == "quiet"]
    terminal.shows(victim["id"][:8])
    os.kill(victim["pid"], signal.SIGKILL)
    terminal.when(lambda text: victim["id"][:8] not in text and text.count("quiet") == 1 and "idle" in text)
    assert terminal.process.poll() is None


def test_a_broker_that_goes_and_comes(tmp_path: Path, top: Open) -> None:
    alone = BrokerAlone(tmp_path)
    try:
        bound = alone.start()
        endpoint = bound.clients[-1]
        terminal = top(endpoint)
        terminal.shows("no pools", "serving")
        alone.signal(signal.SIGKILL)
        alone.end()
        terminal.shows(f"no broker at {endpoint}, trying again")
        assert terminal.colours_of("trying again") == {"red"}
        terminal.press("w")
        terminal.shows("…")
        alone.start(clients=endpoint)
        terminal.when(lambda text: "trying again" not in text and "no workers" in text)
        terminal.press("q")
        assert terminal.ended() == 0
    finally:
        alone.end()


def test_one_connection_is_all_it_takes(house: House, top: Open) -> None:
    with Client(house.clients) as client:
        before = client.broker()["clients"]
        terminal = top(house.clients)
        terminal.shows("general")
        for key in "wrsp":
            terminal.press(key)
        terminal.shows("quiet")
        assert client.broker()["clients"] == before + 1


@pytest.mark.parametrize("words", [["top", "--once"], ["top"]])
def test_where_output_is_no_terminal_it_is_one_look_in_plain_text(house: House, words: list[str]) -> None:
    command = [sys.executable, "-m", "maitred.cli", "--endpoint", house.clients, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "general" in done.stdout
    assert done.stdout.count("idle") == 3
