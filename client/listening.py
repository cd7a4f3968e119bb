"""The broker's events as a client is told them: one stream after the other, through restarts of the broker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from maitred.client.calls import DEFAULTS, Call, check_name
from maitred.client.errors import InvalidArgument, Unavailable
from maitred.protocol import limits, messages

__all__ = ["Event", "Listening"]


class Event(Struct, frozen=True):
    """Something that happened at the broker (docs/events.md has them all).

    Attributes:
        number: counts from 1 in the broker's life; a restarted broker begins anew.
        at: seconds since 1970, by the broker's clock.
        name: as "worker.died".
        fields: what is said of it, by name.
        lost: events left out so far, as this reader was too slow for them.
    """

    number: int
    at: float
    name: str
    fields: dict[str, Any]
    lost: int = 0


class Listening(Call):
    """What is sent to be told, now and after the connection was lost: from the last event on that was told.

    Args:
        names: of events; with `*` at the end, how they begin; none: all.
        after: events that are kept and have a higher number come first; None: none do.
        follow: whether to go on with what happens; else it ends after those that are kept.

    Raises:
        InvalidArgument: a name is none, or there are too many.
        ValueError: `after` is no number.
    """

    __slots__ = ("_after", "_epoch", "_follow", "_heard", "_names")

    def __init__(self, names: Iterable[str], after: int | None, *, follow: bool) -> None:
        super().__init__(None, "events", None, DEFAULTS, limits.DEFAULT_WINDOW_PARTS)
        self.here = None
        self.body = ()
        self._names = list(names)
        if len(self._names) > limits.MAX_EVENT_NAMES:
            text = f"{len(self._names)} names of events; {limits.MAX_EVENT_NAMES} are accepted"
            raise InvalidArgument(text, argument="names", reason="too many")
        for name in self._names:
            check_name("a name of events", name)
        if after is not None and (type(after) is not int or after < 0):
            raise ValueError(f"after is {after!r}; accepted: the number of an event, 0 for all that are kept, or None")
        self._after = after
        self._epoch: bytes | None = None
        self._follow = follow
        self._heard = False

    def message(self, request_id: int, now: float, trace: str = "") -> messages.Listen:
        """Ask for what was not told yet."""
        return messages.Listen(request_id, self._names, self._after, self._epoch, self._follow, self.window)

    def told(self, row: dict[str, Any]) -> Event | None:
        """Take one in; None where it says only from where on this broker tells."""
        self._after, self._epoch, self._heard = row["number"], row["epoch"], True
        return Event(**{field: row[field] for field in Event.__struct_fields__}) if row["name"] else None

    def goes_on_after(self, error: Unavailable) -> bool:
        """Whether to ask again: the connection was lost, or the broker restarts. What happened meanwhile is told then."""
        heard, self._heard = self._heard, False
        return heard and self._follow and error.details.get("reason") in ("lost", "draining")
