"""What a client's half of the conversation (`protocol.client`) tells whoever drives it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from maitred.protocol import messages
from maitred.protocol.errors import MaitredError

__all__ = [
    "Event",
    "Failed",
    "PartArrived",
    "PressureChanged",
    "Replied",
    "SessionEndedEvent",
    "SessionMovedEvent",
    "Welcomed",
]


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
    """The terminal answer of a request that worked; `body` are its frames, for `decode_body`.

    `level` says how full its pool is (`messages.LEVELS`); `epoch`, of a session's request, which owner gave it (0: none).
    """

    id: int
    body: Sequence[Any]
    level: int = messages.LEVEL_OK
    epoch: int = 0


class Failed(Struct, frozen=True):
    """The terminal answer of a request that did not; the error is ready to be raised. `level` as in `Replied`."""

    id: int
    error: MaitredError
    level: int = messages.LEVEL_OK


class PressureChanged(Struct, frozen=True):
    """How full a watched pool is now. `retry_after` in seconds: when a request refused now would find room."""

    id: int
    pool: str
    level: int
    queued: int
    capacity: int
    retry_after: float | None


class SessionEndedEvent(Struct, frozen=True):
    """A joined session has ended. `error` is what its next request would get; `id` is of the request that joined it."""

    id: int
    reason: str
    error: MaitredError


class SessionMovedEvent(Struct, frozen=True):
    """A joined session has another owner. `epoch` counts them; `id` is of the request that joined it.

    `answered` of its requests had been, `kept` of these when the snapshot was taken that the new owner was given.
    """

    id: int
    epoch: int
    answered: int = 0
    kept: int = 0


Event = Welcomed | PartArrived | Replied | Failed | PressureChanged | SessionEndedEvent | SessionMovedEvent
