"""One call, as the user asked for it, without I/O: its options, its time, when to try again, what its answer means.

Shared by the synchronous and the asynchronous client, by `submit` and by `map`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from msgspec import Struct
from msgspec.structs import replace

from maitred.client.errors import DeadlineExceeded, InvalidArgument, MaitredError, PoolSaturated, RequestCancelled
from maitred.client.lease import Lease
from maitred.client.leased import Leased, session_key
from maitred.client.opening import Affinity, affinity_number
from maitred.protocol import limits, messages
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.client import Failed, PartArrived, Replied
from maitred.protocol.trace import checked
from maitred.tracing.spans import CallSpan, here

__all__ = [
    "DEFAULT_CONNECT_TIMEOUT_S",
    "QUERY_TIMEOUT_S",
    "Answer",
    "Backoff",
    "Call",
    "CallOptions",
    "OnSaturated",
    "Options",
    "Priority",
    "result",
]

OnSaturated: TypeAlias = Literal["raise", "wait"]
"""What to do when the pool is full: raise `PoolSaturated`, or wait as long as the broker says and try again."""

Priority: TypeAlias = Literal["low", "normal", "high"]
"""Whose turn it is in a pool's queue: higher ones go first, and lower ones are not forgotten."""

Answer: TypeAlias = PartArrived | Replied | Failed

DEFAULT_CONNECT_TIMEOUT_S = 5.0
"""Seconds within which a broker has to answer the first HELLO, or to take a request."""

QUERY_TIMEOUT_S = 5.0
"""Seconds within which the broker has to answer about itself."""

GRACE_S = 2.0
"""Seconds beyond a call's timeout during which the broker's own `deadline_exceeded`, which knows more, may arrive."""

MAX_RETRIES = 99
"""The wire has room for 100 attempts."""

FIRST_PAUSE_S = 0.02
"""Pause before trying a full pool again where the broker names none; it doubles up to `LONGEST_PAUSE_S`."""

LONGEST_PAUSE_S = 1.0

SHORTEST_PAUSE_S = 0.001
"""Whatever the broker names: a caller that comes back at once, again and again, would be one that polls."""

JITTER = 0.5
"""Up to this share is added to a pause, so that those who were refused together do not come back together."""

PLACE_JITTER = 0.02
"""The same where the broker keeps a place: it is this caller's alone, from then on. Clocks may differ by less."""


class CallOptions(TypedDict, total=False):
    """The options that a session's calls pass on: those of any call."""

    timeout: float | None
    priority: Priority
    retries: int | None
    idempotent: bool | None
    on_saturated: OnSaturated
    affinity: Affinity | None
    traceparent: str | None


