"""`maitred up`: a house in the foreground, and the line that says that it serves."""

from __future__ import annotations

import time

import trio

from maitred.broker.bound import Bound
from maitred.launcher.house import House
from maitred.launcher.house_settings import HouseSettings
from maitred.launcher.readiness import described, wait_ready
from maitred.transport.systemd import notify

__all__ = ["run_house"]


def run_house(told: HouseSettings) -> bool:
    """Run a house until a signal; returns whether it ended as it should."""
    began = time.monotonic()

    async def announce(it: Bound) -> None:
        """Print the ready line once nothing more is to be waited for."""
        rows = await trio.to_thread.run_sync(wait_ready, it.clients[0], told.wanted, abandon_on_cancel=True)
        pools = described(rows, told.wanted)
        http = f"http://{it.http}, " if it.http else ""
        print(f"maitred ready in {time.monotonic() - began:.1f} s: clients {it.clients[-1]} {it.clients[0]}, "
              f"workers {it.workers[-1]}, {http}pools: {pools}", flush=True)  # fmt: skip
        notify(READY="1", STATUS=f"serving {pools}")

    return trio.run(House(told, on_started=announce).run)
