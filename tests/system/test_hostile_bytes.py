"""Hostile bytes to a broker that works: it never stops, its callers hardly notice, and it is as before afterwards.

Multiparts that are nearly right go to both sides, and connections are made that never become one. Blocks with them and
quiet ones of equal length take turns; the estimator is the p99 of all calls in hostile blocks by that of all in quiet ones.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from maitred.testing import House, Pool, running

APP = f"{Path(__file__).with_name('app.py')}:service"
PAUSE_S = 0.001
"""Between two calls of the good client."""

MIB = 1 << 20

HANDSHAKES_S = 8.0
"""Until connections that never shook hands are closed by the broker: twice what it gives them."""

pytestmark = [pytest.mark.slow, pytest.mark.alone]


class Good:
    """The good client: calls one after the other, and how long each took, in seconds."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._number = 0

    def block(self, seconds: float) -> list[float]:
        taken: list[float] = []
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            said = {"message": str(self._number)}
            began = time.perf_counter()
            assert self._house.client.execute("kitchen", "echo", said, timeout=20) == said
            taken.append(time.perf_counter() - began)
            self._number += 1
            time.sleep(PAUSE_S)
        return taken


def p99(taken: list[float]) -> float:
    return sorted(taken)[int(0.99 * len(taken))]


@pytest.mark.parametrize(
    ("multiparts", "connections", "blocks", "block_s", "ratio"),
    [
        pytest.param(10_000, 1_000, 5, 2.0, 10.0, marks=pytest.mark.timeout(90)),
        pytest.param(100_000, 10_000, 20, 5.0, 1.5, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
)
def test_nothing_stops_it_and_callers_hardly_notice(
    multiparts: int, connections: int, blocks: int, block_s: float, ratio: float, capfd: pytest.CaptureFixture[str]
) -> None:
    with running(kitchen=Pool(APP, size=2)) as house:
        good = Good(house)
        command = [
            sys.executable,
            str(Path(__file__).with_name("hostile.py")),
            house.clients_tcp,
            house.workers_tcp,
            "7",
        ]
        good.block(1.0)
        before = house.client.broker()
        idle = settled(house, lambda it: it["connections"] == 6)  # the client, the agent, and two of each worker
        quiet: list[float] = []
        hostile: list[float] = []
        heard = 0
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as enemy:
            assert enemy.stdin is not None
            assert enemy.stdout is not None
            sent = made = 0
            warm: dict[str, int] = {}
            for _ in range(blocks):
                quiet += good.block(block_s)
                enemy.stdin.write(f"{multiparts // blocks} {connections // blocks} {0.9 * block_s}\n")
                enemy.stdin.flush()
                hostile += good.block(block_s)
                said = [int(word) for word in enemy.stdout.readline().split()]
                warm = warm or house.client.broker()["limits"]  # a thousand inputs are remembered, for a post-mortem
                sent, made, heard = sent + said[0], made + said[1], said[2]
            enemy.stdin.close()
            assert enemy.wait(10) == 0
        after = settled(house, lambda it: it["connections"] == 6 and it["descriptors"] <= idle["descriptors"])
        told = house.client.broker()
        figures = (
            f"{sent} multiparts, {made} connections, {heard} answers; p99 {p99(quiet) * 1e3:.2f} ms quiet, "
            f"{p99(hostile) * 1e3:.2f} ms hostile: {p99(hostile) / p99(quiet):.2f}; {len(quiet)} and {len(hostile)} calls; "
            f"memory {idle['memory'] / MIB:.1f}, {warm['memory'] / MIB:.1f} and {after['memory'] / MIB:.1f} MiB"
        )
        assert (sent, made) == (multiparts, connections)
        assert told["epoch"] == before["epoch"]
        assert told["counts"]["protocol.error"] > multiparts // 4
        assert house.broker.exit_code is None
        assert not list(Path(house.clients.removeprefix("ipc://")).parent.glob("crash-*"))
        assert sum(row["requests"] for row in house.client.workers()) >= len(quiet) + len(hostile)
        assert told["counts"].get("worker.died", 0) == 0
        assert after["memory"] < 1.1 * warm["memory"], figures
    assert "Traceback" not in capfd.readouterr().err
    print(figures)
    assert p99(hostile) / p99(quiet) <= ratio


def settled(house: House, condition: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    give_up_at = time.monotonic() + HANDSHAKES_S
    while not condition(found := house.client.broker()["limits"]):
        assert time.monotonic() < give_up_at, found
        time.sleep(0.05)
    return found
