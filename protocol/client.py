"""A client's half of the conversation, for one connection, without I/O.

    start(now) · request(…) · ask(…) · watch(…) · join(…)
    receive(frames, now) → events · tick(now) → events · next_deadline()

What is to be sent collects in `outgoing` (lists of frames, in order); the shell sends it after each call, each message by
itself, or the first ones together (`first_outgoing`). The rules:

    HELLO first; nothing else is sent before WELCOME.
    While an answer is awaited, a HEARTBEAT every interval; the broker answers each.
    STRANGER: the broker does not know this connection (any more): HELLO again, and all else waits for WELCOME.
    WELCOME again: messages that STRANGER answered were not acted upon and are sent again. What else was outstanding is
    gone; each such request fails as `Unavailable`, once. It may have run. A watch asks for nothing to be done: it is
    said again whatever became of it, and outlives any silence. A session that was joined is attached to again likewise.
    ERROR for no request (-1): nothing of what is outstanding will be answered; `receive` raises it. With `unauthenticated`
    this client's key was taken back: what it says from now on is answered so, until WELCOME comes after all.
    Silence for `interval * liveness`, then for `patience_s` more: the broker is given up, each request fails likewise.

Which messages did STRANGER answer? A connection keeps their order, and each gets one STRANGER until HELLO arrives: so as
many of the last ones before HELLO as there were STRANGERs before WELCOME. A client that rested until it was forgotten, or
until the broker was another, notices nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, TypeGuard, cast

import msgspec

from maitred.protocol import bundles, frames, messages
from maitred.protocol.body import decode_body
from maitred.protocol.client_events import (
    Event,
    Failed,
    PartArrived,
    PressureChanged,
    Replied,
    SessionEndedEvent,
    SessionMovedEvent,
    Welcomed,
)
from maitred.protocol.errors import (
    DecodeError,
    MaitredError,
    PayloadTooLarge,
    PermissionDenied,
    ProtocolError,
    SessionLost,
    SessionNotFound,
    Unauthenticated,
    Unavailable,
    from_wire,
)
from maitred.protocol.joined import Joined
from maitred.protocol.showing import Show, show_nothing

__all__ = [
    "HELLO_INTERVAL_S",
    "PATIENCE_S",
    "REMEMBERED_MESSAGES",
    "ClientConnection",
    "Event",
    "Failed",
    "PartArrived",
    "PressureChanged",
    "Question",
    "Replied",
    "SessionEndedEvent",
    "SessionMovedEvent",
    "Welcomed",
]

HELLO_INTERVAL_S = 0.5
"""Seconds between HELLOs that are not answered."""

PATIENCE_S = 10.0
"""Seconds beyond the agreed silence during which a broker that restarts may come back."""

REMEMBERED_MESSAGES = 1024
"""Messages remembered for being sent again: more than a client has under way between two answers. An older request
fails instead, which is the safe side."""


Question: TypeAlias = messages.Query | messages.Operate | messages.Session
"""What the broker itself is asked: answered by one REPLY or ERROR."""

_OF_THE_CONNECTION = (ProtocolError, Unavailable, Unauthenticated, PermissionDenied)
"""Errors that may be about no request."""

_Said = int | frames.Frames
"""A message as it is remembered: a request by its id (its frames are kept until it is answered), others by frames."""


class ClientConnection:
    """The state of one connection.

    Args:
        client: the process's 128-bit id; all its connections share it.
        address: where it is connected to, for messages.
        software, host, pid: who this is, for the broker's tables.
        name: what the application calls itself; the broker may be configured by it.
        clock: names the clock of the requests' `due`.
        bundles: whoever drives it opens those that come (`protocol.bundles`), so the broker may send some.
        show: the secret for each HELLO, where there is no key.
    """

    def __init__(
        self,
        client: bytes,
        address: str,
        *,
        software: str = "",
        host: str = "",
        pid: int = 0,
        name: str = "",
        clock: str = "",
        bundles: bool = False,
        show: Show = show_nothing,
    ) -> None:
        self.outgoing: list[frames.Frames] = []
        self.welcome: messages.Welcome | None = None
        self._hello = messages.Hello(client, software[:64], host[:255], pid, name, clock, bundles)
        self._show = show
        self.address = address
        self._outstanding: dict[int, frames.Frames] = {}
        self._watches: dict[int, None] = {}  # those of them that are watches, or have joined a session
        self._joined = Joined()
        self._said: deque[_Said] = deque(maxlen=REMEMBERED_MESSAGES)
        self.bundles = False
        self._greeting = True
        self._strangers = 0
        self._held_back: list[_Said] = []
        self._heard_at = 0.0
        self._speak_at = 0.0

    def start(self, now: float) -> None:
        """Introduce this connection."""
        self._heard_at = now
        self._say_hello(now)

    @property
    def waiting(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self._outstanding)

    # --- what the user asks for ---

    def request(self, message: messages.Request | messages.Listen, body: Sequence[Any], now: float) -> None:
        """Send a request; exactly one `Replied` or `Failed` will follow.

        Raises:
            PayloadTooLarge: it is over the broker's limit; nothing is sent.
            Unavailable: it asks for events, and the broker is too old for that.
        """
        assert self.welcome is not None, "a request before WELCOME"
        if isinstance(message, messages.Listen) and not self.welcome.events:
            text = f"the broker at {self.address} is of a version that tells no events"
            raise Unavailable(text, reason="too_old", address=self.address)
        size = len(body[0]) if len(body) == 1 else sum(_size(frame) for frame in body)
        if size > self.welcome.max_message:
            raise self._too_large(size, "arguments")
        self._await(message.id, frames.encode(message, body), now)

    def ask(self, message: Question, now: float) -> None:
        """Ask the broker itself for something; one `Replied` or `Failed` will follow."""
        assert self.welcome is not None, "a question before WELCOME"
        self._await(message.id, frames.encode(message), now)

    def watch(self, request_id: int, pool: str, now: float) -> None:
        """Be told how full a pool is: `PressureChanged` now and at each change, until `abandon`, or one `Failed`."""
        assert self.welcome is not None, "a watch before WELCOME"
        self._await(request_id, frames.encode(messages.Watch(request_id, pool)), now)
        self._watches[request_id] = None

    def join(self, message: messages.Open | messages.Session, body: Sequence[Any], now: float) -> None:
        """Open a session, or attach to one. `Replied` or `Failed` follows.

        After `Replied` this connection is told of it: any number of `SessionMovedEvent` and, each time it was attached to
        again, `Replied`; then one `SessionEndedEvent`, or `Failed` where it had ended meanwhile. Until `abandon`.

        Raises:
            PayloadTooLarge: the metadata is over the broker's limit; nothing is sent.
        """
        assert self.welcome is not None, "a session before WELCOME"
        size = sum(_size(frame) for frame in body)
        if size > self.welcome.max_message:
            raise self._too_large(size, "metadata")
        self._await(message.id, frames.encode(message, body), now)
        self._joined.add(message.id, message.session)

    def cancel(self, request_id: int) -> None:
        """Ask for a request to be stopped; its terminal answer still follows. Of a watch, none does: `abandon` it."""
        if request_id in self._outstanding:
            self._say(frames.encode(messages.Cancel(request_id)))

    def abandon(self, request_id: int) -> None:
        """Ask for a request to be stopped, and forget it: no answer follows. A session that was joined goes on."""
        if not self._has_joined(request_id):
            self.cancel(request_id)
        self._settle(request_id)

    def is_unsent(self, request_id: int) -> bool:
        """Whether a request is outstanding and waits to be sent."""
        request = self._outstanding.get(request_id)
        return request_id in self._held_back or any(one is request for one in self.outgoing)

    def withdraw(self, request_id: int) -> bool:
        """Forget a request that has not left; False where it has, or is not outstanding."""
        request = self._outstanding.get(request_id)
        if request_id in self._held_back:
            self._held_back.remove(request_id)
        elif (place := next((n for n, one in enumerate(self.outgoing) if one is request), None)) is not None:
            del self.outgoing[place]
            if request_id in self._said:
                self._said.remove(request_id)
        else:
            return False
        self._settle(request_id)
        return True

    def grant(self, request_id: int, parts: int) -> None:
        """The reader of a stream has room for so many parts more."""
        if request_id in self._outstanding:
            self._say(frames.encode(messages.Grant(request_id, parts)))

    def bye(self) -> None:
        """Leave."""
        self.outgoing.append(frames.encode(messages.Bye()))

    def first_outgoing(self) -> tuple[frames.Frames, int]:
        """What to send first of `outgoing`, which is not empty, and how many of its messages that is."""
        return bundles.first_of(self.outgoing) if self.bundles else (self.outgoing[0], 1)

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
                joins = message.id in self._joined.sessions
                known = self._stay(message.id) if joins else self._settle(message.id)
                return [Replied(message.id, body, message.level, message.epoch)] if known else []
            case messages.Part():
                known = message.id in self._outstanding
                return [PartArrived(message.id, message.attempt, message.number, body)] if known else []
            case messages.Error():
                return self._on_error(message, body)
            case messages.Welcome():
                return self._on_welcome(message, now)
            case messages.Stranger():
                self._on_stranger(now)
                return []
            case messages.Pressure():
                return [_changed(message)] if message.id in self._watches else []
            case messages.SessionEnded():
                ended = self._joined.ended(message, _details(body))
                return [event for event in ended if self._settle(event.id)]
            case messages.SessionMoved():
                return [*self._joined.moved(message)]
            case messages.Heartbeat() | messages.Bye():
                return []

    def _on_error(self, message: messages.Error, body: Sequence[Any]) -> list[Event]:
        error = from_wire(message.code, message.message, _details(body))
        if message.id < 0:
            raise error if isinstance(error, _OF_THE_CONNECTION) else ProtocolError(str(error))
        if self._has_joined(message.id) and not isinstance(error, SessionLost | SessionNotFound):
            return []  # it was attached to again, and not by this broker: nothing was said of the session
        return [Failed(message.id, error, message.level)] if self._settle(message.id) else []

    def _on_stranger(self, now: float) -> None:
        self._strangers += 1
        if not self._greeting:
            self._greeting = True
            self.bundles = False
            self._say_hello(now)

    def _on_welcome(self, message: messages.Welcome, now: float) -> list[Event]:
        before, self.welcome = self.welcome, message
        self.bundles = message.bundles
        if not self._greeting:  # the answer to a HELLO that was repeated: whatever was sent since came after it
            return [Welcomed(message)]
        self._greeting = False
        self._speak_at = now + message.interval
        again = list(self._said)[-self._strangers :] if self._strangers else []
        again += self._held_back
        self._strangers = 0
        self._said.clear()
        self._held_back = []
        if before is None:
            return [Welcomed(message)]
        why = "restarted" if before.epoch != message.epoch else "had taken this client for gone"
        text = f"the broker at {self.address} {why}; the request may have run"
        lost = self._fail(self._outstanding.keys() - set(filter(_is_id, again)), text)
        said = set(filter(_is_id, again))
        self._say_again([*again, *(watch for watch in self._watches if watch not in said)])
        return [Welcomed(message), *lost]

    def _say_again(self, said: Sequence[_Said]) -> None:
        for one in said:
            if not isinstance(one, int):
                self._say(one)
            elif one in self._outstanding:
                self._say(self._outstanding[one], one)

    # --- time ---

    def tick(self, now: float) -> list[Event]:
        """Do what is due."""
        if self._greeting:
            if now >= self._speak_at:
                self._say_hello(now)
        elif self._outstanding and now >= self._speak_at:
            self._say_heartbeat(now)
        return self._give_up_if_silent(now)

    def _give_up_if_silent(self, now: float) -> list[Event]:
        silent = now - self._heard_at
        if self.welcome is None or silent <= self.welcome.interval * self.welcome.liveness + PATIENCE_S:
            return []
        return self._fail(self._outstanding, f"no word from the broker at {self.address} for {silent:.0f} s")

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, or None where nothing is awaited."""
        return self._speak_at if self.welcome is None or self._outstanding else None

    def fail_all(self, error: MaitredError) -> list[Event]:
        """Forget all that is outstanding, and what waits to be sent: each request fails with an error like this one."""
        gone, self._outstanding = self._outstanding, {}
        self.outgoing.clear()
        self._held_back.clear()
        self._watches.clear()
        self._joined.clear()
        return [Failed(request_id, type(error)(error.message, **error.details)) for request_id in gone]

    # --- the books ---

    def _await(self, request_id: int, request: frames.Frames, now: float) -> None:
        assert request_id not in self._outstanding, "a request id is used once"
        assert self.welcome is not None
        if not self._outstanding:  # silence while nothing was awaited means nothing
            self._heard_at = now
            if self._greeting:
                self._held_back.clear()  # of requests given up since
            else:
                self._speak_at = now + self.welcome.interval
        elif len(self._outstanding) == len(self._watches):  # watches do not mind it either
            self._heard_at = now
        self._outstanding[request_id] = request
        self._say(request, request_id)

    def _say(self, message_frames: frames.Frames, request_id: int | None = None) -> None:
        said = message_frames if request_id is None else request_id
        if self._greeting:
            self._held_back.append(said)
        else:
            self._said.append(said)
            self.outgoing.append(message_frames)

    def _settle(self, request_id: int) -> bool:
        if self._watches:
            self._watches.pop(request_id, None)
        if self._joined.sessions:
            self._joined.remove(request_id)
        return self._outstanding.pop(request_id, None) is not None

    def _has_joined(self, request_id: int) -> bool:
        return request_id in self._watches and request_id in self._joined.sessions

    def _stay(self, request_id: int) -> bool:
        """A session was joined: from now on it is as a watch, which says "attach"."""
        if request_id not in self._watches:
            self._watches[request_id] = None
            self._outstanding[request_id] = frames.encode(self._joined.attach(request_id))
        return True

    def _fail(self, request_ids: Iterable[int], text: str) -> list[Event]:
        failed = sorted(set(request_ids) - self._watches.keys())
        for request_id in failed:
            self._settle(request_id)
        return [Failed(request_id, Unavailable(text, reason="lost", address=self.address)) for request_id in failed]

    def _too_large(self, size: int, what: str) -> PayloadTooLarge:
        assert self.welcome is not None
        limit = self.welcome.max_message
        text = f"the {what} take {size} bytes; the broker at {self.address} accepts {limit}"
        return PayloadTooLarge(text, size=size, limit=limit, what=what)

    def _say_hello(self, now: float) -> None:
        self._speak_at = now + HELLO_INTERVAL_S
        if self.outgoing:  # it is being waited for that anything leaves
            return
        secret = self._show()
        if secret is not None:
            self.outgoing.append(frames.encode(msgspec.structs.replace(self._hello, secret=secret)))

    def _say_heartbeat(self, now: float) -> None:
        assert self.welcome is not None
        self._speak_at = now + self.welcome.interval
        if not self.outgoing:
            self._say(frames.encode(messages.Heartbeat()))


def _is_id(said: _Said) -> TypeGuard[int]:
    return isinstance(said, int)


def _changed(message: messages.Pressure) -> PressureChanged:
    it = message
    return PressureChanged(it.id, it.pool, it.level, it.queued, it.capacity, it.retry_after)


def _size(frame: Any) -> int:
    return frame.nbytes if isinstance(frame, memoryview) else len(frame)


def _details(body: Sequence[Any]) -> dict[str, Any]:
    try:
        details = decode_body(body)
    except DecodeError:  # a worker wrote them: the code and the sentence still end the request
        return {}
    return cast("dict[str, Any]", details) if isinstance(details, dict) else {}
