"""A descriptor that threads make readable: never lost, and never left readable."""

from __future__ import annotations

import os
import select
import threading
import time

import pytest

from maitred.transport import wake as module
from maitred.transport.wake import Wake


def readable(wake: Wake) -> bool:
    return bool(select.select([wake], [], [], 0)[0])


def test_set_wakes_until_cleared() -> None:
    wake = Wake()
    assert not readable(wake)
    wake.set()
    wake.set()
    assert wake.raised
    assert readable(wake)
    wake.clear()
    assert not wake.raised
    assert not readable(wake)


def test_a_clear_amid_a_set_leaves_no_byte_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reader would find it readable for ever, and clear nothing: a core, until the next set."""
    wake, write = Wake(), os.write

    def write_late(descriptor: int, data: bytes) -> int:
        wake.clear()
        return write(descriptor, data)

    monkeypatch.setattr(module.os, "write", write_late)
    wake.set()
    wake.clear()
    assert not readable(wake)


@pytest.mark.slow
def test_no_set_is_lost_and_nobody_spins() -> None:
    wake, posted, taken, looks = Wake(), [0], 0, 0
    setters, each = 3, 3000

    def post() -> None:
        for _ in range(each):
            posted.append(1)
            wake.set()

    threads = [threading.Thread(target=post) for _ in range(setters)]
    for thread in threads:
        thread.start()
    give_up = time.monotonic() + 20
    while taken < 1 + setters * each and time.monotonic() < give_up:
        select.select([wake], [], [], 1.0)
        looks += 1
        wake.clear()
        while posted:
            posted.pop()
            taken += 1
    for thread in threads:
        thread.join()
    assert taken == 1 + setters * each
    wake.clear()
    assert not readable(wake)
