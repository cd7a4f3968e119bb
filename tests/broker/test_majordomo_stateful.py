"""Peers of both protocols that say anything, at any time: nothing is raised, the books hold, nobody is answered twice.

What is random here is not only what peers do but their frames too. In the end all silent workers are gone, and every
request that was accepted has been answered, or its client is gone.
"""

from __future__ import annotations

from typing import Any

import pytest
from broker_peers import id128
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from majordomo_peers import ECHO, MajordomoBench, call, partial, reply, worker

from maitred.broker.core.effects import Peer, Side
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import majordomo as wire
from maitred.protocol import messages as m
from maitred.protocol.body import encode_body

PIECES = st.sampled_from(
    [b"", b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", b"echo", b"mmi.service", *(bytes([n]) for n in range(1, 7))]
)
FRAMES = st.lists(PIECES | st.binary(max_size=20), max_size=9)
FRAME = st.sampled_from([b"", b"run", b"\x80", b"\xff", b"L"]).map(
    lambda frame: frame * 40_000 if frame == b"L" else frame
)
BODIES = st.lists(FRAME, max_size=3)
VALUES = st.sampled_from([b"bytes", [b"a", b"b"], [], "text", 1, None])


class MajordomoMachine(RuleBasedStateMachine):
    @initialize(
        body=st.sampled_from(["raw", "msgpack"]), command=st.sampled_from(["run", None]), queue=st.integers(1, 20)
    )
    def start(self, body: str, command: str | None, queue: int) -> None:
        pool = PoolSettings(ECHO, timeout_s=5.0, max_queue=queue, majordomo_body=body, majordomo_command=command)
        self.bench = MajordomoBench(pool, PoolSettings("other", timeout_s=2.0), idle_client_s=20.0)
        self.old_clients: dict[Peer, tuple[int, int]] = {}
        self.workers: dict[Peer, int] = {}
        self.orders: dict[Peer, bytes] = {}
        self.ours: dict[Peer, list[m.Dispatch]] = {}
        self.client = self.bench.client()
        self.number = 0
        self.answered: list[int] = []

    def read(self) -> None:
        """Everybody takes what he was sent."""
        for peer, version in list(self.workers.items()):
            for frames in self.bench.got(peer):
                match wire.decode_order(frames):
                    case wire.Order(address=address):
                        assert peer not in self.orders, "two requests at a time"
                        self.orders[peer] = address
                    case wire.Disconnect():
                        self.workers.pop(peer)
                        self.orders.pop(peer, None)
                    case _:
                        assert version
        for peer, (_, waiting) in list(self.old_clients.items()):
            last = sum(wire.decode_answer(frames).final for frames in self.bench.got(peer))
            assert last <= waiting, "more answers than requests"
            self.old_clients[peer] = (self.old_clients[peer][0], waiting - last)
        for peer, orders in self.ours.items():
            orders += [message for message, _ in self.bench.take(peer) if isinstance(message, m.Dispatch)]
        self.answered += [it.id for it, _ in self.bench.take(self.client) if isinstance(it, m.Reply | m.Error)]
        assert len(self.answered) == len(set(self.answered))

    # --- peers that keep to the protocol ---

    @rule(version=st.sampled_from([1, 2]), side=st.sampled_from([Side.WORKERS, Side.MAJORDOMO]))
    def a_worker_comes(self, version: int, side: Side) -> None:
        self.workers[self.bench.old_worker(version, side)] = version
        self.read()

    @rule(version=st.sampled_from([1, 2]), side=st.sampled_from([Side.CLIENTS, Side.MAJORDOMO]))
    def a_client_comes(self, version: int, side: Side) -> None:
        self.old_clients[self.bench.peer(side)] = (version, 0)

    @precondition(lambda self: self.old_clients)
    @rule(data=st.data(), body=BODIES, service=st.sampled_from([b"echo", b"echo", b"echo", b"other", b"none"]))
    def it_asks(self, data: st.DataObject, body: list[bytes], service: bytes) -> None:
        peer = data.draw(st.sampled_from(list(self.old_clients)))
        version, waiting = self.old_clients[peer]
        self.old_clients[peer] = (version, waiting + 1)
        self.bench.poke(peer, *call(version, service, *body))
        self.read()

    @rule(value=VALUES, window=st.sampled_from([0, 3]), idempotent=st.booleans())
    def ours_asks(self, value: Any, window: int, idempotent: bool) -> None:
        self.number += 1
        request = m.Request(self.number, ECHO, "run", window=window, idempotent=idempotent)
        self.bench.tell(self.client, request, *encode_body({"body": value}))
        self.read()

    @precondition(lambda self: self.number)
    @rule(data=st.data())
    def ours_cancels(self, data: st.DataObject) -> None:
        self.bench.tell(self.client, m.Cancel(data.draw(st.integers(1, self.number))))
        self.read()

    @precondition(lambda self: self.orders)
    @rule(data=st.data(), body=BODIES, end=st.booleans())
    def it_answers(self, data: st.DataObject, body: list[bytes], end: bool) -> None:
        peer = data.draw(st.sampled_from(list(self.orders)))
        version = self.workers[peer]
        if end or version == 1:
            self.bench.poke(peer, *reply(version, self.orders.pop(peer), body))
        else:
            self.bench.poke(peer, *partial(self.orders[peer], *body))
        self.read()

    @rule(number=st.integers(100, 103))
    def a_worker_of_ours_comes(self, number: int) -> None:
        if id128(number) not in self.bench.core.state.workers:
            self.ours[self.bench.worker(number, 1, m.CommandInfo("run", batch=4), pool=ECHO)] = []
        self.read()

    @precondition(lambda self: any(self.ours.values()))
    @rule(data=st.data(), value=VALUES, part=st.booleans())
    def ours_answers(self, data: st.DataObject, value: Any, part: bool) -> None:
        peer = data.draw(st.sampled_from([peer for peer, orders in self.ours.items() if orders]))
        order = self.ours[peer][0]
        if part:
            self.bench.tell(peer, m.WorkerPart(order.client, order.id, order.attempt, 0), *encode_body(value))
        else:
            self.bench.tell(peer, m.WorkerReply(order.client, order.id, order.attempt), *encode_body(value))
            self.ours[peer].pop(0)
        self.read()

    # --- and those that do not ---

    @rule(data=st.data(), frames=FRAMES, known=st.booleans())
    def somebody_says_anything(self, data: st.DataObject, frames: list[bytes], known: bool) -> None:
        there = [*self.workers, *self.ours]
        peer = (
            data.draw(st.sampled_from(there)) if known and there else self.bench.peer(data.draw(st.sampled_from(Side)))
        )
        self.bench.poke(peer, *frames)
        if peer not in self.workers and peer not in self.ours:
            self.bench.got(peer), self.bench.take(peer)
        self.read()

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), how=st.sampled_from(["ends", "says DISCONNECT", "says READY", "cannot be reached"]))
    def a_worker_goes(self, data: st.DataObject, how: str) -> None:
        peer = data.draw(st.sampled_from(list(self.workers)))
        version = self.workers.pop(peer)
        self.orders.pop(peer, None)
        if how == "ends":
            self.bench.perform(self.bench.core.hung_up(peer, self.bench.now))
        elif how == "cannot be reached":
            self.bench.perform(self.bench.core.all_undeliverable(peer, (), self.bench.now))
        else:
            number = b"\x01" if how == "says READY" else {1: b"\x05", 2: b"\x06"}[version]
            self.bench.poke(peer, *worker(version, number, *([b"echo"] if how == "says READY" else [])))
        self.bench.got(peer)
        self.read()

    @precondition(lambda self: self.old_clients)
    @rule(data=st.data())
    def a_client_goes(self, data: st.DataObject) -> None:
        peer = data.draw(st.sampled_from(list(self.old_clients)))
        del self.old_clients[peer]
        self.bench.perform(self.bench.core.hung_up(peer, self.bench.now))
        self.bench.got(peer)
        self.read()

    @rule(seconds=st.floats(0.0, 12.0))
    def time_passes(self, seconds: float) -> None:
        self.bench.tell(self.client, m.Heartbeat())
        self.bench.advance(seconds)
        self.read()

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        for _ in range(6):
            self.bench.tell(self.client, m.Heartbeat())
            self.bench.advance(5.0)
            self.read()
        assert not self.bench.core.state.requests
        assert not self.bench.core.state.workers, "all were silent"
        assert not any(waiting for _, waiting in self.old_clients.values()), "a request was never answered"
        assert sorted(self.answered) == list(range(1, self.number + 1))


TestMajordomo = pytest.mark.slow(MajordomoMachine.TestCase)
TestMajordomo.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
