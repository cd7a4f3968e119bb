"""Where a broker listens, as it tells whoever started it."""

from __future__ import annotations

import msgspec

__all__ = ["Bound"]


class Bound(msgspec.Struct, frozen=True):
    """Where a broker listens: the `ipc://` endpoint first, then the one for other hosts. `http`: host:port, "" for none.

    `secret` is that of the connection file; `majordomo` "" where there is no such port.
    """

    clients: list[str]
    workers: list[str]
    pid: int
    http: str = ""
    secret: str = ""
    majordomo: str = ""

    def __repr__(self) -> str:
        return f"Bound(clients={self.clients}, workers={self.workers}, pid={self.pid}, http={self.http!r}, secret=…)"