class Options(Struct, frozen=True):
    """The options of a call.

    Attributes:
        timeout: seconds for all of it, waiting included; None takes the pool's.
        retries: how often it may be run again when its worker dies; asking for it says that running it twice does no
            harm. None leaves both to the command and the pool.
        idempotent: whether running it twice does no harm, whatever the command declares.
        on_saturated: what to do when the pool is full.
        priority: whose turn it is in the pool's queue.
        session: whose worker it runs on, after those sent before it.
        affinity: what it does where that worker is busy; None: what the session does.
        traceparent: the position in a trace that it is made from (W3C Trace Context); None: the current span, if any.
    """

    timeout: float | None = None
    retries: int | None = None
    idempotent: bool | None = None
    on_saturated: OnSaturated = "raise"
    priority: Priority = "normal"
    session: Leased | str | None = None
    affinity: Affinity | None = None
    traceparent: str | None = None

    def check(self) -> Options:
        """Refuse what makes no sense.

        Raises:
            ValueError: the text names the option, what was found and what is accepted.
        """
        if self.timeout is not None and not _is_timeout(self.timeout):
            raise _unacceptable("timeout", self.timeout, f"seconds: more than 0, at most {limits.MAX_TIMEOUT_S:.0f}")
        if self.retries is not None and not _is_retries(self.retries):
            raise _unacceptable("retries", self.retries, f"an int from 0 to {MAX_RETRIES}")
        if self.idempotent is not None and type(self.idempotent) is not bool:
            raise _unacceptable("idempotent", self.idempotent, "True or False")
        if self.on_saturated not in ("raise", "wait"):
            raise ValueError(f'on_saturated is {self.on_saturated!r}; accepted: "raise" or "wait"')
        if self.priority not in messages.PRIORITIES:
            raise ValueError(f'priority is {self.priority!r}; accepted: "low", "normal" or "high"')
        if self.retries and self.idempotent is False:
            raise ValueError(f"retries={self.retries} and idempotent=False contradict each other")
        if self.traceparent is not None and not isinstance(self.traceparent, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise _unacceptable("traceparent", self.traceparent, "a str: the header of that name")
        self._check_session()
        return self

    def _check_session(self) -> None:
        if self.session is not None:
            session_key(self.session)
        if self.affinity is not None:
            affinity_number(self.affinity)
            if self.session is None:
                raise ValueError(f"affinity={self.affinity!r} is about a session, and none was given")


DEFAULTS = Options()


class Backoff:
    """How long to leave a full pool alone."""

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._draw = draw
        self._next = FIRST_PAUSE_S

    def pause(self, error: PoolSaturated) -> float:
        """Seconds; never less than the broker's own `retry_after`."""
        pause, jitter = error.retry_after, JITTER
        if pause is None:
            pause, self._next = self._next, min(2 * self._next, LONGEST_PAUSE_S)
        elif error.ticket is not None:
            jitter = PLACE_JITTER
        return max(SHORTEST_PAUSE_S, pause) * (1.0 + jitter * self._draw())

    def reset(self) -> None:
        """There was room."""
        self._next = FIRST_PAUSE_S


class Call:
    """One call, checked and encoded.

    Args:
        pool, command, args, options: as the user gave them.
        window: parts that the reader takes ahead; 0: it takes none.

    Attributes:
        ticket: that of an earlier refusal, for the next attempt: the broker keeps a place for it. 0: none.
        lease: of the session that it is a call of, to be told of the answers; None where there is none, or only its id.
        here: where it is made from, where this process uses OpenTelemetry (`tracing.spans`); else None.

    Raises:
        ValueError, InvalidArgument, EncodeError: it cannot be sent.
        SessionNotFound: its session was closed here.
    """

    __slots__ = ("_backoff", "body", "command", "deadline", "here", "lease", "options", "pool", "ticket", "window")

    def __init__(
        self, pool: str | None, command: str, args: Mapping[str, Any] | None, options: Options, window: int = 0
    ) -> None:
        if pool is not None:
            check_name("pool", pool)
        check_name("command", command)
        self.pool = pool
        self.command = command
        self.options = options
        self.lease: Lease | None = None
        if options is not DEFAULTS:
            options.check()
            self._belong_to(options.session)
        self.here = here(options.traceparent or "")
        self.window = window
        self.body: Sequence[Any] = encode_body(_arguments(args))
        self.deadline: float | None = None
        self.ticket = 0
        self._backoff: Backoff | None = None

    def _belong_to(self, session: Leased | str | None) -> None:
        if isinstance(session, Leased):
            self.lease = session.lease
            self.pool = self.pool or self.lease.pool

    def begin(self, now: float) -> None:
        """Let its time run, from now."""
        timeout = self.options.timeout
        self.deadline = None if timeout is None else now + timeout

    @property
    def begun(self) -> bool:
        """Whether its time runs already. True as well where it has no limit."""
        return self.deadline is not None or self.options.timeout is None

    @property
    def expires(self) -> float | None:
        """When even the broker's own word about the deadline is overdue."""
        return None if self.deadline is None else self.deadline + GRACE_S

    def patience(self, now: float, connect_timeout: float) -> float:
        """How long the broker may take to be there: seconds, whichever ends first."""
        return connect_timeout if self.deadline is None else min(connect_timeout, max(0.0, self.deadline - now))

    def message(self, request_id: int, now: float, trace: str = "") -> messages.Request | messages.Listen:
        """Make the request for an attempt now. `trace`: its position in a trace; "": that of its options, if any."""
        it = self.options
        left = None if self.deadline is None else max(0.0, self.deadline - now)
        idempotent, attempts = it.idempotent, 0
        if it.retries is not None:
            idempotent, attempts = it.idempotent or (True if it.retries else None), it.retries + 1
        priority = messages.PRIORITIES[it.priority]
        due = self.deadline or 0.0  # of `time.monotonic`, the clock that HELLO names
        request = messages.Request(
            request_id, self.pool, self.command, left, self.window, idempotent, attempts, priority, self.ticket, due
        )
        if it is DEFAULTS and not trace:  # nearly always
            return request
        if trace or it.traceparent:
            request = replace(request, trace=trace or checked(it.traceparent or ""))
        if it.session is None:
            return request
        affinity = None if it.affinity is None else affinity_number(it.affinity)
        return replace(request, session=session_key(it.session), affinity=affinity)

    def again_at(self, event: Answer | None, now: float) -> float | None:
        """When to send it again after this answer, with the ticket that it gave; None: not at all, or not in time."""
        if not isinstance(event, Failed) or self.options.on_saturated != "wait":
            return None
        if not isinstance(event.error, PoolSaturated):
            return None
        self._backoff = self._backoff or Backoff()
        self.ticket = event.error.ticket or 0
        at = now + self._backoff.pause(event.error)
        return at if self.deadline is None or at < self.deadline else None

    def not_sent(self, error: MaitredError) -> None:
        """Have its trace tell that it never left, and why."""
        if self.here is not None:
            CallSpan(self.here, self.pool, self.command).end(error.code, error.message)

    def overdue(self) -> DeadlineExceeded:
        """Nobody answered, not even to say that time is up."""
        text = f"no answer within {self.options.timeout:g} s, and none from the broker either"
        return DeadlineExceeded(text, pool=self.pool, where="unknown", timeout=self.options.timeout)


def result(event: Answer) -> Any:
    """The value of a terminal answer.

    Raises:
        MaitredError: that is what the answer is.
    """
    if isinstance(event, Failed):
        raise event.error
    return decode_body(event.body)


def options(
    timeout: float | None,
    priority: Priority,
    retries: int | None,
    idempotent: bool | None,
    on_saturated: OnSaturated,
    session: Leased | str | None = None,
    affinity: Affinity | None = None,
    traceparent: str | None = None,
) -> Options:
    """The options as one; the common case costs nothing."""
    plain = on_saturated == "raise" and priority == "normal" and session is None and affinity is None
    plain = plain and traceparent is None
    if plain and timeout is None and retries is None and idempotent is None:
        return DEFAULTS
    return Options(timeout, retries, idempotent, on_saturated, priority, session, affinity, traceparent)


def outcome(event: Answer) -> str:
    """What became of a request that was told to stop, in one word."""
    if not isinstance(event, Failed):
        return "finished"
    if isinstance(event.error, RequestCancelled):
        return event.error.outcome
    return "unknown" if event.error.details.get("reason") in ("lost", "no_broker") else "finished"


def refusal(error: MaitredError) -> Failed:
    """The answer of a request that was never sent."""
    return Failed(0, error)


def _arguments(args: Mapping[str, Any] | None) -> dict[str, Any]:
    if args is None:
        return {}
    if isinstance(args, dict):
        return args
    if isinstance(args, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        return dict(args)
    text = f"the arguments are a mapping of names to values, not {type(args).__name__}"
    raise InvalidArgument(text, argument="args", reason="no mapping")


def check_name(what: str, name: Any) -> None:
    """Refuse what is no name of a pool or a command.

    Raises:
        InvalidArgument: it is none.
    """
    if not isinstance(name, str) or not 0 < len(name) <= limits.MAX_NAME_CHARS:
        text = f"{what} is {name!r}; accepted: a str of 1 to {limits.MAX_NAME_CHARS} characters"
        raise InvalidArgument(text, argument=what, reason="no name")


def _unacceptable(name: str, value: Any, accepted: str) -> ValueError:
    return ValueError(f"{name} is {value!r}; accepted: {accepted}")


def _is_timeout(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= limits.MAX_TIMEOUT_S


def _is_retries(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_RETRIES
