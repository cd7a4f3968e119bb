"""A client's half of the conversation, for one connection, without I/O.

    start(now) · request(…) · receive(frames, now) → events · tick(now) → events · next_deadline()

What is to be sent collects in `outgoing` (lists of frames, in order); the shell sends it after each call. The rules:

    HELLO first; nothing else is sent before WELCOME.
    While an answer is awaited, a HEARTBEAT every interval; the broker answers each.
    STRANGER: the broker does not know this connection (any more): HELLO again.
    WELCOME again: what was outstanding is gone; each request fails as `Unavailable`, once. It may have run.
    After a rest the broker may have forgotten this connection, or be another: HELLO goes ahead of the request, and the
    WELCOME to that one means nothing.
    Silence for `interval * liveness`, then for `patience_s` more: the broker is given up, each request fails likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from msgspec import Struct

from maitred.protocol import frames, messages
from maitred.protocol.body import decode_body
from maitred.protocol.errors import DecodeError, MaitredError, PayloadTooLarge, ProtocolError, Unavailable, from_wire

HELLO_INTERVAL_S = 0.5
"""Seconds between HELLOs that are not answered."""

PATIENCE_S = 10.0
"""Seconds beyond the agreed silence during which a broker that restarts may come back."""

REST_S = 10.0
"""Seconds without a word from the broker, and nothing awaited, after which a request is preceded by HELLO."""


class Welcomed(Struct, frozen=True):
    """The broker knows this connection."""

    welcome: messages.Welcome


class PartArrived(Struct, frozen=True):
    """One part of a stream. Another attempt starts again at number 0."""

    id: int
    attempt: int
    number: int
    body: Sequence[Any]


class Replied(Struct, frozen=True):
    """The terminal answer of a request that worked; `body` are its frames, for `decode_body`."""

    id: int
    body: Sequence[Any]


class Failed(Struct, frozen=True):
    """The terminal answer of a request that did not; the error is ready to be raised."""

    id: int
    error: MaitredError


Event = Welcomed | PartArrived | Replied | Failed


class ClientConnection:
    """The state of one connection.

    Args:
        client: the process's 128-bit id; all its connections share it.
        address: where it is connected to, for messages.
        software, host, pid: who this is, for the broker's tables.
    """

    def __init__(self, client: bytes, address: str, *, software: str = "", host: str = "", pid: int = 0) -> None:
        self.outgoing: list[frames.Frames] = []
        self.welcome: messages.Welcome | None = None
        self._hello = messages.Hello(client, software[:64], host[:255], pid)
        self._address = address
        self._outstanding: dict[int, None] = {}
        self._heard_at = 0.0
        self._speak_at = 0.0
        self._refreshing = False

    def start(self, now: float) -> None:
        """Introduce this connection."""
        self._heard_at = now
        self._say_hello(now)

    @property
    def waiting(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._outstanding)

    # --- what the user asks for ---

    def request(self, message: messages.Request, body: Sequence[Any], now: float) -> None:
        """Send a request; exactly one `Replied` or `Failed` will follow.

        Raises:
            PayloadTooLarge: it is over the broker's limit; nothing is sent.
        """
        assert self.welcome is not None, "a request before WELCOME"
        size = sum(_size(frame) for frame in body)
        limit = self.welcome.max_message
        if size > limit:
            text = f"the arguments take {size} bytes; the broker at {self._address} accepts {limit}"
            raise PayloadTooLarge(text, size=size, limit=limit, what="arguments")
        self._await(message.id, now)
        self.outgoing.append(frames.encode(message, body))

    def query(self, request_id: int, what: str, now: float) -> None:
        """Ask for one of the broker's tables."""
        assert self.welcome is not None, "a query before WELCOME"
        self._await(request_id, now)
        self.outgoing.append(frames.encode(messages.Query(request_id, what)))

    def cancel(self, request_id: int) -> None:
        """Ask for a request to be stopped; its terminal answer still follows."""
        if request_id in self._outstanding:
            self.outgoing.append(frames.encode(messages.Cancel(request_id)))

    def abandon(self, request_id: int) -> None:
        """Ask for a request to be stopped, and forget it: no answer follows."""
        self.cancel(request_id)
        self._outstanding.pop(request_id, None)

    def grant(self, request_id: int, parts: int) -> None:
        """The reader of a stream has room for so many parts more."""
        if request_id in self._outstanding:
            self.outgoing.append(frames.encode(messages.Grant(request_id, parts)))

    def bye(self) -> None:
        """Leave."""
        self.outgoing.append(frames.encode(messages.Bye()))

    # --- what the broker says ---

    def receive(self, message_frames: Sequence[Any], now: float) -> list[Event]:
        """Take in one message.

        Raises:
            ProtocolError: what came is not a message of this protocol, or the broker says that ours was not.
        """
        message, body = frames.to_client.decode(message_frames)
        self._heard_at = now
        match message:
            case messages.Reply():
                return [Replied(message.id, body)] if self._settle(message.id) else []
            case messages.Part():
                known = message.id in self._outstanding
                return [PartArrived(message.id, message.attempt, message.number, body)] if known else []
            case messages.Error():
                return self._on_error(message, body)
            case messages.Welcome():
                return self._on_welcome(message, now)
            case messages.Stranger():
                self._refreshing = False
                self._say_hello(now)
                return []
            case messages.Heartbeat() | messages.Bye():
                return []

    def _on_error(self, message: messages.Error, body: Sequence[Any]) -> list[Event]:
        error = from_wire(message.code, message.message, _details(body))
        if message.id < 0:
            raise error if isinstance(error, ProtocolError | Unavailable) else ProtocolError(str(error))
        return [Failed(message.id, error)] if self._settle(message.id) else []

    def _on_welcome(self, message: messages.Welcome, now: float) -> list[Event]:
        before, self.welcome = self.welcome, message
        self._speak_at = now + message.interval
        if before is None or self._refreshing:
            self._refreshing = False
            return [Welcomed(message)]
        restarted = before.epoch != message.epoch
        why = "restarted" if restarted else "had taken this client for gone"
        return [Welcomed(message), *self._fail_all(f"the broker at {self._address} {why}; the request may have run")]

    # --- time ---

    def tick(self, now: float) -> list[Event]:
        """Do what is due."""
        if self.welcome is None:
            if now >= self._speak_at:
                self._say_hello(now)
            return []
        if now >= self._speak_at and self._outstanding:
            self._speak_at = now + self.welcome.interval
            self.outgoing.append(frames.encode(messages.Heartbeat()))
        silent = now - self._heard_at
        if self._outstanding and silent > self.welcome.interval * self.welcome.liveness + PATIENCE_S:
            return self._fail_all(f"no word from the broker at {self._address} for {silent:.0f} s")
        return []

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, or None where nothing is awaited."""
        return self._speak_at if self.welcome is None or self._outstanding else None

    # --- the books ---

    def _await(self, request_id: int, now: float) -> None:
        assert request_id not in self._outstanding, "a request id is used once"
        assert self.welcome is not None
        if not self._outstanding:  # silence while nothing was awaited means nothing
            if now - self._heard_at > REST_S:
                self._refreshing = True
                self._say_hello(now)
            self._heard_at = now
            self._speak_at = now + self.welcome.interval
        self._outstanding[request_id] = None

    def _settle(self, request_id: int) -> bool:
        return self._outstanding.pop(request_id, self) is None

    def _fail_all(self, text: str) -> list[Event]:
        gone, self._outstanding = self._outstanding, {}
        return [Failed(request_id, Unavailable(text, reason="lost", address=self._address)) for request_id in gone]

    def _say_hello(self, now: float) -> None:
        self.outgoing.append(frames.encode(self._hello))
        self._speak_at = now + HELLO_INTERVAL_S


def _size(frame: Any) -> int:
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)


def _details(body: Sequence[Any]) -> dict[str, Any]:
    try:
        details = decode_body(body)
    except DecodeError:  # a worker wrote them: the code and the sentence still end the request
        return {}
    return cast("dict[str, Any]", details) if isinstance(details, dict) else {}
