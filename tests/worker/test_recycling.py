"""What a worker is replaced for."""

from __future__ import annotations

import os
from typing import Any

import pytest

from maitred.worker.agent_settings import AgentSettings
from maitred.worker.recycling import Life, Wear, worn

GIB = 1 << 30
WORKER = bytes(16)


def judged(life: dict[str, Any], **settings: Any) -> Wear | None:
    return worn(Life(**{"worker": WORKER} | life), AgentSettings("general", "app:service", "tcp://x", 1, **settings))


def test_without_rules_nobody_is_worn() -> None:
    assert judged({"served": 10**9, "age_s": 1e9, "rss": 1 << 50, "rss_when_ready": 0, "gpu_bytes": 1 << 50}) is None


@pytest.mark.parametrize(
    ("rule", "limit", "just", "below"),
    [
        ("recycle_requests", 100, {"served": 100}, {"served": 99}),
        ("recycle_age_s", 100.0, {"age_s": 110.0}, {"age_s": 89.9}),
        ("recycle_growth_bytes", GIB, {"rss": 3 * GIB, "rss_when_ready": 2 * GIB}, {"rss": GIB, "rss_when_ready": 1}),
        ("recycle_gpu_memory_bytes", GIB, {"gpu_bytes": GIB}, {"gpu_bytes": GIB - 1}),
    ],
)
def test_each_rule(rule: str, limit: float, just: dict[str, Any], below: dict[str, Any]) -> None:
    assert judged(below, **{rule: limit}) is None
    wear = judged(just, **{rule: limit})
    assert wear is not None
    assert rule.removesuffix("_s").removesuffix("_bytes") in wear.note


def test_growth_is_unknown_until_it_was_seen_ready() -> None:
    assert judged({"rss": 9 * GIB, "rss_when_ready": None}, recycle_growth_bytes=GIB) is None


def test_the_soft_limit_of_memory() -> None:
    wear = judged({"over_soft": True, "rss": 95}, memory_limit_bytes=100)
    assert wear == Wear("95 B of memory, close to memory_limit (100 B)")


def test_gpu_memory_is_freed_before_another_one_takes_it() -> None:
    wear = judged({"gpu_bytes": 2}, recycle_gpu_memory_bytes=1)
    assert wear is not None
    assert not wear.surge


def test_workers_of_one_age_go_at_different_times() -> None:
    def lasts(worker: bytes) -> float:
        age = next(age for age in range(1000) if judged({"worker": worker, "age_s": age}, recycle_age_s=500.0))
        assert 450 <= age <= 550
        return age

    assert len({lasts(os.urandom(16)) for _ in range(20)}) > 5
