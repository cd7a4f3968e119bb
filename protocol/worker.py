"""A worker's half of the conversation, without I/O: its two connections, and what it still holds.

    requests   REGISTER → WELCOME;  DISPATCH → PART… → REPLY or ERROR;  CHECK → CHECKED;  HEARTBEAT while idle;  LEAVE
    control    ATTACH → WELCOME;  BEAT → HEARTBEAT;  CANCEL, GRANT;  RECALL → RETURNED
    either     DISMISS → LEAVE

The two are driven by two threads that share only `Held`, which `worker.running` guards. STRANGER on either means that the
broker has lost this worker (it restarted, or the connection broke): the requests connection registers again with what it
holds, the control connection attaches again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from maitred.protocol import frames, messages
from maitred.protocol.errors import MaitredError, from_wire
from maitred.protocol.showing import Show, show_nothing

Key = tuple[bytes, int]
"""(client id, request id)."""

MAX_TOMBSTONES = 1024
"""Cancels that overtook their request. The two connections are not ordered: the request finds its tombstone."""


class Held:
    """The requests a worker was given and has not answered. Without a lock: it is called under its owner's."""

    def __init__(self) -> None:
        self._keys: dict[Key, int] = {}
        self._tombstones: dict[Key, str] = {}

    def take(self, order: messages.Dispatch) -> str | None:
        """Note a request; returns the reason why it was cancelled before it came, if it was."""
        key = (order.client, order.id)
        self._keys[key] = order.attempt
        return self._tombstones.pop(key, None) if self._tombstones else None

    def holds(self, key: Key) -> bool:
        """Whether it was taken and is not answered."""
        return key in self._keys

    def answer(self, key: Key) -> None:
        """Forget a request: its answer is on its way."""
        self._keys.pop(key, None)

    def bury(self, key: Key, reason: str) -> bool:
        """Note a cancel; False where its request has not come yet and a tombstone waits for it."""
        if key in self._keys:
            return True
        if len(self._tombstones) >= MAX_TOMBSTONES:
            del self._tombstones[next(iter(self._tombstones))]
        self._tombstones[key] = reason
        return False

    def keys(self) -> list[Key]:
        """All of them, in the order they came."""
        return list(self._keys)


class RequestsConnection:
    """The connection that requests come in by, and answers leave by."""

    def __init__(self, register: messages.Register, held: Held, show: Show = show_nothing) -> None:
        self._register = register
        self._held = held
        self._show = show

    def register(self) -> frames.Frames | None:
        """REGISTER, for the first time, or again; None: not now, the next STRANGER asks for it once more."""
        secret = self._show()
        if secret is None:
            return None
        return frames.encode(msgspec.structs.replace(self._register, holds=self._held.keys(), secret=secret))

    def receive(self, message_frames: Sequence[Any]) -> tuple[messages.ToWorker, Sequence[Any]]:
        """Decode one message; a DISPATCH is to be given to `Held.take` by the caller.

        Raises:
            ProtocolError: what came is not of this protocol.
            MaitredError: the broker refused this worker; the text says why.
        """
        return _receive(message_frames)

    def heartbeat(self) -> frames.Frames:
        """A sign of life while nothing runs; a broker that does not know this connection says STRANGER."""
        return frames.encode(messages.Heartbeat())

    def checked(self, check: messages.Check, problem: str) -> frames.Frames:
        """The answer to CHECK; `problem` is empty where this worker is well."""
        return frames.encode(messages.Checked(check.number, problem))

    def leave(self) -> frames.Frames:
        """All that was begun is answered, and nothing more will be."""
        return frames.encode(messages.Leave())


class ControlConnection:
    """The connection that heartbeats leave by, and cancels and grants come in by."""

    def __init__(self, worker: bytes, token: bytes, show: Show = show_nothing) -> None:
        self._attach = messages.Attach(worker, token)
        self._show = show

    def attach(self) -> frames.Frames | None:
        """Bind this connection to the registered worker; None: not now, as the token is nobody else's either."""
        return None if self._show() is None else frames.encode(self._attach)

    def beat(self, rss: int, cpu: float, lag: float, at: tuple[Key, float] | None = None) -> frames.Frames:
        """A heartbeat: bytes, seconds, seconds; and what has run for longest, with the seconds that it has."""
        request, ran = at or (None, 0.0)
        return frames.encode(messages.Beat(rss, cpu, lag, request, ran))

    def returned(self, recall: messages.Recall) -> frames.Frames:
        """The answer to RECALL: it was not begun, and will not be."""
        return frames.encode(messages.Returned(recall.client, recall.id, recall.attempt))

    def receive(self, message_frames: Sequence[Any]) -> tuple[messages.ToWorker, Sequence[Any]]:
        """Decode one message. Raises as `RequestsConnection.receive`."""
        return _receive(message_frames)


def _receive(message_frames: Sequence[Any]) -> tuple[messages.ToWorker, Sequence[Any]]:
    message, body = frames.to_worker.decode(message_frames)
    if isinstance(message, messages.Error):
        error: MaitredError = from_wire(message.code, message.message, {})
        raise error
    return message, body
