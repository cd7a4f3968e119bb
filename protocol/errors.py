"""Every error a caller can meet, one class for each code on the wire.

`maitred.client.errors` shows them as a tree, and says what a caller may conclude from each. The wire carries a code, a
sentence for a person and a map of details (`docs/protocol.md`, Errors). Every key of the map becomes an attribute of the
exception, so that a broker newer than its client loses nothing.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "Code",
    "DeadlineExceeded",
    "DecodeError",
    "EncodeError",
    "InternalError",
    "InvalidArgument",
    "MaitredError",
    "PayloadTooLarge",
    "PermissionDenied",
    "PoolSaturated",
    "ProtocolError",
    "Quarantined",
    "RemoteError",
    "RequestCancelled",
    "RequestRefused",
    "SessionLost",
    "SessionNotFound",
    "SessionPoolMismatch",
    "Unauthenticated",
    "Unavailable",
    "UnknownCommand",
    "UnknownPool",
    "WorkerLost",
    "from_wire",
]


class Code(enum.StrEnum):
    """Every code an ERROR message may carry."""

    RESOURCE_EXHAUSTED = "resource_exhausted"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"
    WORKER_LOST = "worker_lost"
    SESSION_NOT_FOUND = "session_not_found"
    SESSION_LOST = "session_lost"
    SESSION_POOL_MISMATCH = "session_pool_mismatch"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNKNOWN_POOL = "unknown_pool"
    UNKNOWN_COMMAND = "unknown_command"
    INVALID_ARGUMENT = "invalid_argument"
    UNAVAILABLE = "unavailable"
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission_denied"
    QUARANTINED = "quarantined"
    APPLICATION_ERROR = "application_error"
    INTERNAL = "internal"
    PROTOCOL_ERROR = "protocol_error"


class MaitredError(Exception):
    """Anything that went wrong with a request.

    Attributes:
        message: one sentence for a person.
        details: what the sentence was made from; each key is an attribute too.
    """

    code: ClassVar[Code] = Code.INTERNAL
    details: dict[str, Any]
    message: str

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __getattr__(self, name: str) -> Any:
        # Reached only where the class declares no default: a detail that this version does not know by name.
        details: dict[str, Any] = self.__dict__.get("details", {})
        if name in details:
            return details[name]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}", name=name, obj=self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.details)


def _rebuild(kind: type[MaitredError], message: str, details: dict[str, Any]) -> MaitredError:
    return kind(message, **details)


class RequestRefused(MaitredError):
    """The request was not begun, so sending it again does nothing twice."""


class PoolSaturated(RequestRefused):
    """The pool is full: wait `retry_after` seconds and call again. `pool` is its name.

    What the broker knows of it is below; what it left out, or what is no such thing, is None: these go into the next
    request, and come from the wire.
    """

    code = Code.RESOURCE_EXHAUSTED

    @property
    def retry_after(self) -> float | None:
        """Seconds after which there is room for this caller, or None where the broker knows no honest figure."""
        found = self.details.get("retry_after")
        return found if isinstance(found, int | float) and type(found) is not bool and 0 <= found < math.inf else None

    @property
    def ticket(self) -> int | None:
        """What names the place that the broker keeps for this caller. The client attaches it by itself."""
        found = self._count("ticket")
        return found if found is not None and 0 < found <= 2**53 else None

    @property
    def reason(self) -> str | None:
        """What is over its bound, in one word; "throttled": this client's own throttle, and nothing was sent."""
        return self.details.get("reason")

    @property
    def queued(self) -> int | None:
        """Requests that wait for the pool."""
        return self._count("queued")

    @property
    def capacity(self) -> int | None:
        """Requests that may wait for the pool, or run in it."""
        return self._count("capacity")

    def _count(self, name: str) -> int | None:
        found = self.details.get(name)
        return found if type(found) is int else None


class Unavailable(RequestRefused):
    """Something is broken or leaving: no live worker, a draining broker, or no broker at the address."""

    code = Code.UNAVAILABLE

    @property
    def retry_after(self) -> float | None:
        """Seconds after which trying again makes sense, or None where nobody knows."""
        return self.details.get("retry_after")


class UnknownPool(RequestRefused):
    """No pool has that name. `pools` lists those that exist, `nearest` is the likeliest one meant."""

    code = Code.UNKNOWN_POOL


class UnknownCommand(RequestRefused):
    """The pool has no such command. `commands` lists what it has, `nearest` is the likeliest one meant."""

    code = Code.UNKNOWN_COMMAND


class InvalidArgument(RequestRefused):
    """An argument is missing, unknown, or of another type than the command's annotation. `argument` names it."""

    code = Code.INVALID_ARGUMENT


class PayloadTooLarge(RequestRefused):
    """A message over the limit: `size` and `limit` in bytes."""

    code = Code.PAYLOAD_TOO_LARGE


class Quarantined(RequestRefused):
    """This request killed as many workers as its pool tolerates and is not run again."""

    code = Code.QUARANTINED


