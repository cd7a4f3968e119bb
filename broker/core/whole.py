"""The bound on whole messages. libzmq bounds each frame; many frames, each of them within it, are bounded here.

What is too large is not passed on, and its memory is given back at once. Whoever waits for it is told why.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from maitred.protocol import messages
from maitred.protocol.body import encode_body
from maitred.protocol.errors import Code, ProtocolError

M = TypeVar("M")


def bounded(message: M, body: Sequence[Any], limit: int) -> tuple[M | messages.WorkerError, Sequence[Any]]:
    """A worker's message of several body frames, as the core may have it: an answer that is too large becomes an error.

    A client's are measured where they are admitted, and refused by the id of the request.

    Args:
        message: as decoded.
        body: its frames.
        limit: bytes that they may have together.

    Raises:
        ProtocolError: it is too large, and nobody's terminal answer.
    """
    size = sum(len(frame) for frame in body)
    if size <= limit:
        return message, body
    text = f"{size} bytes in {len(body)} body frames; this broker accepts {limit} together"
    if isinstance(message, messages.WorkerReply | messages.WorkerError):
        details = {"size": size, "limit": limit, "what": "result"}
        code = Code.PAYLOAD_TOO_LARGE
        told = messages.WorkerError(message.client, message.id, message.attempt, code, f"the result takes {text}")
        return told, encode_body(details)
    raise ProtocolError(f"{type(message).__name__}: {text}")
