"""What a session is opened with: checked, encoded, and with what is added for whoever looks at it later."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from maitred.client.errors import InvalidArgument
from maitred.protocol import limits, messages
from maitred.protocol.body import encode_body

__all__ = ["Affinity", "Opening", "Wanted", "affinity_number", "key_of"]

_SECONDS = f"seconds: more than 0, at most {limits.MAX_TIMEOUT_S:.0f}"

Affinity: TypeAlias = Literal["strict", "fail_fast", "prefer"]
"""What a call of a session does where its worker is busy: waits, is refused, or goes to another worker."""


class Opening:
    """What a session is opened with, checked and encoded.

    Args:
        pool, ttl, affinity, metadata: as the user gave them.

    Raises:
        InvalidArgument, ValueError, EncodeError: it cannot be sent.
    """

    def __init__(
        self, pool: str | None, ttl: float | None, affinity: Affinity | None, metadata: Mapping[str, Any] | None
    ) -> None:
        if not isinstance(pool, str) or not 0 < len(pool) <= limits.MAX_NAME_CHARS:
            text = (
                f"pool is {pool!r}; accepted: a str of 1 to {limits.MAX_NAME_CHARS} characters, or the id of a session"
            )
            raise InvalidArgument(text, argument="pool", reason="no name")
        if ttl is not None and not _is_seconds(ttl):
            raise ValueError(f"ttl is {ttl!r}; accepted: {_SECONDS}")
        created_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self.pool = pool
        self.ttl = ttl
        self.affinity = None if affinity is None else affinity_number(affinity)
        self.metadata: dict[str, Any] = {"created_at": created_at, "pool": pool, **(metadata or {})}
        self.body = encode_body(self.metadata)
        if len(self.body) > 1:
            text = "the metadata of a session is for a few small fields; send what is large with a call"
            raise InvalidArgument(text, argument="metadata", reason="too large")


class Wanted:
    """What a caller wants with a session: to open one, or to attach to one that is there.

    Args:
        pool, ttl, metadata, affinity, keep_alive, id, timeout: as the user gave them.

    Attributes:
        key: the session's 128-bit id. Who knows it may use the session, so that of a new one is drawn at random.
        opening: what OPEN says; None: it is attached to.

    Raises:
        InvalidArgument, ValueError, EncodeError: it makes no sense, or cannot be sent.
    """

    def __init__(
        self,
        pool: str | None,
        ttl: float | None,
        metadata: Mapping[str, Any] | None,
        affinity: Affinity | None,
        keep_alive: bool,
        id: str | None,
        timeout: float | None,
    ) -> None:
        if timeout is not None and not _is_seconds(timeout):
            raise ValueError(f"timeout is {timeout!r}; accepted: {_SECONDS}")
        self.pool = pool
        self.keep_alive = keep_alive
        self.timeout = timeout
        self.opening: Opening | None = None
        if id is None:
            self.key = os.urandom(16)
            self.opening = Opening(pool, ttl, affinity, metadata)
            return
        self.key = key_of(id)
        if ttl is not None or metadata is not None or affinity is not None:
            raise ValueError("ttl, metadata and affinity are said by who opens a session, and not with its id")


def affinity_number(affinity: Affinity) -> int:
    """As the wire has it.

    Raises:
        ValueError: there is no such word.
    """
    if affinity not in messages.AFFINITIES:
        raise ValueError(f'affinity is {affinity!r}; accepted: "strict", "fail_fast" or "prefer"')
    return messages.AFFINITIES[affinity]


def key_of(session: Any) -> bytes:
    """The 128-bit id that a user wrote in hexadecimal.

    Raises:
        ValueError: it is none.
    """
    try:
        key = bytes.fromhex(session)
    except (TypeError, ValueError):
        key = b""
    if len(key) != 16:
        raise ValueError(f"session is {session!r}; accepted: a session, or its id: 32 hexadecimal digits")
    return key


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= limits.MAX_TIMEOUT_S
