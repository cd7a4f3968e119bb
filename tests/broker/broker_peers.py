"""Peers of a broker core as tests write them: they see messages and nothing else of the broker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from maitred.broker.core.effects import Drained, Effect, Note, Peer, Reload, Send, Side, Traced
from maitred.broker.core.journey import Journey
from maitred.broker.core.router import BrokerCore
from maitred.broker.core.settings import CoreSettings, PoolSettings
from maitred.protocol import frames, messages

POOL = "general"


def id128(n: int) -> bytes:
    """A 128-bit id that a reader can tell from another."""
    return n.to_bytes(16, "big")


def settings(**changes: Any) -> CoreSettings:
    pools = changes.pop("pools", None) or [PoolSettings(POOL)]
    return CoreSettings(
        epoch=id128(1), pools={pool.name: pool for pool in pools}, route=changes.pop("route", lambda _: POOL), **changes
    )


class Bench:
    """A core on a bench: time is `now`, what it sends is sorted by peer, its books are checked after every step."""

    def __init__(self, **changes: Any) -> None:
        self.now = 1000.0
        self.core = BrokerCore(settings(**changes), self.now)
        self.inbox: dict[Peer, list[tuple[Any, Sequence[Any]]]] = {}
        self.notes: list[Note] = []
        self.drained = 0
        self.users: dict[Peer, str] = {}
        """Whose connection it is, as the handler of handshakes would say."""
        self.reloads: list[Reload] = []
        self.traced: list[Journey] = []
        self._routes = 0

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(peer, message, body):
                    # through the codec, as on the wire
                    decoder = frames.to_client if peer.side is Side.CLIENTS else frames.to_worker
                    self.inbox.setdefault(peer, []).append(decoder.decode(frames.encode(message, body)))
                case Note():
                    self.notes.append(effect)
                case Reload():
                    self.reloads.append(effect)
                case Traced(journey):
                    self.traced.append(journey)
                case Drained():
                    self.drained += 1
        self.core.check()

    def say(self, peer: Peer, message: messages.Message, *body: bytes) -> list[tuple[Any, Sequence[Any]]]:
        """Send a message to the core; returns what that peer was sent in answer."""
        self.tell(peer, message, *body)
        return self.take(peer)

    def tell(self, peer: Peer, message: messages.Message, *body: bytes) -> None:
        """Send a message to the core and leave the answers where they are."""
        self.raw(peer, frames.encode(message, body))

    def raw(self, peer: Peer, message_frames: Sequence[bytes]) -> None:
        self.perform(self.core.receive(peer, message_frames, self.now, self.users.get(peer, "")))

    def take(self, peer: Peer) -> list[tuple[Any, Sequence[Any]]]:
        return self.inbox.pop(peer, [])

    def advance(self, seconds: float) -> None:
        """Let time pass as the shell does: never past a deadline without a tick."""
        end = self.now + seconds
        while (wake := self.core.next_deadline()) <= end:
            self.now = max(self.now, wake)
            self.perform(self.core.tick(self.now))
        self.now = end

    def peer(self, side: Side) -> Peer:
        self._routes += 1
        return Peer(side, b"route %d" % self._routes)

    def client(self, n: int = 7) -> Peer:
        peer = self.peer(Side.CLIENTS)
        ((welcome, _),) = self.say(peer, messages.Hello(id128(n)))
        assert isinstance(welcome, messages.Welcome)
        return peer

    def worker(self, n: int = 100, slots: int = 1, *commands: messages.CommandInfo, **fields: Any) -> Peer:
        peer = self.peer(Side.WORKERS)
        known = list(commands) or [messages.CommandInfo("echo"), messages.CommandInfo("safe", idempotent=True)]
        ready = messages.Register(id128(n), id128(n + 1), fields.pop("pool", POOL), slots, known, **fields)
        self.raw(peer, frames.encode(ready))
        return peer

    def agent(self, n: int = 500, **fields: Any) -> Peer:
        peer = self.peer(Side.WORKERS)
        self.say(peer, messages.Agent(id128(n), fields.pop("pool", POOL), **fields))
        return peer

    def row(self, table: str, place: int = 0) -> dict[str, Any]:
        """A row of what QUERY would be told."""
        return self.core.table(table, self.now)[place]

    def orders(self, worker: Peer) -> list[messages.Dispatch]:
        return [message for message, _ in self.take(worker) if isinstance(message, messages.Dispatch)]

    def events(self, name: str) -> Iterator[Note]:
        return (note for note in self.notes if note.event == name)


def details(answer: tuple[Any, Sequence[Any]]) -> tuple[str, dict[str, Any]]:
    """Code and details of an ERROR."""
    message, body = answer
    assert isinstance(message, messages.Error)
    return message.code, msgpack.unpackb(body[0])
