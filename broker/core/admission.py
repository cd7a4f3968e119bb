"""Who is let in: accept a request into its pool's queue, or refuse it at once with the reason and an honest wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from maitred.broker.core.account import MAX_RETRIES, RETRY_SHARE
from maitred.broker.core.allowance import excess
from maitred.broker.core.books import enter, judge
from maitred.broker.core.dispatch import Dispatcher
from maitred.broker.core.effects import Send
from maitred.broker.core.journey import Journey
from maitred.broker.core.model import Client, Request
from maitred.broker.core.pool import Pool
from maitred.broker.core.refusals import refuse_unknown_pool
from maitred.broker.core.rights import denied_call
from maitred.broker.core.sessions import Sessions
from maitred.broker.core.state import State
from maitred.broker.core.words import nearest
from maitred.protocol import limits, messages
from maitred.protocol.errors import Code
from maitred.protocol.trace import read

SQUEEZED_RETRY_S = 1.0
"""What the refused are told while the process is short of memory: who is to blame for it is cut off within about that."""

RESERVED_PART = 20
"""One of so many places, and one at least, is for those who come back as told, while there are any: among many who never
come back, a few who do would else find their place taken by a newcomer."""


class Admission:
    """The way in."""

    def __init__(self, state: State, dispatcher: Dispatcher, sessions: Sessions) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._sessions = sessions

    def admit(self, client: Client, message: messages.Request, body: Sequence[Any], now: float) -> None:
        """Accept a request and dispatch what can be, or refuse it."""
        if message.trace:
            self._admit_traced(client, message, body, now)
        else:
            self._admit(client, message, body, now)

    def _admit_traced(self, client: Client, message: messages.Request, body: Sequence[Any], now: float) -> None:
        """The same of a request with a trace: where spans are made here, also of one that is refused."""
        state, trace = self._state, read(message.trace)
        journey = None
        if trace is not None and trace.sampled and state.settings.tracing:
            journey = Journey(trace, message.pool or "", message.command, state.new_span(), state.journeys)
        before = len(state.out)
        request = self._admit(client, message, body, now, "" if trace is None else str(trace), journey)
        if request is None and journey is not None:
            said = (one.message for one in state.out[before:] if isinstance(one, Send) and one.peer == client.peer)
            journey.end(next((one.code for one in said if isinstance(one, messages.Error)), "duplicate"))

    def _admit(
        self,
        client: Client,
        message: messages.Request,
        body: Sequence[Any],
        now: float,
        trace: str = "",
        journey: Journey | None = None,
    ) -> Request | None:
        """Returns what was accepted, None where it was refused."""
        key = (client.id, message.id)
        if key in self._state.requests:
            self._state.note("request.duplicate", request=message.id)
            return None
        pool = self._find_pool(client, message)
        if pool is None:
            return None
        if client.calls is not None and not client.calls.allow(pool.name, message.command):
            self._deny(client, message, pool)
            return None
        size = len(body[0]) if len(body) == 1 else sum(len(frame) for frame in body)
        if not self._is_served(client, message, size, body, pool):
            return None
        session = None
        if message.session is not None:
            session = self._sessions.bind(client, message, pool, now)
            if session is None:
                return None
            if self._sessions.goes_elsewhere(message, session):
                session = None
        timeout = pool.settings.timeout_s if message.timeout is None else message.timeout
        if message.due and client.same_clock:
            timeout = min(timeout, max(message.due - self._state.settings.clock_ahead_s - now, 0.0))
        easy = self._is_at_ease(pool, size)
        account = client.identity.account
        if not (easy and not account.limited) and not self._has_room(client, message, size, pool, timeout, now):
            return None
        request = Request(key, client.peer, client.identity, pool, message.command, body, size)
        self._state.admitted += 1
        request.admitted = self._state.admitted
        request.received_at = now
        request.deadline = now + timeout
        request.timeout = pool.settings.timeout_s if message.timeout is None else message.timeout
        info = pool.commands.get(message.command)
        request.in_batches = info is not None and info.batch > 1
        request.priority = message.priority
        request.window = message.window
        request.idempotent = message.idempotent
        request.attempts = message.attempts or pool.settings.max_attempts
        request.session = session
        if trace:
            request.trace, request.journey = trace, journey
            if journey is not None:
                journey.pool = pool.name
        enter(self._state, client, request)
        if account.retries < MAX_RETRIES:
            account.retries += RETRY_SHARE
        if account.limited and account.principal is not None and account.principal.rate_per_s is not None:
            account.meter.count(account.principal.rate_per_s, now)
        self._dispatcher.enqueue(request, now)
        if not easy:
            judge(self._state, pool, now)
        return request

    # --- whether it is served at all ---

    def _find_pool(self, client: Client, message: messages.Request) -> Pool | None:
        name = message.pool
        if name is None and message.session is not None:
            session = self._state.sessions.get(message.session)
            if session is not None and session.pool is not None and session.is_open_to(client.principal):
                name = session.pool.name
        if name is None:
            name = self._state.settings.route(message.command)
        pool = self._state.pools.get(name) if name is not None else None
        if pool is None:
            asked = f"no pool {name!r}" if name is not None else f"no route for the command {message.command!r}"
            self._state.unknown_pools += 1
            refuse_unknown_pool(self._state, client, message.id, name, asked)
        return pool

    def _deny(self, client: Client, message: messages.Request, pool: Pool) -> None:
        text, details = denied_call(client.principal, pool.name, message.command)
        self._state.turn_away(client.peer, message.id, pool, Code.PERMISSION_DENIED, text, details)
        self._state.note("auth.denied", principal=client.principal.name, right="call", pool=pool.name)

    def _is_served(self, client: Client, message: messages.Request, size: int, body: Sequence[Any], pool: Pool) -> bool:
        if pool.closed:
            self._unavailable(client, message.id, pool, "draining", pool.closed)
            return False
        limit = self._state.settings.max_message_bytes
        if size > limit:
            text = f"the arguments take {size} bytes; this broker accepts {limit}"
            details = {"size": size, "limit": limit, "what": "arguments"}
            self._state.turn_away(client.peer, message.id, pool, Code.PAYLOAD_TOO_LARGE, text, details)
            return False
        commands = pool.commands
        if commands and message.command not in commands:
            self._unknown_command(client, message, pool, sorted(commands))
            return False
        if pool.degraded and not pool.workers:
            self._unavailable(client, message.id, pool, "degraded", f"its workers cannot start: {pool.degraded}")
            return False
        return not self._state.quarantine.entries or not self._is_quarantined(client, message, size, body, pool)

    def _is_quarantined(
        self, client: Client, message: messages.Request, size: int, body: Sequence[Any], pool: Pool
    ) -> bool:
        entry = self._state.quarantine.find(pool.name, message.command, size, body)
        if entry is None or entry.quarantined_at is None:
            return False
        text = f"{message.command!r} with these arguments killed {entry.deaths} workers of pool {pool.name!r} in a row"
        details = {
            "pool": pool.name,
            "fingerprint": entry.fingerprint,
            "deaths": entry.deaths,
            "certificate": msgspec.to_builtins(entry.certificate),
        }
        self._state.turn_away(client.peer, message.id, pool, Code.QUARANTINED, text, details)
        self._state.note("request.quarantined", pool=pool.name, fingerprint=entry.fingerprint)
        return True

    def _unknown_command(self, client: Client, message: messages.Request, pool: Pool, commands: list[str]) -> None:
        near = nearest(message.command, commands)
        hint = f"; did you mean {near!r}?" if near else "."
        text = f"pool {pool.name!r} has no command {message.command!r}{hint} It has: {', '.join(commands)}"
        details = {"pool": pool.name, "command": message.command, "commands": commands, "nearest": near}
        self._state.turn_away(client.peer, message.id, pool, Code.UNKNOWN_COMMAND, text, details)

    def _unavailable(self, client: Client, request_id: int, pool: Pool, reason: str, text: str) -> None:
        details = {"pool": pool.name, "reason": reason}
        self._state.turn_away(client.peer, request_id, pool, Code.UNAVAILABLE, f"pool {pool.name!r}: {text}", details)

    # --- whether there is room ---

    def _is_at_ease(self, pool: Pool, size: int) -> bool:
        """Whether nothing waits and all bounds are far: nearly always, and then nothing else has to be asked."""
        state = self._state
        return (
            not pool.queue
            and not pool.parked
            and pool.held + 1 < pool.busy_from
            and pool.size + size < pool.size_from
            and state.size + size < state.settings.max_queued_bytes
            and not pool.outside
            and not state.squeezed
        )

    def _has_room(
        self, client: Client, message: messages.Request, size: int, pool: Pool, timeout: float, now: float
    ) -> bool:
        if client.identity.account.limited and not self._is_within_its_limits(client, message, size, pool, now):
            return False
        reason, room = self._room(message, size, pool)
        if not self._may_have_place(client, message.ticket, room, pool, now):
            self._send_away(client, message, pool, reason, room, now)
            return False
        return not pool.queue or message.session is not None or self._is_in_time(client, message, pool, timeout, now)

    def _is_within_its_limits(
        self, client: Client, message: messages.Request, size: int, pool: Pool, now: float
    ) -> bool:
        account, principal = client.identity.account, client.identity.account.principal
        who = f"client {client.identity.name!r}" if principal is None else principal.title
        most = None if principal is None else principal.max_queued_bytes
        if most is not None and size > most:  # it would wait in vain
            text = f"the arguments take {size} bytes; {who} may have {most} unanswered"
            details = {"size": size, "limit": most, "what": "arguments"}
            self._state.turn_away(client.peer, message.id, pool, Code.PAYLOAD_TOO_LARGE, text, details)
            return False
        over = excess(account, who, size, pool, now)
        if over is None:
            return True
        details = {"capacity": over.capacity, "retry_after": over.retry_after}
        self._refuse(client, message, pool, over.reason, over.text, details, event="client.limited")
        return False

    def _room(self, message: messages.Request, size: int, pool: Pool) -> tuple[str, int]:
        """How many more the bounds allow, 0 or less where none, and which one that is."""
        it, load = pool.settings, pool.load
        if self._state.squeezed:
            return "broker_memory", 0
        if pool.size + size > it.max_queue_bytes and load:
            return "queue_bytes", 0
        if self._state.size + size > self._state.settings.max_queued_bytes and self._state.requests:
            return "broker_bytes", 0
        return "queue_full", it.max_queue - load

    def _is_in_time(self, client: Client, message: messages.Request, pool: Pool, timeout: float, now: float) -> bool:
        """Whether it would be begun before its time is over; a guess in its favour where that is not known."""
        interval = pool.pace.interval_s(now)
        ahead = pool.queue.ahead_of(client.identity.account.id, message.priority)
        if interval is None or ahead * interval[0] <= timeout:
            return True
        # No place is kept: when there is room in time depends on the caller's own time-out.
        wait = min(ahead * interval[1] - timeout + interval[1], limits.MAX_RETRY_AFTER_S)
        pool.refused += 1
        text = (
            f"pool {pool.name!r} would not begin it within {timeout:.3g} s: {ahead} come before it, "
            f"one is done every {interval[0]:.3g} s"
        )
        details = {"capacity": pool.settings.max_queue, "retry_after": wait}
        self._refuse(client, message, pool, "expected_wait", text, details)
        return False

    def _may_have_place(self, client: Client, ticket: int, room: int, pool: Pool, now: float) -> bool:
        places = pool.outside
        if places:
            places.expire(now)
            if ticket and places.wait_left(ticket, client.identity.account.id, now) == 0.0:
                places.take_up(ticket, room > 0)
                return room > 0
        if room <= 0:
            return False
        if not places or len(pool.queue) < pool.pace.slots:  # rather a broken word than idle workers
            return True
        return room > max(places.expected, 1, pool.settings.max_queue // RESERVED_PART)

    def _send_away(
        self, client: Client, message: messages.Request, pool: Pool, reason: str, room: int, now: float
    ) -> None:
        details: dict[str, Any] = {"capacity": pool.settings.max_queue}
        interval = pool.pace.interval_s(now)
        if reason == "broker_memory":  # which no reply gives back
            details["retry_after"] = SQUEEZED_RETRY_S
        elif interval is not None:
            details |= self._place(client, message.ticket, 1 - room, interval[1], pool, now)
        pool.refused += 1
        judge(self._state, pool, now, refused=True)
        self._refuse(client, message, pool, reason, _SENTENCES[reason](self._state, pool), details)

    def _place(
        self, client: Client, ticket: int, short_by: int, interval_s: float, pool: Pool, now: float
    ) -> dict[str, Any]:
        owner = client.identity.account.id
        left = pool.outside.wait_left(ticket, owner, now) if ticket else None
        if left:  # it came too soon, or was told the longest wait there is: its place is still its own
            return {"retry_after": min(left, limits.MAX_RETRY_AFTER_S), "ticket": ticket}
        self._state.tickets += 1
        wait, kept = pool.outside.keep(self._state.tickets, owner, short_by, interval_s, now)
        return {"retry_after": wait, "ticket": self._state.tickets if kept else None}

    def _refuse(
        self,
        client: Client,
        message: messages.Request,
        pool: Pool,
        reason: str,
        text: str,
        more: dict[str, Any],
        event: str = "pool.saturated",
    ) -> None:
        details = {"pool": pool.name, "queued": pool.queued, "reason": reason} | more
        self._state.turn_away(client.peer, message.id, pool, Code.RESOURCE_EXHAUSTED, text, details)
        who = {} if event == "pool.saturated" else {"principal": client.principal.account or None}
        self._state.note(event, pool=pool.name, reason=reason, queued=pool.queued, **who)


_SENTENCES: dict[str, Callable[[State, Pool], str]] = {
    "queue_full": lambda _, pool: (
        f"pool {pool.name!r} is full: {pool.queued} queued, {pool.held} with workers, "
        f"room for {pool.settings.max_queue}"
    ),
    "queue_bytes": lambda _, pool: (
        f"pool {pool.name!r} is full: it holds {pool.size} bytes of arguments, room for {pool.settings.max_queue_bytes}"
    ),
    "broker_memory": lambda _state, _pool: (
        "the broker's process is short of memory: it takes nothing new until it has some"
    ),
    "broker_bytes": lambda state, _: (
        f"the broker is full: it holds {state.size} bytes of arguments, room for {state.settings.max_queued_bytes}"
    ),
}
