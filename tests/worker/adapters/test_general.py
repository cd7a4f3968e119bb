"""The general adapter's commands."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.errors import InvalidArgument
from maitred.worker import Cancelled, Context
from maitred.worker.adapters import general
from maitred.worker.adapters.general import service


def test_ping(run: Any) -> None:
    answer, _ = run(service, "ping", {})
    assert (answer["pong"], answer["pid"]) == (True, os.getpid())
    assert abs(answer["time"] - time.time()) < 60


@pytest.mark.parametrize(
    "args", [{"message": "Hello from Python"}, {"n": 1}, {}, {"context": b"mine", "self": [1, {"a": None}]}]
)
def test_echo_returns_what_came(run: Any, args: dict[str, Any]) -> None:
    assert run(service, "echo", args) == (args, [])


def test_square(run: Any) -> None:
    assert run(service, "square", {"x": 12})[0] == 144
    assert run(service, "square", {"x": 1.5})[0] == 2.25
    with pytest.raises(InvalidArgument, match="'x'"):
        run(service, "square", {"x": "12"})


@pytest.mark.parametrize(
    ("n", "primes"),
    [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2), (5, 2), (26, 9), (100, 25), (1000, 168), (300_000, 25_997)],
)
def test_compute_counts_primes(run: Any, n: int, primes: int) -> None:
    assert run(service, "compute", {"n": n})[0]["primes"] == primes


@pytest.mark.parametrize("segment", [1, 2, 7, 1000])
def test_compute_does_not_depend_on_its_segments(run: Any, monkeypatch: pytest.MonkeyPatch, segment: int) -> None:
    monkeypatch.setattr(general, "SEGMENT", segment)
    result, parts = run(service, "compute", {"n": 1000})
    assert result["primes"] == 168
    progress = [part["progress"] for part in parts]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    assert len(progress) <= general.MAX_PARTS


def test_compute_stops_when_told(run: Any) -> None:
    with pytest.raises(Cancelled):
        run(service, "compute", {"n": 10_000_000}, cancel_after=1)
    # within the time between two parts as well: they are 100 million numbers apart here
    generator = general.compute(general.MAX_N, context=Context(deadline=time.monotonic() + 0.02))
    with pytest.raises(Cancelled, match="deadline"):
        next(generator)


@pytest.mark.parametrize("args", [{"n": -1}, {"n": general.MAX_N + 1}, {"n": 1.5}])
def test_compute_has_limits(run: Any, args: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="'n'"):
        run(service, "compute", args)


def test_sleep(run: Any) -> None:
    assert run(service, "sleep", {"seconds": 0.01})[0]["slept"] >= 0.01
    assert run(service, "sleep", {"seconds": 0})[0]["slept"] < 5
    with pytest.raises(Cancelled, match="deadline"):
        general.sleep(60.0, context=Context(deadline=time.monotonic() + 0.01))


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1"])
def test_sleep_has_limits(run: Any, seconds: Any) -> None:
    with pytest.raises(InvalidArgument, match="'seconds'"):
        run(service, "sleep", {"seconds": seconds})


def test_info(run: Any) -> None:
    answer, _ = run(service, "info", {})
    assert answer["pid"] == os.getpid()
    assert answer["cpus"] >= 1
    assert answer["rss"] > 1_000_000
    assert len(answer["load_average"]) == 3
    assert answer["uptime"] >= 0
    assert decode_body(encode_body(answer)) == answer


def test_what_may_run_twice() -> None:
    idempotent = {name for name, command in service.commands.items() if command.idempotent}
    assert idempotent == {"ping", "echo", "square", "compute", "info"}