class Unauthenticated(RequestRefused):
    """The broker does not know who is calling."""

    code = Code.UNAUTHENTICATED


class PermissionDenied(RequestRefused):
    """The caller is known and may not do this; `missing` names the right it lacks."""

    code = Code.PERMISSION_DENIED


class SessionNotFound(RequestRefused):
    """No such session: never opened, closed, or its time to live ran out."""

    code = Code.SESSION_NOT_FOUND

    @property
    def session(self) -> str | None:
        """Its id."""
        return self.details.get("session")

    @property
    def reason(self) -> str | None:
        """How it ended, in one word, where that is known still: "expired" or "closed"."""
        return self.details.get("reason")


class SessionPoolMismatch(RequestRefused):
    """The session belongs to another pool than the one called."""

    code = Code.SESSION_POOL_MISMATCH

    @property
    def session(self) -> str | None:
        """Its id."""
        return self.details.get("session")

    @property
    def pool(self) -> str | None:
        """The pool that it belongs to."""
        return self.details.get("pool")


class DeadlineExceeded(MaitredError):
    """The request's time ran out, `where` it was "queued" (never begun) or "running" (told to stop)."""

    code = Code.DEADLINE_EXCEEDED


class RequestCancelled(MaitredError):
    """The request was cancelled; `outcome` says what was done to the work."""

    code = Code.CANCELLED

    @property
    def outcome(self) -> str:
        """What was done to the work, in one word (docs/deadlines.md); a worker that says nothing has stopped it."""
        return str(self.details.get("outcome", "stopped"))


class WorkerLost(MaitredError):
    """The worker died while it held the request.

    `certificate` is its death certificate: `cause` (oom, signal, exit, timeout, cancelled, heartbeat, node_lost,
    recycle, drain, operator), `signal` or `exit_code`, `peak_rss` (bytes), `age` (s), `served` (requests) and `stderr`
    (its last lines). The work may have been done in part. It was not done twice.
    """

    code = Code.WORKER_LOST

    @property
    def certificate(self) -> dict[str, Any]:
        """The death certificate, empty where nobody could write one."""
        return self.details.get("certificate") or {}

    @property
    def cause(self) -> str:
        """Why the worker died: one word of the certificate's enumeration."""
        return str(self.certificate.get("cause", "unknown"))


class SessionLost(MaitredError):
    """The session's worker is gone, and its state with it: open another one, and begin anew.

    Its next call says so, and what was under way then: of that, one request may have been done in part.
    """

    code = Code.SESSION_LOST

    @property
    def session(self) -> str | None:
        """Its id."""
        return self.details.get("session")

    @property
    def reason(self) -> str | None:
        """How it ended, in one word: "lost", "drain" (its worker had to go), "failed" (it could not be opened)."""
        return self.details.get("reason")

    @property
    def certificate(self) -> dict[str, Any]:
        """The death certificate of its worker, as `WorkerLost` has it; empty where nobody died."""
        return self.details.get("certificate") or {}

    @property
    def cause(self) -> str:
        """Why the worker died: one word of the certificate's enumeration."""
        return str(self.certificate.get("cause", "unknown"))


class RemoteError(MaitredError):
    """The command raised. `type` and `traceback` are text: nothing that a worker sends is ever unpickled."""

    code = Code.APPLICATION_ERROR

    def __str__(self) -> str:
        traceback = str(self.details.get("traceback", "")).rstrip()
        return f"{self.message}\n\nIn the worker:\n{traceback}" if traceback else self.message


class EncodeError(MaitredError):
    """A value that msgpack cannot carry; `path` says where it stands and `type_name` what it is."""

    code = Code.INVALID_ARGUMENT


class DecodeError(MaitredError):
    """A body that is not valid: cut short, or with frames missing."""

    code = Code.PROTOCOL_ERROR


class ProtocolError(MaitredError):
    """A peer broke a rule of docs/protocol.md."""

    code = Code.PROTOCOL_ERROR


class InternalError(MaitredError):
    """A bug in maitred."""

    code = Code.INTERNAL


_BY_CODE: dict[str, type[MaitredError]] = {
    kind.code: kind
    for kind in (
        PoolSaturated,
        DeadlineExceeded,
        RequestCancelled,
        WorkerLost,
        SessionNotFound,
        SessionLost,
        SessionPoolMismatch,
        PayloadTooLarge,
        UnknownPool,
        UnknownCommand,
        InvalidArgument,
        Unavailable,
        Unauthenticated,
        PermissionDenied,
        Quarantined,
        RemoteError,
        InternalError,
        ProtocolError,
    )
}


def from_wire(code: str, message: str, details: Mapping[str, Any]) -> MaitredError:
    """Make the exception for an ERROR message.

    A code this version does not know becomes a plain `MaitredError` that names it: total over any input.
    """
    kind = _BY_CODE.get(code)
    plain = {str(key): value for key, value in details.items() if key not in ("self", "message")}
    if kind is None:
        return MaitredError(f"{message} (code {code!r})", **plain)
    return kind(message, **plain)
