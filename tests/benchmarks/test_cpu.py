"""Processor time by thread: what the kernel counts, and what the scenario makes of it."""

from __future__ import annotations

import os
import time

import pytest
import zmq

from maitred.benchmarks.method.processor import Used, is_known, used_by
from maitred.benchmarks.scenarios import cpu
from maitred.benchmarks.subjects.registry import chosen

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_known(), reason="this kernel does not count processor time by thread"),
]


def test_work_is_counted_and_sleep_is_not() -> None:
    pid = os.getpid()
    before = used_by([pid])[pid]
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    worked = used_by([pid])[pid]
    time.sleep(0.05)
    slept = used_by([pid])[pid]
    assert (worked - before).own_ns == pytest.approx(50e6, rel=0.3)
    assert (slept - worked).own_ns < 20e6
    assert (worked - before).io_ns == 0


def test_libzmqs_threads_are_told_apart() -> None:
    context = zmq.Context()
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    try:
        port = pull.bind_to_random_port("tcp://127.0.0.1")
        push.connect(f"tcp://127.0.0.1:{port}")
        before = used_by([os.getpid()])[os.getpid()]
        for _ in range(500):
            push.send(b"x")
            pull.recv()
        used = used_by([os.getpid()])[os.getpid()] - before
        assert used.io_ns > 0
        assert used.switches > 0
    finally:
        context.destroy(linger=0)


def test_a_process_that_is_gone_has_used_nothing() -> None:
    assert used_by([2**22 + 1]) == {2**22 + 1: Used()}


def test_each_part_of_a_request_has_its_share() -> None:
    parameters = cpu.Parameters(rounds=2, outstanding=(1, 8), workers=1, requests=50)
    result = cpu.run(chosen("maitred", "zmq-proxy,zmq-direct"), parameters, lambda _: None)
    assert [(it.subject, it.setting["outstanding"]) for it in result.measurements] == [
        (name, n) for n in (1, 8) for name in ("maitred", "zmq-proxy", "zmq-direct")
    ]
    for found in result.measurements:
        values = found.values
        parts = [value for name, value in values.items() if name.endswith("_us") and name != "all_us"]
        assert sum(parts) == pytest.approx(values["all_us"], abs=0.1)
        assert values["caller_us"] > 0
        assert values["workers_us"] > 0
        assert (values["broker_us"] > 0) == (found.subject != "zmq-direct")
    assert {(it.figure, it.subject) for it in result.comparisons} == {("cpu", "maitred"), ("cpu", "zmq-direct")}
