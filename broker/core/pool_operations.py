"""What a person may do to a pool, or to one of its workers.

scale POOL=N              so many workers; anything where the configuration names one size, else within its bounds
pause POOL                admit and queue, give nothing to workers
drain POOL | WORKER | ""  refuse what is new, finish what is there · have it go · the same of all pools
resume POOL | ""          end a pause, a drain and a degraded state
recycle POOL | WORKER     replace the workers, one after another
retire POOL=N             end N workers that do nothing and own no session, and say which: for scalers outside
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import Any

from maitred.broker.core.dispatch import Dispatcher
from maitred.broker.core.fleet import Fleet
from maitred.broker.core.model import Worker
from maitred.broker.core.owners import Owners
from maitred.broker.core.pool import Pool
from maitred.broker.core.retiring import Retiring
from maitred.broker.core.state import State
from maitred.broker.core.words import nearest
from maitred.protocol import limits, messages

SHUTTING_DOWN = "the broker is shutting down"
DRAINED = "an operator drains it"

MIN_DIGITS = 4
"""Of a worker's id: fewer name too many."""

MAX_NAMED = 10
"""Candidates that a refusal names."""


class PoolOperations:
    """Each verb returns what was done, or a sentence that says why nothing was."""

    def __init__(self, state: State, dispatcher: Dispatcher, owners: Owners, fleet: Fleet, retiring: Retiring) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._owners = owners
        self._fleet = fleet
        self._retiring = retiring

    def scale(self, target: str, now: float) -> dict[str, Any] | str:
        """Give a pool another size."""
        name, _, number = target.rpartition("=")
        pool = self._pool(name)
        if isinstance(pool, str):
            return pool if name else f"{target!r} is no POOL=N"
        if not (number.isascii() and number.isdecimal()):
            return f"{number!r} is no number of workers"
        bounds = self._fleet.bounds(pool)
        if bounds is None:
            return f"pool {pool.name!r} has no agent: its workers come from elsewhere, and so must others"
        size = int(number)
        if not bounds[0] <= size <= bounds[1]:
            return f"pool {pool.name!r} may have {bounds[0]} to {bounds[1]} workers, not {size}"
        return {"pool": pool.name, "size": size, "before": self._fleet.scale(pool, size, now)}

    def pause(self, target: str) -> dict[str, Any] | str:
        """Hold a pool's queue."""
        pool = self._pool(target)
        if isinstance(pool, str):
            return pool
        pool.pause()
        return {"pool": pool.name, "queued": pool.queued, "held": pool.held}

    def resume(self, target: str, now: float) -> dict[str, Any] | str:
        """Let a pool, or all of them, go on."""
        pools = self._pools(target)
        if isinstance(pools, str):
            return pools
        if self._state.draining:
            return SHUTTING_DOWN
        for pool in pools:
            pool.closed = pool.degraded = ""
            pool.resume()
            self._fleet.say_again(pool)
            self._owners.house(pool, now)
            self._dispatcher.dispatch(pool, now)
        return {"pools": [pool.name for pool in pools]}

    def drain(self, target: str, now: float) -> dict[str, Any] | str:
        """Refuse what is new, or have a worker go."""
        pools = self._pools(target)
        if isinstance(pools, str):
            worker = self._worker(target, pools)
            if isinstance(worker, str):
                return worker
            self._retiring.retire(worker, "operator", "drained by an operator", now)
            return {
                "worker": worker.id.hex(),
                "pool": worker.pool.name,
                "held": worker.load,
                "sessions": len(worker.sessions),
            }
        for pool in pools:
            pool.closed = pool.closed or DRAINED
        queued, held = sum(pool.queued for pool in pools), sum(pool.held for pool in pools)
        return {"pools": [pool.name for pool in pools], "queued": queued, "held": held}

    def recycle(self, target: str, now: float) -> dict[str, Any] | str:
        """Replace a pool's workers, or one."""
        pool = self._pool(target)
        if isinstance(pool, str):
            worker = self._worker(target, pool)
            if isinstance(worker, str):
                return worker
            chosen = [worker]
        else:
            chosen = list(pool.workers.values())
        chosen = [worker for worker in chosen if worker.retirement is None]
        orders: dict[Any, list[bytes]] = {}
        for worker in chosen:
            agent = self._state.agent_of(worker)
            if agent is None:
                self._retiring.retire(worker, "operator", "recycled by an operator", now)
            else:
                orders.setdefault(agent.peer, []).append(worker.id)
        for peer, ids in orders.items():
            for start in range(0, len(ids), limits.MAX_AGENT_WORKERS):
                self._state.send(peer, messages.Recycle(ids[start : start + limits.MAX_AGENT_WORKERS], "operator"))
        return {"workers": [worker.id.hex() for worker in chosen]}

    def retire(self, target: str, now: float) -> dict[str, Any] | str:
        """End workers that nobody will miss, at most so many, and have the pool keep as many fewer."""
        name, _, number = target.rpartition("=")
        pool = self._pool(name)
        if isinstance(pool, str):
            return pool if name else f"{target!r} is no POOL=N"
        if not (number.isascii() and number.isdecimal() and 1 <= int(number) <= limits.MAX_AGENT_WORKERS):
            return f"{number!r} is no number of workers from 1 to {limits.MAX_AGENT_WORKERS}"
        retired = self._fleet.give_up(pool, int(number), now)
        rows = [{"id": worker.id.hex(), "host": worker.host, "pid": worker.pid} for worker in retired]
        left = sum(worker.retirement is None for worker in pool.workers.values())
        return {"pool": pool.name, "retired": rows, "left": left}

    # --- what a target names ---

    def _pool(self, name: str) -> Pool | str:
        pool = self._state.pools.get(name)
        if pool is not None:
            return pool
        known = sorted(self._state.pools)
        near = nearest(name, known)
        hint = f"; did you mean {near!r}?" if near else "."
        return f"no pool {name!r}{hint} There are: {', '.join(known) or 'none'}"

    def _pools(self, target: str) -> list[Pool] | str:
        if not target:
            return list(self._state.pools.values())
        pool = self._pool(target)
        return pool if isinstance(pool, str) else [pool]

    def _worker(self, target: str, no_pool: str) -> Worker | str:
        digits = target.lower()
        if not digits or not all(digit in string.hexdigits for digit in digits):
            return no_pool
        if len(digits) < MIN_DIGITS:
            return f"{no_pool}; and of a worker's id {MIN_DIGITS} digits at least are needed"
        found = [worker for worker in self._state.workers.values() if worker.id.hex().startswith(digits)]
        if len(found) == 1:
            return found[0]
        if not found:
            known = _names(self._state.workers.values())
            return f"{no_pool}; and no worker's id begins with {target!r}. There are: {known}"
        return f"the ids of {len(found)} workers begin with {target!r}: {_names(found)}"


def _names(workers: Iterable[Worker]) -> str:
    names = [worker.id.hex() for worker in workers]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return (", ".join(names[:MAX_NAMED]) or "none") + more
