"""Looks at the workers of an agent every now and then: ends who is over the limit, and has replaced who is worn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import trio

from maitred.worker.agent_settings import AgentSettings
from maitred.worker.child import Child
from maitred.worker.fleet import Fleet
from maitred.worker.observing import Observing, Seen
from maitred.worker.recycling import worn
from maitred.worker.sizes import in_words

__all__ = ["Overseeing"]

LIMIT_LOOK_S = 0.25
"""How often memory is looked at where there is a limit: what allocates a gigabyte a second passes it by so much."""

LOOK_S = 1.0
"""The same where there is none: for REPORT and what is worn."""


class Overseeing:
    """The look-out.

    Args:
        settings: the agent's.
        observing: looks.
        fleet: replaces.
        children: who there is; it changes.
        kick: has the fleet decide at once.
    """

    def __init__(
        self,
        settings: AgentSettings,
        observing: Observing,
        fleet: Fleet,
        children: Mapping[bytes, Child],
        kick: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._observing = observing
        self._fleet = fleet
        self._children = children
        self._kick = kick

    async def run(self) -> None:
        """Look around, again and again."""
        interval_s = LOOK_S if self._settings.memory_limit_bytes is None else LIMIT_LOOK_S
        while True:
            await trio.sleep(interval_s)
            await self._observing.look_at_gpus({child.pid: child.id for child in self._children.values()})
            for child in list(self._children.values()):
                if child.pid and not child.dead.is_set():
                    seen = self._observing.look(child.id, loaded=child.page.loaded, ready=child.page.ready)
                    if not self._over_limit(child, seen):
                        self._replace_worn(child, seen)

    def _over_limit(self, child: Child, seen: Seen) -> bool:
        usage = seen.usage
        if not usage.over_hard or child.doom is not None:
            return False
        child.memory, child.memory_limit = max(usage.rss, usage.peak), usage.limit
        found, allowed = in_words(child.memory), in_words(usage.limit)
        _say(self._settings.pool, f"worker {child.pid} has {found} of memory, its limit is {allowed}: killed")
        child.kill("oom")
        self._observing.kill(child.id)
        return True

    def _replace_worn(self, child: Child, seen: Seen) -> None:
        ready_at = self._fleet.ready_since(child.id)
        if ready_at is None:
            return
        wear = worn(seen.life(child.id, child.page.served, trio.current_time() - ready_at), self._settings)
        if wear is not None:
            self._fleet.recycle([child.id], "recycle", wear.note, surge=wear.surge)
            self._kick()


def _say(pool: str, text: str) -> None:
    print(f"[{pool}] {text}", file=sys.stderr, flush=True)
