"""What a caller can catch. Each exception's own text says what happened and, where there is something to do, what.

    MaitredError                         anything that went wrong with a request
    ├── RequestRefused                   it was not begun: it is safe to send it again
    │   ├── PoolSaturated                the pool is full           pool, queued, capacity, reason, retry_after (s), ticket
    │   ├── Unavailable                  no broker, no live worker, or leaving        reason, retry_after, address
    │   ├── UnknownPool                  no pool of that name       pool, pools, nearest
    │   ├── UnknownCommand               the pool lacks it          command, commands, nearest
    │   ├── InvalidArgument              missing, unknown, or of a wrong type         argument, reason
    │   ├── PayloadTooLarge              over a limit               size, limit (bytes), what
    │   ├── Quarantined                  it killed too many workers and is not run again    fingerprint, deaths
    │   ├── Unauthenticated              nobody the broker knows    reason, address
    │   ├── PermissionDenied             not allowed to do this     missing
    │   ├── SessionNotFound              never opened, closed, or its time ran out    session, reason
    │   └── SessionPoolMismatch          the session is another pool's                session, pool
    ├── DeadlineExceeded                 its time ran out           pool, where ("queued" | "running"), suggestion
    ├── RequestCancelled                 it was told to stop        outcome ("removed" | "stopped" | "killed" | …)
    ├── WorkerLost                       its worker died under it   certificate, cause
    ├── SessionLost                      its session's worker died  session, reason, certificate, cause
    ├── RemoteError                      the command raised         type, traceback (text)
    ├── EncodeError                      a value that cannot be sent; nothing was         path, type_name
    ├── DecodeError                      an answer that is not what it claims to be
    ├── ProtocolError                    a peer broke the rules of docs/protocol.md
    └── InternalError                    a bug in maitred: please report it

What an exception carries is its attributes, and `details`; one that this version does not know is there too. Four things
to know (docs/calling.md has more):

- `Unavailable` with `reason` "lost" is the exception to its class: the broker went away, or restarted, amid the request, so
  it may have run. With "no_broker" nothing was sent; `address` is where the broker was looked for.
- `EncodeError`, and `PayloadTooLarge` of arguments, are raised before anything is sent. `PayloadTooLarge` of a result comes
  after the work was done.
- `Unauthenticated` amid a request (the caller's key was taken back) ends what is outstanding, which may have run. With
  `reason` "refused", "key_needed" or "no_keys" it came of the handshake, and nothing was sent.
- A mistake in the client's own options (a negative timeout) is a plain `ValueError`, and calling a closed client a
  `RuntimeError`. A future that was cancelled raises `concurrent.futures.CancelledError`, as any future does.
"""

from __future__ import annotations

from maitred.protocol.errors import (
    Code,
    DeadlineExceeded,
    DecodeError,
    EncodeError,
    InternalError,
    InvalidArgument,
    MaitredError,
    PayloadTooLarge,
    PermissionDenied,
    PoolSaturated,
    ProtocolError,
    Quarantined,
    RemoteError,
    RequestCancelled,
    RequestRefused,
    SessionLost,
    SessionNotFound,
    SessionPoolMismatch,
    Unauthenticated,
    Unavailable,
    UnknownCommand,
    UnknownPool,
    WorkerLost,
)

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
]
