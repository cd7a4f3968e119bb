"""What the core does where the process runs out, and with messages too large in all though no frame of theirs is."""

from __future__ import annotations

import pytest
from broker_peers import POOL, Bench, details, id128

from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages
from maitred.protocol.errors import Code

LIMIT = 64 * 1024
MANY = [b"\xc0", *(bytes(LIMIT // 2) for _ in range(3))]
"""Frames of which each is small enough, and all together are not."""


def bench() -> Bench:
    return Bench(max_message_bytes=LIMIT)


def test_a_request_of_many_frames_is_measured_whole() -> None:
    it = bench()
    it.worker()
    client = it.client()
    (answer,) = it.say(client, messages.Request(1, POOL, "echo"), *MANY)
    code, more = details(answer)
    assert code == Code.PAYLOAD_TOO_LARGE
    assert more["limit"] == LIMIT < more["size"]
    assert it.core.state.requests == {}


@pytest.mark.parametrize("kind", ["reply", "error"])
def test_a_result_of_many_frames_is_told_its_caller_as_too_large(kind: str) -> None:
    it = bench()
    worker, client = it.worker(), it.client()
    it.tell(client, messages.Request(1, POOL, "echo"), b"\x80")
    (order,) = it.orders(worker)
    key = (order.client, order.id, order.attempt)
    it.tell(worker, messages.WorkerReply(*key) if kind == "reply" else messages.WorkerError(*key, "x", "y"), *MANY)
    (answer,) = it.take(client)
    code, more = details(answer)
    assert code == Code.PAYLOAD_TOO_LARGE
    assert more == {"size": sum(map(len, MANY)), "limit": LIMIT, "what": "result"}
    it.tell(client, messages.Request(2, POOL, "echo"), b"\x80")  # the worker has its slot back
    assert [order.id for order in it.orders(worker)] == [2]


def test_a_part_of_many_frames_is_no_part() -> None:
    it = bench()
    worker, client = it.worker(), it.client()
    it.tell(client, messages.Request(1, POOL, "echo", window=8), b"\x80")
    (order,) = it.orders(worker)
    (answer,) = it.say(worker, messages.WorkerPart(order.client, order.id, order.attempt, 0), *MANY)
    assert details(answer)[0] == Code.PROTOCOL_ERROR
    assert it.take(client) == []
    assert it.core.state.counts["protocol.error"] == 1


def test_what_fits_exactly_passes() -> None:
    it = bench()
    worker, client = it.worker(), it.client()
    it.tell(client, messages.Request(1, POOL, "echo"), b"\x80")
    (order,) = it.orders(worker)
    it.tell(worker, messages.WorkerReply(order.client, order.id, order.attempt), b"\xc0", bytes(LIMIT - 1))
    ((answer, _),) = it.take(client)
    assert isinstance(answer, messages.Reply)


def test_a_process_short_of_memory_takes_on_nothing_new_and_goes_on_with_what_it_has() -> None:
    it = bench()
    worker, client = it.worker(), it.client()
    it.tell(client, messages.Request(1, POOL, "echo"), b"\x80")
    (order,) = it.orders(worker)
    it.core.squeeze(True)
    (answer,) = it.say(client, messages.Request(2, POOL, "echo"), b"\x80")
    code, more = details(answer)
    assert (code, more["reason"]) == (Code.RESOURCE_EXHAUSTED, "broker_memory")
    assert more["retry_after"] > 0
    (answer,) = it.say(client, messages.Open(3, id128(9), POOL), b"\x80")
    assert details(answer)[1]["reason"] == "broker_memory"
    it.tell(worker, messages.WorkerReply(order.client, order.id, order.attempt), b"\xc0")
    assert [type(message) for message, _ in it.take(client)] == [messages.Reply]
    it.core.squeeze(False)
    it.tell(client, messages.Request(4, POOL, "echo"), b"\x80")
    assert [order.id for order in it.orders(worker)] == [4]


def test_what_is_observed_is_in_the_table() -> None:
    it = Bench(pools=[PoolSettings(POOL)])
    it.core.observe(memory=5, descriptors=7)
    assert it.core.table("broker", it.now)["limits"] == {"memory": 5, "descriptors": 7}
    it.perform(it.core.witness("memory.high", it.now, memory=5))
    assert [note.fields for note in it.events("memory.high")] == [{"memory": 5}]
    assert it.core.table("broker", it.now)["counts"]["memory.high"] == 1
