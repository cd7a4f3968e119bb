"""How late the broker's timer is, measured where it is late."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator

import pytest
import trio
import zmq
from broker_peers import POOL, PoolSettings, settings

from maitred.broker.shell import Shell
from maitred.transport import endpoints, sockets

BLOCKED_S = 0.2
INTERVAL_S = 0.01


@pytest.fixture
async def shell() -> AsyncIterator[Shell]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sides = [sockets.router(context, zap_domain=name, handled=False) for name in ("clients", "workers")]
    for side in sides:
        endpoints.bind(side, "tcp://127.0.0.1:0")
    shell = Shell(settings(pools=[PoolSettings(POOL)], heartbeat_interval_s=INTERVAL_S), *sides, lambda _: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(shell.run)
        yield shell
        nursery.cancel_scope.cancel()
    context.destroy(linger=0)


async def ticked(shell: Shell, more: int) -> None:
    wanted = shell.lag.count + more
    with trio.fail_after(10):
        while shell.lag.count < wanted:  # noqa: ASYNC110 - the shell tells nobody of its ticks
            await trio.sleep(INTERVAL_S)


@pytest.mark.slow
async def test_a_loop_that_stands_still_is_late_by_as_much(shell: Shell) -> None:
    await ticked(shell, 3)
    before = shell.lag.total
    time.sleep(BLOCKED_S)  # noqa: ASYNC251 - this is what is measured
    await ticked(shell, 1)
    assert shell.lag.total - before >= BLOCKED_S - 2 * INTERVAL_S


async def test_a_timer_that_was_due_at_once_is_not_late_for_ever(shell: Shell) -> None:
    for n in range(3):
        shell.core.state.rounds_at = -math.inf  # as where a pool that may grow has nobody
        shell.perform([])
        await ticked(shell, 1)
        assert math.isfinite(shell.lag.total), n
    assert shell.lag.total < 5.0
