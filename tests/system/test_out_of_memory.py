"""A message without end, to a broker that may have 256 MiB: its sender is cut off, and who calls loses nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import raw_zmtp

from maitred.client.errors import Unavailable
from maitred.testing import House, Pool, running

MIB = 1 << 20
LIMIT = 256 * MIB
APP = f"{Path(__file__).with_name('app.py')}:service"

SEND_WITHOUT_END = """
import sys
import raw_zmtp
print(raw_zmtp.send_without_end(sys.argv[1], int(sys.argv[2])))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def numbers(house: House) -> dict[str, int]:
    return house.client.broker()["limits"]


def attack(endpoint: str, frame_bytes: int) -> subprocess.Popen[str]:
    path = str(Path(raw_zmtp.__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", SEND_WITHOUT_END, endpoint, str(frame_bytes)],
        env={"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("transport", "side", "frame_bytes"),
    [
        ("tcp", "clients", MIB),
        ("tcp", "workers", 64),
        pytest.param("ipc", "clients", 64, marks=pytest.mark.soak),
        pytest.param("ipc", "workers", MIB, marks=pytest.mark.soak),
    ],
)
def test_its_sender_is_cut_off_and_callers_lose_nothing(transport: str, side: str, frame_bytes: int) -> None:
    with running(Pool(APP), broker={"memory_limit_bytes": LIMIT, "log_level": "error"}) as house:
        endpoint = getattr(house, side + ("_tcp" if transport == "tcp" else ""))
        before = numbers(house)
        with attack(endpoint, frame_bytes) as process:
            peak = calls = 0
            while process.poll() is None:
                said = {"message": str(calls)}
                assert house.client.execute("general", "echo", said, on_saturated="wait", timeout=20) == said
                peak = max(peak, numbers(house)["memory"])
                calls += 1
            assert process.stdout is not None
            sent = int(process.stdout.read())
        until(lambda: numbers(house)["memory"] < before["memory"] + 0.1 * LIMIT)
        memory = numbers(house)["memory"]
        counts = house.client.broker()["counts"]
        print(f"{sent / MIB:.0f} MiB sent, peak {peak / MIB:.0f}, {memory / MIB:.0f} afterwards; {calls} calls")
        assert counts["connection.cut"] == 1
        assert counts["memory.high"] == 2
        assert "endpoint.reopened" not in counts
        assert peak < 3 * LIMIT
        assert numbers(house)["connections"] == 4  # of the client, of the agent, two of the worker
        assert len(house.client.workers()) == 1
        assert house.client.execute("general", "echo", {"message": "after"}) == {"message": "after"}


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_half_a_message_that_is_never_finished_is_not_kept_for_ever(transport: str) -> None:
    """Its sender stops where nothing new is taken on any more, and nobody would be cut off yet."""
    with running(Pool(APP), broker={"memory_limit_bytes": LIMIT, "log_level": "error"}) as house:
        endpoint = house.clients_tcp if transport == "tcp" else house.clients
        with raw_zmtp.shaken(endpoint) as one:
            one.settimeout(10)
            raw_zmtp.pour(one, MIB, int(0.9 * LIMIT) - numbers(house)["memory"])
            until(lambda: answers(house))  # whose connection was taken along, is told so once
            while one.recv(1 << 20):  # pings; then it is closed, whether by name or with all others
                pass
        assert house.client.execute("general", "echo", {"message": "after"}, on_saturated="wait") == {
            "message": "after"
        }
        counts = house.client.broker()["counts"]
        print({name: count for name, count in counts.items() if name in ("connection.cut", "endpoint.reopened")})


def answers(house: House) -> bool:
    """Whether all is well again, and it does."""
    try:
        it_is_over = house.client.broker()["counts"].get("memory.high") == 2
        return it_is_over and house.client.execute("general", "echo", {"message": "x"}) == {"message": "x"}
    except Unavailable:
        return False


def until(condition: Callable[[], bool], patience_s: float = 15.0) -> None:
    give_up_at = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
