"""Puts what came of a request into the message that answers it. No sockets.

| what happened | code |
| --- | --- |
| a value | REPLY |
| unknown command, broken or wrong arguments | unknown_command, invalid_argument |
| `InvalidArgument` raised by the function itself | invalid_argument |
| told to stop, and stopped, was interrupted or not begun | cancelled, deadline_exceeded |
| a result or part larger than the broker takes | payload_too_large |
| anything else it raised, or a result that cannot be encoded | application_error |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.errors import Code, DecodeError, EncodeError, InvalidArgument, MaitredError, PayloadTooLarge
from maitred.protocol.frames import Frames, encode
from maitred.protocol.messages import Dispatch, WorkerError, WorkerPart, WorkerReply
from maitred.worker.context import Cancelled, Context, NotBegun
from maitred.worker.failures import describe_exception
from maitred.worker.service import Command, Service

__all__ = ["failure", "part", "read_request", "result"]

MAX_SENTENCE_CHARS = 4000
"""Of an error: it stands in a header, whose texts are limited (protocol.limits.MAX_TEXT_CHARS)."""

_DONE = {"removed": "was not begun", "stopped": "stopped", "interrupted": "was interrupted"}
_WHY = {
    "deadline": "as its time was over",
    "client_lost": "as its client is gone",
    "operator": "as an operator asked",
    "draining": "as the broker ends",
}

NESTED = "called"
"""Key of an error's details that says that it came from another call, made by the function: "pool/command"."""


def read_request(service: Service, order: Dispatch, body: Sequence[Any]) -> tuple[Command, dict[str, Any]]:
    """Find the command, decode and check the arguments.

    Raises:
        UnknownCommand, InvalidArgument: nothing was run.
    """
    command = service.find(order.command)
    try:
        args = decode_body(body)
    except DecodeError as error:
        raise InvalidArgument(f"the arguments are no valid body: {error.message}", argument=None) from None
    return command, command.validate(args)


def result(order: Dispatch, value: Any, max_message_bytes: int, *, ran_s: float = 0.0) -> Frames:
    """Answer with a value, after so many seconds; where it cannot be sent, with an error that says why."""
    try:
        body = _body(value, "result", max_message_bytes)
        return encode(WorkerReply(order.client, order.id, order.attempt, ran_s), body)
    except Exception as error:  # of a class of the application's, too, that does not let itself be read
        return failure(order, error, ran_s=ran_s)


def part(order: Dispatch, number: int, value: Any, max_message_bytes: int) -> Frames:
    """One part of a stream.

    Raises:
        EncodeError: it is no value that msgpack can carry.
        PayloadTooLarge: it is larger than the broker takes.
    """
    body = _body(value, "part", max_message_bytes)
    return encode(WorkerPart(order.client, order.id, order.attempt, number), body)


def failure(
    order: Dispatch,
    error: BaseException,
    context: Context | None = None,
    *,
    ran_s: float = 0.0,
    outcome: str = "stopped",
) -> Frames:
    """Answer with what went wrong. Total: whatever was raised, there is an answer.

    `context` None: it was not begun. `outcome`: how it ended, where it was told to (`Run.outcome`).
    """
    code, text, details = _describe(order, error, context, outcome)
    sentence = text.encode("utf-8", "backslashreplace").decode()[:MAX_SENTENCE_CHARS]  # a file's name may be no text
    header = WorkerError(order.client, order.id, order.attempt, code, sentence, ran_s)
    try:
        return encode(header, encode_body(details))
    except Exception:  # details of the application's own
        return encode(header, encode_body({"type": type(error).__name__}))


def _describe(
    order: Dispatch, error: BaseException, context: Context | None, outcome: str
) -> tuple[str, str, dict[str, Any]]:
    if isinstance(error, Cancelled):
        return _stopped(order, error.reason, "removed" if isinstance(error, NotBegun) else outcome)
    refused_before_it_began = context is None and isinstance(error, MaitredError) and not isinstance(error, EncodeError)
    refused_by_itself = isinstance(error, InvalidArgument | PayloadTooLarge) and NESTED not in error.details
    if refused_before_it_began or refused_by_itself:
        assert isinstance(error, MaitredError)
        return error.code, error.message, error.details
    text, details = describe_exception(error)
    if isinstance(error, EncodeError):
        details |= error.details
    return Code.APPLICATION_ERROR, text, details


def _stopped(order: Dispatch, reason: str, outcome: str) -> tuple[str, str, dict[str, Any]]:
    text = f"{order.command!r} {_DONE.get(outcome, outcome)}, {_WHY.get(reason, 'as its caller asked')}"
    if reason == "deadline":
        return Code.DEADLINE_EXCEEDED, text, {"where": "queued" if outcome == "removed" else "running"}
    return Code.CANCELLED, text, {"outcome": outcome}


def _body(value: Any, what: str, limit: int) -> list[Any]:
    body = encode_body(value)
    size = sum(frame.nbytes if isinstance(frame, memoryview) else len(frame) for frame in body)
    if size > limit:
        text = f"the {what} takes {size} bytes; the broker accepts {limit}"
        raise PayloadTooLarge(text, size=size, limit=limit, what=what)
    return body
