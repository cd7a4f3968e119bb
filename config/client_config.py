"""The table `[clients.NAME]`: what clients that call themselves so are given."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from maitred.config.key import Key
from maitred.config.kinds import Count

__all__ = ["ClientConfig"]


class ClientConfig(Struct, frozen=True):
    """Clients of a name, or of a pattern: `[clients."batch-*"]`; the first match wins, and counts for each of them."""

    weight: Annotated[
        int,
        Key(
            "weight",
            Count(1, 1000),
            1,
            "Requests that are served in its turn, where others of one weight have one: its share of a full pool.",
        ),
    ]
    max_in_flight: Annotated[
        int | None,
        Key(
            "max_in_flight",
            Count(1, 1_000_000),
            None,
            "Requests that it may have unanswered, over all its connections; one more is refused. Without it only the "
            "pools' bounds count.",
        ),
    ]
    max_sessions: Annotated[
        int | None,
        Key(
            "max_sessions",
            Count(0, 1_000_000),
            None,
            "Sessions that it may have open; one more is refused. Without it only the pools' bounds count.",
        ),
    ]
