"""Work begun after its deadline, or more than a tenth of a second after its client's process died: none in 10,000."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maitred.testing import Pool, running

APP = f"{Path(__file__).with_name('late_app.py')}:service"

pytestmark = pytest.mark.slow

REQUESTS_EACH = 250
GONE_S = 0.1
LOOK_S = 0.002
"""Between a worker's look at its clock and the function's first line the scheduler may give the core to somebody else."""

ASKS = """
import random, sys, time
from maitred.client import Client
from maitred.client.errors import MaitredError
endpoint, caller, requests, deadlines = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
draw = random.Random(caller)
with Client(endpoint) as client, open(deadlines, "a", buffering=1) as file:
    futures = []
    for number in range(requests):
        timeout = draw.choice([0.002, 0.02, 0.1, 0.5])
        args = {"caller": caller, "number": number, "seconds": draw.choice([0, 0.001, 0.004])}
        futures.append(client.submit("general", "task", args, timeout=timeout))
        file.write(f"{caller} {number} {time.monotonic() + timeout:.6f}\\n")  # its deadline is this at the latest
        time.sleep(draw.expovariate(300))
    for future in futures:
        try:
            future.result()
        except MaitredError:
            pass
"""


def test_nothing_is_begun_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, monkeypatch, callers=8)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_nothing_is_begun_late_in_10_000(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, monkeypatch, callers=48)


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, callers: int) -> None:
    """More is asked for than two workers can do; every second caller is killed amid its requests."""
    journal, deadlines = tmp_path / "journal", tmp_path / "deadlines"
    journal.touch()
    monkeypatch.setenv("MAITRED_TEST_JOURNAL", str(journal))
    draw = random.Random(7)
    died_at: dict[int, float] = {}
    with running(Pool(APP, size=2, max_queue=300)) as house:
        for first in range(0, callers, 4):
            endpoint = house.clients if first % 8 else house.clients_tcp
            died_at |= four_callers(endpoint, first, draw, deadlines)
    due = {(caller, number): float(at) for caller, number, at in rows(deadlines)}
    begun = [(caller, number, float(at)) for caller, number, at in rows(journal)]
    assert len(begun) > callers * REQUESTS_EACH / 10, "next to nothing was begun: nothing was tested"
    late = sorted(at - due.get((caller, number), math.inf) for caller, number, at in begun)
    late_by = [seconds for seconds in late if seconds > LOOK_S]
    assert not late_by, f"{len(late_by)} of {len(begun)} were begun after their deadline, by {late_by} s"
    gone = [at - died_at.get(int(caller), math.inf) for caller, _, at in begun]
    orphans = [seconds for seconds in gone if seconds > GONE_S]
    assert not orphans, f"{len(orphans)} of {len(begun)} were begun for a process that was gone for {orphans} s"


def rows(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines() if line.count(" ") == 2]  # the last one may be cut


def four_callers(endpoint: str, first: int, draw: random.Random, deadlines: Path) -> dict[int, float]:
    """Run four at a time; returns when those died that were killed."""
    died_at: dict[int, float] = {}
    processes = {
        caller: subprocess.Popen(
            [sys.executable, "-c", ASKS, endpoint, str(caller), str(REQUESTS_EACH), str(deadlines)],
            stdout=subprocess.DEVNULL,
        )
        for caller in range(first, first + 4)
    }
    try:
        for caller, process in list(processes.items())[::2]:
            time.sleep(draw.uniform(0.3, 0.6))  # where in its work it dies is left to chance
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            died_at[caller] = time.monotonic()
        for process in processes.values():
            process.wait(30)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return died_at
