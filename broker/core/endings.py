"""Ends that no worker decides: a deadline, a cancel, a client or a worker that is gone, a broker that shuts down.

Every path of a request ends in `books.close`, and each caller of it has sent exactly one terminal answer, or knows that the
client is gone. What runs is told to stop; what does not stop in time is killed or given up (docs/protocol.md, Stopping).
"""

from __future__ import annotations

from typing import Any

import msgspec

from maitred.broker.core.books import abandon, close, unqueue
from maitred.broker.core.meters import GONE
from maitred.broker.core.model import Client, Key, Request, Worker
from maitred.broker.core.rights import denied_call
from maitred.broker.core.state import State
from maitred.broker.core.stop import Stop
from maitred.broker.core.words import describe
from maitred.protocol import limits, messages
from maitred.protocol.errors import Code

CAUSES = {"deadline": "timeout", "operator": "operator"}
"""What stands in the certificate of a process that is killed, by why its function was told to stop: else "cancelled"."""

LOOK_AGAIN_S = 1.0
"""A worker that was to be killed only for what it runs is looked at again after this, at least."""

ENDINGS = {
    "removed": "was cancelled before it began",
    "killed": "was cancelled, did not stop, and its process was ended",
    "abandoned": "was cancelled, and does not stop: what comes of it is thrown away",
}


