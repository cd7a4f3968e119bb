"""Carries out what the broker says of sessions: runs the service's hooks, and sends what comes of them. No sockets.

Who calls this sees to it that nothing here runs beside a request of the same session. All of it is written once, as async
functions: under trio they wait where a hook does; in the plain loop, whose hooks are plain functions and whose `send`
does not return before it has sent, nothing ever waits, and `at_once` runs them to their end.

A hook has a time limit (`worker.hook_limit`); one that was stopped has raised, whatever it did then.
"""

from __future__ import annotations

import gc
import inspect
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.frames import Frames, encode
from maitred.protocol.messages import SessionClose, SessionFailed, SessionOpen, Snapshot
from maitred.worker.context import Cancelled
from maitred.worker.failures import describe_exception
from maitred.worker.hook_limit import HookCall
from maitred.worker.requests import Requests
from maitred.worker.session_hooks import Hook
from maitred.worker.sessions import Owned
from maitred.worker.snapshots import Deferred, encode_state

__all__ = ["Send", "SessionOrders", "Wait", "at_once"]

T = TypeVar("T")

Send = Callable[[Frames], Awaitable[bool]]
"""Hands a message to ZeroMQ, waiting while the broker is away; False where it was given up, as the process ends."""

Wait = Callable[[Awaitable[Any], HookCall], Awaitable[Any]]
"""Waits for an async hook, no longer than it may take; raises its `HookCall.error` then."""

_RAISED = (Exception, SystemExit, Cancelled)
"""What a hook may raise, and this process go on: all but what belongs to trio."""


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run one of the functions below where none of them has to wait.

    Raises:
        RuntimeError: a hook that was registered as a plain function returned something to wait for.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("a session's hook returned something to wait for; declare it with `async def`")


async def _wait(awaitable: Awaitable[Any], _call: HookCall) -> Any:
    return await awaitable  # which `at_once` refuses


class SessionOrders:
    """The broker's orders, and what falls due between them.

    Args:
        requests: the process's.
        send: the way to the broker.
        wait: the loop's, where hooks may be async.
    """

    def __init__(self, requests: Requests, send: Send, wait: Wait = _wait) -> None:
        self._requests = requests
        self._sessions = requests.sessions
        self._hooks = requests.service.hooks
        self._send = send
        self._wait = wait
        self._deferred = Deferred()
        self.deferred = False
        """Whether anything falls due: asked before each request, so it is a plain attribute."""
        self._litter = False
        self._log = logging.getLogger(f"maitred.worker.{requests.pool}")

    async def open(self, order: SessionOpen, body: Sequence[Any]) -> None:
        """Own a session; the broker is told where that fails. Said again, it is owned already."""
        known = self._sessions.find(order.session)
        if known is not None:
            if order.epoch <= known.order.epoch:
                return
            await self._end(known, "lost")
        try:
            await self._begin(self._sessions.open(order, body, time.monotonic()), body)
        except _RAISED as error:
            text, details = describe_exception(error)
            self._sessions.fail(order.session, text)
            await self._send(encode(SessionFailed(order.session, order.epoch, text), encode_body(details)))

    async def close(self, order: SessionClose) -> None:
        """Own it no longer."""
        owned = self._sessions.find(order.session)
        if owned is not None:
            await self._end(owned, order.reason)

    async def announce(self, owned: Owned) -> None:
        """Tell a broker that may not know of it, and that has nothing of its state."""
        owned.kept.forget()
        await self._send(owned.held(time.monotonic()))

    async def drain(self) -> None:
        """The process is about to end: all states leave first, as closing a session may take long."""
        for owned in self._sessions.all():
            if owned.kept.stale:
                await self.keep(owned)
        for owned in self._sessions.all():
            await self._end(owned, "drain")

    async def keep(self, owned: Owned) -> None:
        """Take a session's state, and send it where it is new."""
        hook, options, kept = self._hooks.snapshot, self._hooks.options, owned.kept
        if hook is None or owned.order.session not in self._sessions:
            return
        kept.taken(time.monotonic())
        try:
            value = await self._call(hook, owned.session)
            limit = min(options.max_bytes, self._requests.max_message_bytes)
            body = None if value is None else encode_state(value, limit)
        except _RAISED as error:
            self._warn(owned, error)
            return
        if body is not None and kept.is_new(body):
            await self._send(encode(Snapshot(owned.order.session, owned.order.epoch, owned.served), body))

    # --- what falls due ---

    def due_after(self, session: bytes) -> Owned | None:
        """The session, where its state is to be taken now that a request of it was answered; it may be deferred."""
        owned = self._sessions.find(session) if self._hooks.snapshot is not None else None
        return owned if owned is not None and self._is_due(owned, time.monotonic()) else None

    def due(self, now: float) -> list[Owned]:
        """The sessions whose state was deferred until now."""
        found = (self._sessions.find(session) for session in self._deferred.pop(now))
        due = [owned for owned in found if owned is not None and self._is_due(owned, now)]
        self.deferred = self.next_deadline() != math.inf
        return due

    def next_deadline(self) -> float:
        """When `due` may have something; infinity where nothing is deferred."""
        return self._deferred.next_deadline()

    def idle(self) -> None:
        """Nobody waits: free what ended sessions left in cycles, as models do, where Python would only later or never."""
        if self._litter:
            self._litter = False
            gc.collect()

    def _is_due(self, owned: Owned, now: float) -> bool:
        due = owned.kept.due_at(self._hooks.options.interval_s)
        if due > now and due != math.inf:
            self._deferred.add(owned.order.session, due)
            self.deferred = True
        return due <= now

    # --- the hooks ---

    async def _begin(self, owned: Owned, body: Sequence[Any]) -> None:
        hooks, session = self._hooks, owned.session
        if hooks.opened is not None:
            more = (self._requests.context_of("session_opened", session),) if hooks.opened.takes_context else ()
            await self._call(hooks.opened, session, *more)
        if owned.order.restore:
            try:
                await self._restore(owned, body)
            except BaseException:
                await self._end(owned, "failed")
                raise

    async def _restore(self, owned: Owned, body: Sequence[Any]) -> None:
        if self._hooks.restore is None:
            raise LookupError("the session comes with a snapshot, and the service has no @service.restore")
        await self._call(self._hooks.restore, owned.session, decode_body(body[1:]))

    async def _end(self, owned: Owned, reason: str) -> None:
        """Forget it; nothing of it is reachable from here afterwards, whatever its hook does."""
        self._sessions.close(owned.order.session)
        try:
            if self._hooks.closed is not None:
                await self._call(self._hooks.closed, owned.session, reason)
        except _RAISED:
            self._log.exception("session %s: @service.session_closed raised", owned.session.id)
        finally:
            self._litter = self._litter or bool(owned.session.state)
            owned.session.state.clear()

    def _warn(self, owned: Owned, error: BaseException) -> None:
        if not owned.kept.warned:
            owned.kept.warned = True
            self._log.warning("session %s: no snapshot: %s", owned.session.id, describe_exception(error)[0])

    async def _call(self, hook: Hook, *args: Any) -> Any:
        call = HookCall(hook.kind)
        try:
            result = self._requests.window.call(call, hook.function, *args)
        except Cancelled as error:
            raise (call.error() if call.interrupted else error) from error
        return await self._wait(result, call) if inspect.isawaitable(result) else result
