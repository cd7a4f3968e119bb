"""How much memory the broker may have, and has."""

from __future__ import annotations

import mmap

from maitred.broker.memory import LEAST_LIMIT_BYTES, Memory, limit_of, trim

GIB = 1 << 30


def test_half_of_what_there_is_and_never_too_little() -> None:
    assert limit_of(None, lambda: 8 * GIB) == 4 * GIB
    assert limit_of(None, lambda: GIB // 4) == LEAST_LIMIT_BYTES
    assert limit_of(64 << 20, lambda: 8 * GIB) == 64 << 20
    assert limit_of(None) >= LEAST_LIMIT_BYTES


def test_what_is_taken_is_seen_and_what_is_given_back_too() -> None:
    memory = Memory()
    before = memory.now()
    with mmap.mmap(-1, 64 << 20) as taken:
        for at in range(0, 64 << 20, 4096):
            taken[at] = 1
        assert 60 << 20 < memory.now() - before < 80 << 20
    trim()
    assert memory.now() - before < 16 << 20
    memory.close()
    memory.close()
