"""Clients that are told the broker's events: as the parts of a stream, under the reader's credit, oldest first.

What happens is numbered and kept outside of the core (`EventFeed`), and told to it: `happened`. Nobody is waited for: a
reader that gives no credit has events waiting here, and with too many the oldest are left out, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from maitred.broker.core.effects import Event
from maitred.broker.core.listener import Listener
from maitred.broker.core.model import Client
from maitred.broker.core.rights import denied
from maitred.broker.core.state import State
from maitred.broker.core.words import nearest
from maitred.protocol import limits, messages
from maitred.protocol.body import encode_body
from maitred.protocol.errors import Code, EncodeError
from maitred.protocol.events import EVENTS
from maitred.protocol.own_events import OWN

__all__ = ["MAX_LISTENS", "MAX_WAITING", "Listeners", "matches"]

MAX_LISTENS = 8
"""Streams of events of one connection."""

MAX_WAITING = 1000
"""Events that wait for one reader: as many as are kept. With more, its oldest are left out, and it is told how many."""

BEGINNING = ""
"""No event: the name of what says where a stream begins, so that a reader who comes back misses nothing."""


class Listeners:
    """The verbs of them."""

    def __init__(self, state: State) -> None:
        self._state = state

    def begin(self, client: Client, message: messages.Listen) -> None:
        """LISTEN: begin with what is kept, as far as it is asked for; or refuse it."""
        state = self._state
        if not client.principal.read:
            self._deny(client, message.id)
            return
        unknown = next((name for name in message.names if not _is_known(name)), None)
        if unknown is not None:
            near = nearest(unknown, list(EVENTS))
            meant = f"did you mean {near!r}? " if near else ""
            text = f"no event {unknown!r}; {meant}docs/events.md has them all, and 'worker.*' is a pattern"
            state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, text, {"argument": "names", "nearest": near})
            return
        if len(client.listens) >= MAX_LISTENS and message.id not in client.listens:
            text = f"a connection listens to {MAX_LISTENS} streams of events at most"
            state.refuse(client.peer, message.id, Code.INVALID_ARGUMENT, text, {"argument": "id"})
            return
        listener = client.listens[message.id] = Listener(message)
        kept = state.settings.recent(0)
        last = kept[-1].number if kept else 0
        after = last if message.after is None else message.after
        if message.epoch not in (None, state.settings.epoch):
            after = 0  # it counts by another broker's events
        listener.waiting.append(Event(after, 0.0, BEGINNING, {}))  # where it begins is told first
        self._offer(listener, (event for event in kept if event.number > after))
        self._tell(client, listener)

    def grant(self, client: Client, message: messages.Grant) -> bool:
        """A reader has room. False: it is none of these."""
        listener = client.listens.get(message.id)
        if listener is None:
            return False
        listener.credit = min(listener.credit + message.parts, limits.MAX_WINDOW_PARTS)
        self._tell(client, listener)
        return True

    def cancel(self, client: Client, request_id: int) -> bool:
        """A reader wants no more. False: it is none of these."""
        if client.listens.pop(request_id, None) is None:
            return False
        self._state.refuse(
            client.peer, request_id, Code.CANCELLED, "the stream of events was ended", {"outcome": "stopped"}
        )
        return True

    def happened(self, events: Iterable[Event]) -> None:
        """Tell everybody who listens."""
        known = list(events)
        for client in self._clients():
            for listener in list(client.listens.values()):
                if client.principal.read:
                    self._offer(listener, known)
                    self._tell(client, listener)
                else:  # it was his, and was taken back
                    del client.listens[listener.id]
                    self._deny(client, listener.id)

    def end(self) -> None:
        """The broker ends: nothing more is told."""
        for client in self._clients():
            for request_id in client.listens:
                text = "the broker is shutting down"
                self._state.refuse(client.peer, request_id, Code.UNAVAILABLE, text, {"reason": "draining"})
            client.listens.clear()

    def _deny(self, client: Client, request_id: int) -> None:
        text, details = denied(client.principal, "read", "listen to events")
        self._state.refuse(client.peer, request_id, Code.PERMISSION_DENIED, text, details)

    def _clients(self) -> list[Client]:
        return [party for party in self._state.parties.values() if isinstance(party, Client) and party.listens]

    def _offer(self, listener: Listener, events: Iterable[Event]) -> None:
        for event in events:
            if event.number <= listener.seen:
                continue  # it was among those that were kept
            if listener.seen:
                listener.lost += event.number - listener.seen - 1  # there were more than could be told of
            listener.seen = event.number
            if matches(event.name, listener.names):
                if len(listener.waiting) >= MAX_WAITING:
                    listener.lost += listener.waiting.popleft().name != BEGINNING
                listener.waiting.append(event)

    def _tell(self, client: Client, listener: Listener) -> None:
        state = self._state
        while listener.waiting and listener.credit:
            event = listener.waiting.popleft()
            part = messages.Part(listener.id, 1, listener.told)
            state.send(client.peer, part, _body(event, listener.lost, state.settings.epoch))
            listener.told += 1
            listener.credit -= 1
        if not listener.follow and not listener.waiting:
            del client.listens[listener.id]
            state.send(client.peer, messages.Reply(listener.id), encode_body(None))


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether it is one of these names, or begins as one of them that ends with `*`; no patterns: each is."""
    wanted = list(patterns)
    return not wanted or any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in wanted)


def _is_known(pattern: str) -> bool:
    return pattern.startswith(OWN) or any(matches(name, [pattern]) for name in EVENTS)


def _body(event: Event, lost: int, epoch: bytes) -> list[Any]:
    row = {"number": event.number, "at": event.at, "name": event.name, "lost": lost, "epoch": epoch}
    try:
        return encode_body(row | {"fields": event.fields})
    except EncodeError:  # a field of some class of the broker's own
        return encode_body(row | {"fields": {name: str(value) for name, value in event.fields.items()}})
