"""Plain ZeroMQ as a subject, and libzmq's proxy under maitred's own client: what comes back, and how often."""

from __future__ import annotations

import os
import time

import pytest

from maitred.benchmarks.method.load import Load
from maitred.benchmarks.subjects.protocol import Setup
from maitred.benchmarks.subjects.registry import load

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["zmq-proxy", "zmq-direct", "zmq-proxy-sync", "zmq-proxy-async"])
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_each_gives_the_payload_back_and_answers_each_request_once(name: str, transport: str) -> None:
    subject = load(name)
    assert subject.skip_reason() is None
    with subject.start(Setup(transport, 2)) as running:  # type: ignore[arg-type]
        caller = running.caller()
        try:
            for size in (0, 128, 1 << 20):
                payload = os.urandom(size)
                assert bytes(caller.call(payload)) == payload
            flow = caller.drive(Load(payload=b"x", requests=300, outstanding=16))
            assert (len(flow.latency), flow.failed) == (300, {})
            began = time.perf_counter()
            caller.drive(Load(payload=b"x", requests=4, outstanding=4, task_s=0.05))
            assert 0.09 < time.perf_counter() - began < 0.19  # two workers, two each
        finally:
            caller.close()
