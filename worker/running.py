"""The requests that run in this process just now, and how the control connection reaches them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from maitred.protocol.limits import MAX_SLOTS
from maitred.protocol.messages import Dispatch
from maitred.protocol.worker import Held, Key
from maitred.worker.context import Cancelled, Context
from maitred.worker.credit import Credit

__all__ = ["Run", "Running"]

MAX_EARLY_GRANTS = 1024
"""Grants that overtook their request, which is still in the other connection's queue."""


MAX_ANSWERED = 2 * MAX_SLOTS
"""Answers that are remembered: one that the broker has not received yet is among the last of as many as it may send ahead
(slots and prefetch), since they leave in order and over one connection."""

MAX_RECALLED = 4096
"""Requests that were given back and may still lie in the other connection's queue, which holds some hundreds at most."""

NO_CREDIT = Credit(0)
"""Of the requests whose callers want no parts, which is most of them: one for all."""


class Run:
    """One request on its way through this process.

    Attributes:
        order: the broker's.
        context: what its function is given.
        credit: room of its reader.
        on_change: called, from the control thread, after a cancel or a grant; a loop is woken by it.
        interruptible: it runs in the main thread, where an exception can be raised in it (`worker.interrupt`).
        overdue: it was told to stop long enough ago to be interrupted.
        interrupted: an exception was raised in it.
        returned: its function did, and raised nothing.
        ended: it is answered.
        slot: where it stands on the started page.
        began_at: when its function did, as `time.monotonic`; 0: not yet.
    """

    on_change: Callable[[], object] | None = None
    overdue = False
    interrupted = False
    returned = False
    ended = False
    slot = -1
    began_at = 0.0

    def __init__(self, order: Dispatch, context: Context, *, interruptible: bool = False) -> None:
        self.order = order
        self.key: Key = (order.client, order.id)
        self.context = context
        self.credit = Credit(order.window) if order.window else NO_CREDIT
        self.interruptible = interruptible

    @property
    def outcome(self) -> str:
        """How it stopped, where it did, in the words of docs/protocol.md."""
        return "interrupted" if self.interrupted else "stopped"

    def interrupt(self) -> Cancelled:
        """Note that it is interrupted; returns what is raised in it."""
        self.interrupted = True
        return Cancelled(self.context.cancel_reason or "deadline")  # a loop's clock may be ahead of the context's

    def changed(self) -> None:
        """Wake whoever waits for credit, or for the end."""
        self.credit.wake()
        on_change = self.on_change  # once: the function's thread may take it away meanwhile
        if on_change is not None:
            on_change()


class Running:
    """All of them. The control thread cancels and grants; the thread that runs a request adds and removes it."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self._lock = threading.Lock()
        self._runs: dict[Key, Run] = {}
        self._early_grants: dict[Key, int] = {}
        self._answered: dict[tuple[bytes, int, int], None] = {}
        self._recalled: dict[tuple[bytes, int, int], None] = {}

    def begin(self, run: Run) -> bool:
        """Take a request and make it reachable; a cancel that overtook it finds it now. False: it was given back."""
        order = run.order
        with self._lock:
            if self._recalled and (order.client, order.id, order.attempt) in self._recalled:
                return False
            cancelled = self.held.take(run.order)
            self._runs[run.key] = run
            if run.key in self._early_grants:
                run.credit.add(self._early_grants.pop(run.key))
        if cancelled is not None:
            run.context.cancel(cancelled)
        return True

    def end(self, run: Run) -> None:
        """It is answered."""
        run.ended = True
        run.on_change = None  # it refers to the run: a cycle, and a session's state with it
        with self._lock:
            self._runs.pop(run.key, None)
            self.held.answer(run.key)
            self._answered[(*run.key, run.order.attempt)] = None
            if len(self._answered) > MAX_ANSWERED:
                del self._answered[next(iter(self._answered))]

    def longest(self, now: float) -> tuple[Key, float] | None:
        """What has run for longest, and for how many seconds; None where nothing does."""
        with self._lock:
            runs = list(self._runs.values())
        found = min((run for run in runs if run.began_at), key=lambda run: run.began_at, default=None)
        return None if found is None else (found.key, max(now - found.began_at, 0.0))

    def recall(self, key: Key, attempt: int, tell: Callable[[], object]) -> None:
        """Give a request back that was not begun: `tell` says so to the broker, and must not wait.

        Both are one step: it is begun, or told of, never both. The word overtakes an answer that is on its way over the
        other connection, so what was answered is not told of either. What was told once is told again when asked again.
        """
        with self._lock:
            if key in self._runs or self.held.holds(key) or (*key, attempt) in self._answered:
                return
            tell()
            if len(self._recalled) >= MAX_RECALLED:
                del self._recalled[next(iter(self._recalled))]
            self._recalled[(*key, attempt)] = None

    def cancel(self, key: Key, reason: str) -> Run | None:
        """Tell a request to stop, and return it; one that has not come yet finds a tombstone."""
        with self._lock:
            self.held.bury(key, reason)
            run = self._runs.get(key)
        if run is not None:
            run.context.cancel(reason)
            run.changed()
        return run

    def grant(self, key: Key, parts: int) -> None:
        """A stream's reader has room."""
        with self._lock:
            run = self._runs.get(key)
            if run is None:
                self._remember(key, parts)
                return
        run.credit.add(parts)
        run.changed()

    def _remember(self, key: Key, parts: int) -> None:
        if len(self._early_grants) >= MAX_EARLY_GRANTS:
            del self._early_grants[next(iter(self._early_grants))]
        self._early_grants[key] = self._early_grants.get(key, 0) + parts
