"""The scenario `depth`, its second half: the broker's state machine with so many requests that wait, and nothing else."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence

from maitred.broker.core.effects import Effect, Peer, Send, Side
from maitred.broker.core.router import BrokerCore
from maitred.broker.core.settings import CoreSettings, PoolSettings
from maitred.protocol import frames, messages
from maitred.protocol.body import encode_body

__all__ = ["CoreAtDepth"]

POOL = "general"
CLIENT, WORKER = bytes(15) + b"\1", bytes(15) + b"\2"
COMMAND = "echo"

TIMEOUT_S = 3600.0
"""Of each request: none runs out."""

STEP_S = 1e-4
"""By so much the core's time goes on with each request: so long each runs."""


class CoreAtDepth:
    """One core with a client, a worker that runs one request at a time, and so many requests that wait.

    Args:
        depth: how many.
        payload: what each carries.
    """

    def __init__(self, depth: int, payload: bytes) -> None:
        self._body = encode_body({"payload": payload})
        self._number = 0
        self._now = 1.0
        pool = PoolSettings(POOL, timeout_s=TIMEOUT_S, max_queue=2 * depth + 2)
        self._core = BrokerCore(CoreSettings(epoch=bytes(16), pools={POOL: pool}, route=lambda _: POOL), self._now)
        self._client, self._worker = Peer(Side.CLIENTS, b"client"), Peer(Side.WORKERS, b"worker")
        self._tell(self._client, frames.encode(messages.Hello(CLIENT)))
        ready = messages.Register(WORKER, WORKER, POOL, 1, [messages.CommandInfo(COMMAND)])
        self._tell(self._worker, frames.encode(ready))
        self._held: messages.Dispatch | None = None
        for _ in range(depth + 1):
            self._look(self._tell(self._client, self._request()))

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return self._core.table("pools", self._now)[0]["queued"]

    def spend(self, requests: int) -> int:
        """Put so many in and take so many out; nanoseconds of this thread, without the collector of garbage."""
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return sum(self._one_more() for _ in range(requests))
        finally:
            if was_enabled:
                gc.enable()

    def _one_more(self) -> int:
        assert self._held is not None, "the worker has nothing"
        self._now += STEP_S
        request = self._request()
        reply = frames.encode(messages.WorkerReply(CLIENT, self._held.id, self._held.attempt), self._body)
        began = time.thread_time_ns()
        self._tell(self._client, request)
        effects = self._tell(self._worker, reply)
        took = time.thread_time_ns() - began
        self._look(effects)
        return took

    def _request(self) -> frames.Frames:
        self._number += 1
        return frames.encode(messages.Request(self._number, POOL, COMMAND, TIMEOUT_S), self._body)

    def _tell(self, peer: Peer, message: frames.Frames) -> list[Effect]:
        return self._core.receive(peer, message, self._now)

    def _look(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, messages.Dispatch):
                self._held = effect.message
