"""More connections than there may be: the newest are cut off, and who was there before notices nothing."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import raw_zmtp

from maitred.testing import House, Pool, running

APP = f"{Path(__file__).with_name('app.py')}:service"
OWN = 4
"""Connections of the client, of the agent, and two of the worker."""

pytestmark = [pytest.mark.slow]


@pytest.mark.parametrize("limits", [{"max_connections": 20}, {"max_connections_per_address": 16}])
def test_the_newest_are_cut_off(limits: dict[str, int]) -> None:
    with running(Pool(APP), broker=limits | {"log_level": "error"}) as house, contextlib.ExitStack() as stack:
        until(lambda: numbers(house)["connections"] == OWN)
        crowd = [stack.enter_context(raw_zmtp.opened(house.workers_tcp)) for _ in range(200)]
        until(lambda: sum(map(is_closed, crowd)) == 184)
        assert not any(map(is_closed, crowd[:8])), "those that came first"
        assert house.client.execute("general", "echo", {"message": "x"}) == {"message": "x"}
        until(lambda: numbers(house)["connections"] == OWN + 16)
        assert house.client.broker()["counts"]["connections.refused"] == 1
        for one in crowd:
            one.close()
        until(lambda: numbers(house)["connections"] == OWN)


def numbers(house: House) -> dict[str, int]:
    return house.client.broker()["limits"]


def is_closed(one: socket.socket) -> bool:
    """Whether the other end has closed it; libzmq's greeting is not waited for."""
    one.setblocking(False)
    try:
        while one.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 3.5  # less than a handshake may take, after which all are closed
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
