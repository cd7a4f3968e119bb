"""The broker as this side sees it: what may be read, and what may be done. All in the loop's thread, nothing waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from maitred.broker.core.router import BrokerCore
from maitred.broker.event_feed import EventFeed

__all__ = ["House"]


class House(NamedTuple):
    """What everything here is made of.

    Attributes:
        core: read from, and never told anything.
        now: the core's time, in seconds.
        operate: verb and target, to what was done or a sentence that says why nothing was.
        feed: what happens.
        metrics: by the header `Accept`, the page of `/metrics` and its content type; None: there is no such page.
        ended: waits until the broker has.
    """

    core: BrokerCore
    now: Callable[[], float]
    operate: Callable[[str, str], dict[str, Any] | str]
    feed: EventFeed
    metrics: Callable[[str], tuple[bytes, str]] | None
    ended: Callable[[], Awaitable[Any]]

    def table(self, what: str) -> Any:
        """As QUERY would be told it."""
        return self.core.table(what, self.now())
