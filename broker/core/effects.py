"""What the core asks its shell to do. Data only: the core does nothing itself."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from maitred.broker.core.journey import Journey
from maitred.protocol.messages import Message


class Side(enum.IntEnum):
    """Which socket a peer is connected to. A peer of one side can never act as one of the other."""

    CLIENTS = 0
    WORKERS = 1
    MAJORDOMO = 2
    """Both roles of Majordomo's protocol, and nothing of ours."""


class Peer(NamedTuple):
    """One connection: good for answering, never for trusting. It names a socket's peer, not a process."""

    side: Side
    route: bytes


class Send(Struct, frozen=True):
    """Send this message to that peer. A message that cannot be sent comes back through `undeliverable`."""

    peer: Peer
    message: Message
    body: Sequence[Any] = ()


class Forward(Struct, frozen=True):
    """Send these frames to a peer that speaks Majordomo's protocol; they say what `message` says in ours."""

    peer: Peer
    frames: list[Any]
    message: Message


class Reload(Struct, frozen=True):
    """Read again whose keys may do what; `BrokerCore.reloaded` answers request `id` of `peer` with what came of it."""

    peer: Peer
    id: int


class Note(Struct, frozen=True):
    """Something happened that is worth a line in the log, a count, or a subscriber's attention."""

    event: str
    fields: dict[str, Any]


class Event(NamedTuple):
    """Something that happened.

    Attributes:
        number: counts from 1 in this broker's life.
        at: seconds since 1970, by the broker's clock.
        name: one of the documented events.
        fields: what is said of it, by name; to be read only.
    """

    number: int
    at: float
    name: str
    fields: dict[str, Any]


class Traced(Struct, frozen=True):
    """A request that is traced has ended: its spans may be exported. Only where `CoreSettings.tracing` asks for it."""

    journey: Journey


class Drained(Struct, frozen=True):
    """After `drain`: nothing is left to answer. Emitted once."""


Effect = Send | Forward | Reload | Note | Traced | Drained
