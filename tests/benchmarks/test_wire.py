"""The bare socket that speaks the protocol: its answers, its refusals, and an open loop."""

from __future__ import annotations

import dataclasses
import os
from typing import cast

import pytest

from maitred.benchmarks.method.load import Load
from maitred.benchmarks.method.timeline import Ended
from maitred.benchmarks.subjects.maitred_ import Maitred
from maitred.benchmarks.subjects.protocol import Setup, StartError, Transport
from maitred.benchmarks.subjects.registry import load
from maitred.benchmarks.subjects.wire import WireCaller
from maitred.client.errors import MaitredError, PoolSaturated

pytestmark = pytest.mark.slow

SUBJECT = cast("Maitred", load("maitred-wire"))


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_it_gives_the_payload_back_and_is_answered_each_request_once(transport: Transport) -> None:
    with SUBJECT.start(Setup(transport, 2)) as running:
        caller = running.caller()
        assert isinstance(caller, WireCaller)
        try:
            for size in (0, 128, 1 << 20):
                payload = os.urandom(size)
                assert bytes(caller.call(payload)) == payload
            flow = caller.drive(Load(payload=b"x", requests=300, outstanding=16))
            assert (len(flow.latency), flow.failed) == (300, {})
            assert len(caller.drive(Load(payload=b"x", requests=5)).latency) == 5
            with pytest.raises(MaitredError):
                caller.call(b"x", task_s=cast("float", "long"))
        finally:
            caller.close()
            caller.close()


def test_each_end_of_an_open_loop_is_seen() -> None:
    with dataclasses.replace(SUBJECT, max_queue=2).start(Setup("ipc", 1)) as running:
        caller = running.caller()
        assert isinstance(caller, WireCaller)
        seen: list[Ended] = []
        wanted = Load(task_s=0.02, requests=20, outstanding=20, rate_per_s=1000.0)
        flow = caller.drive_watched(wanted, seen.append)
        caller.close()
    assert len(seen) == len(flow.lag) == 20
    refused = [it for it in seen if isinstance(it.error, PoolSaturated)]
    assert len(refused) == len(flow.failed["PoolSaturated"]) == 20 - len(flow.latency)
    assert all(it.ended_ns > it.sent_ns for it in seen)


def test_where_nobody_listens_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maitred.benchmarks.subjects.wire.CONNECT_TIMEOUT_MS", 50)
    with pytest.raises(StartError, match="nowhere"):
        WireCaller("ipc:///tmp/nowhere-at-all", "general")
