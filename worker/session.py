"""A session, as seen by the functions that serve its requests and by the hooks of its life. No sockets, no clock."""

from __future__ import annotations

from typing import Any

__all__ = ["Session"]


class Session:
    """What one caller comes back to: its requests all run in this process, one at a time, in the order sent.

    An application's unit test makes a plain `Session()`.

    Attributes:
        id: names it in logs and tables; hexadecimal.
        metadata: the caller's own fields, given when it was opened.
        state: the application's, to keep whatever is expensive to rebuild. It is emptied when the session has ended.
        epoch: counts the processes that have had this session, from 1; above it, this one has taken over.
    """

    __slots__ = ("__weakref__", "epoch", "id", "metadata", "state")

    def __init__(self, id: str = "", metadata: dict[str, Any] | None = None, *, epoch: int = 1) -> None:
        self.id = id
        self.metadata: dict[str, Any] = {} if metadata is None else metadata
        self.state: dict[str, Any] = {}
        self.epoch = epoch

    def __repr__(self) -> str:
        return f"Session({self.id!r}, epoch={self.epoch})"