class Endings:
    """The verbs of an end."""

    def __init__(self, state: State) -> None:
        self._state = state

    # --- its time is over ---

    def expire(self, request: Request, now: float) -> None:
        """The deadline passed: never begun where it is queued; told to stop, and answered, where it runs."""
        if request.worker is None:
            unqueue(self._state, request)
            self.expire_queued(request)
            return
        self._abandon(request, "deadline", now)
        self._fail_deadline(request, "running")

    def expire_queued(self, request: Request) -> None:
        """The deadline passed, and it has been taken from its queue."""
        close(self._state, request)
        self._fail_deadline(request, "queued")

    def _fail_deadline(self, request: Request, where: str) -> None:
        pool = request.pool
        pool.failed += 1
        spent = request.timeout
        verb = "was still queued" if where == "queued" else "was still running"
        least_s = max(spent, pool.settings.timeout_s)
        others = [one for one in self._state.pools.values() if request.command in one.commands]
        longer = [one for one in others if one.settings.timeout_s > least_s]
        hint = f"pass a longer timeout=, or use pool {longer[0].name!r}" if longer else "pass a longer timeout="
        if where == "queued" and not pool.workers:
            starting = sum(not one.spare for one in pool.starting.values())
            verb += f" (no worker is up, {starting} are starting)"
            if not starting:  # to wait longer will not help
                hint = "see `maitred status`: it says what keeps the pool from serving"
        text = f"{request.command!r} {verb} in pool {pool.name!r} when its {spent:.3g} s had passed"
        details = {"pool": pool.name, "where": where, "timeout": spent, "suggestion": hint}
        self._state.fail(request, Code.DEADLINE_EXCEEDED, text, details)
        self._state.note("request.expired", pool=pool.name, where=where)

    # --- nobody wants it any more ---

    def cancel(self, request: Request, reason: str, now: float) -> None:
        """Its client, or an operator, wants it to stop. A running function is told; its own answer closes the request."""
        if request.worker is None:
            unqueue(self._state, request)
            self.end_cancelled(request, "removed")
        elif not request.cancelled:
            request.cancelled = reason
            self._tell_to_stop(request.worker, request, reason, now)

    def end_cancelled(self, request: Request, outcome: str) -> None:
        """Close and answer one that was cancelled. It has been taken from the queue."""
        close(self._state, request)
        self._answer_cancelled(request, outcome)

    def give_up(self, request: Request, now: float) -> None:
        """The client is gone: nobody is left to answer."""
        self._state.end(request, GONE)
        if request.worker is None:
            unqueue(self._state, request)
            close(self._state, request)
        else:
            self._abandon(request, "client_lost", now)

    def fail_unavailable(self, request: Request, reason: str, text: str, now: float) -> None:
        """Answer `unavailable` for a request that was not begun, or that the broker cannot wait for."""
        if request.worker is None:
            unqueue(self._state, request)
            close(self._state, request)
        else:
            self._abandon(request, "draining", now)
        self._state.fail(request, Code.UNAVAILABLE, text, {"pool": request.pool.name, "reason": reason})

    def fail_waiting(self, request: Request, code: Code, text: str, details: dict[str, Any]) -> None:
        """Answer one that waits, and that will not be served, with an error."""
        unqueue(self._state, request)
        close(self._state, request)
        self._state.fail(request, code, text, details)

    def _answer_cancelled(self, request: Request, outcome: str) -> None:
        text = f"{request.command!r} {ENDINGS[outcome]}"
        self._state.fail(request, Code.CANCELLED, text, {"outcome": outcome})
        self._state.note("request.cancelled", pool=request.pool.name, outcome=outcome)

    def _abandon(self, request: Request, reason: str, now: float) -> None:
        worker = request.worker
        assert worker is not None
        told = bool(request.cancelled)
        abandon(self._state, request)
        if not told:
            self._tell_to_stop(worker, request, reason, now)

    def _tell_to_stop(self, worker: Worker, request: Request, reason: str, now: float) -> None:
        client_id, request_id = request.key
        self._state.send(worker.control or worker.peer, messages.WorkerCancel(client_id, request_id, reason))
        if worker.control is not None and request.cancelled and worker.load > worker.slots:
            request.recalled = True  # it may lie ready behind another, and need not wait to be told apart
            self._state.send(worker.control, messages.Recall(client_id, request_id, request.attempt))
        if reason != "draining":
            grace_s = limits.INTERRUPT_AFTER_S + request.pool.settings.kill_grace_s
            self._state.stops.add(now + grace_s, Stop(worker, request.key, CAUSES.get(reason, "cancelled")))

    # --- it does not stop ---

    def insist(self, stop: Stop, now: float) -> None:
        """Its grace is over: where it still runs, kill its process, or give it up and spare what else runs there."""
        worker, key = stop.worker, stop.key
        if self._state.workers.get(worker.id) is not worker or not (key in worker.held or key in worker.abandoned):
            return
        settings = worker.pool.settings
        if self._is_shared(worker, key):
            self._spare(worker, key)
            self._state.stops.add(now + max(settings.kill_grace_s, LOOK_AGAIN_S), stop)
            return
        agent = self._state.agent_of(worker)
        if agent is not None and (stop.last or may_kill(worker)):
            self._state.send(agent.peer, messages.Fence(worker.id, stop.cause, key))
            self._state.note("worker.killing", pool=worker.pool.name, worker=worker.id.hex(), cause=stop.cause)
            self._state.stops.add(now + max(settings.kill_grace_s, LOOK_AGAIN_S), stop)  # it may not have begun it yet
            return
        self._spare(worker, key)
        worker.stuck[key] = None
        worker.pool.ready.place(worker)
        self._state.note("worker.stuck", pool=worker.pool.name, worker=worker.id.hex())
        if agent is not None:
            self._state.stops.add(now + settings.timeout_s, Stop(worker, key, "timeout", last=True))

    def _is_shared(self, worker: Worker, key: Key) -> bool:
        """Whether it runs in one call with others that are still wanted: a process is not killed under them."""
        request = worker.held.get(key) or worker.abandoned.get(key)
        batch = request.batch if request is not None else None
        return batch is not None and any(it.batch is batch and not it.cancelled for it in worker.held.values())

    def _spare(self, worker: Worker, key: Key) -> None:
        """Give up what it does for its caller, who is told, and let it go on."""
        request = worker.held.get(key)
        if request is not None:
            abandon(self._state, request)
            self._answer_cancelled(request, "abandoned")

    # --- its caller may not have it any more ---

    def is_permitted(self, request: Request) -> bool:
        """Whether its caller may still call it: the policy may have changed since it was accepted."""
        party = self._state.parties.get(request.peer)
        calls = party.calls if isinstance(party, Client) else None
        return calls is None or calls.allow(request.pool.name, request.command)

    def deny(self, request: Request) -> None:
        """Answer one that waits, or that would wait again, and that its caller may not call."""
        if request.worker is None:
            unqueue(self._state, request)
        close(self._state, request)
        principal = request.identity.principal
        refusal = denied_call(principal, request.pool.name, request.command)
        self._state.fail(request, Code.PERMISSION_DENIED, *refusal)
        self._state.note("auth.denied", principal=principal.name, right="call", pool=request.pool.name)

    # --- its worker is gone ---

    def may_run_again(self, request: Request) -> bool:
        """Whether a request that had begun may begin again."""
        idempotent = request.idempotent
        if idempotent is None and request.worker is not None:
            info = request.worker.commands.get(request.command)
            idempotent = info is not None and info.idempotent
        if not idempotent or request.attempt >= request.attempts or request.cancelled:
            return False
        return request.identity.account.retries >= 1.0 and not self._is_quarantined(request)

    def _is_quarantined(self, request: Request) -> bool:
        entry = self._state.quarantine.find(request.pool.name, request.command, request.size, request.body)
        return entry is not None and entry.quarantined_at is not None

    def lose(self, request: Request, certificate: messages.Certificate) -> None:
        """It had begun on a worker that died, and may not begin again."""
        if request.cancelled:
            self.end_cancelled(request, "killed")
            return
        close(self._state, request)
        request.pool.failed += 1
        text = f"the worker that ran {request.command!r} is lost: {describe(certificate)}"
        if request.attempt < request.attempts and request.identity.account.retries < 1.0:
            text += "; it is not run again, as this client's share of re-runs is used up"
        plain = msgspec.to_builtins(certificate)
        details = {"pool": request.pool.name, "certificate": plain, "attempt": request.attempt}
        self._state.fail(request, Code.WORKER_LOST, text, details)


def may_kill(worker: Worker) -> bool:
    """Whether a caller's cancel or deadline may end this process: by the pool's word, else where nobody else is hurt."""
    allowed = worker.pool.settings.kill_on_cancel
    return worker.slots == 1 if allowed is None else allowed
