"""What the synchronous client asks and tells the broker itself: its tables, and what an operator may do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from maitred.client.calls import QUERY_TIMEOUT_S, result
from maitred.client.connections import Connections
from maitred.client.errors import DeadlineExceeded
from maitred.client.opening import key_of
from maitred.protocol import messages
from maitred.protocol.client import Question

__all__ = ["Operating"]


class Operating(Connections):
    """The part of `Client` that is about the broker rather than about calls."""

    def pools(self) -> list[dict[str, Any]]:
        """One row a pool, as `maitred status --json` has them."""
        return self._ask(messages.Query, "pools")

    def workers(self) -> list[dict[str, Any]]:
        """One row a worker, as `maitred workers --json` has them."""
        return self._ask(messages.Query, "workers")

    def requests(self) -> list[dict[str, Any]]:
        """One row for each request that is unanswered, as `maitred requests --json` has them."""
        return self._ask(messages.Query, "requests")

    def quarantine(self) -> list[dict[str, Any]]:
        """One row for each request that killed workers, as `maitred quarantine --json` has them."""
        return self._ask(messages.Query, "quarantine")

    def sessions(self) -> list[dict[str, Any]]:
        """One row a session, as `maitred sessions --json` has them."""
        return self._ask(messages.Query, "sessions")

    def deaths(self) -> list[dict[str, Any]]:
        """One row for each worker that died of late, as `maitred workers --dead --json` has them."""
        return self._ask(messages.Query, "deaths")

    def broker(self) -> dict[str, Any]:
        """The broker itself: the "broker" of `maitred status --json`."""
        return self._ask(messages.Query, "broker")

    def operate(self, verb: str, target: str) -> dict[str, Any]:
        """Have the broker do something to a pool or a worker; what it began may take longer than this returns.

        Args:
            verb: "scale", "pause", "resume", "drain" or "recycle".
            target: a pool ("scale": "POOL=N"); for the last two also a worker, by four digits of its id or more.

        Returns:
            What was done.

        Raises:
            InvalidArgument: no such verb, pool or worker, or a size that the pool may not have.
        """
        return self._ask(messages.Operate, verb, target)

    def cancel_request(self, request: str) -> dict[str, Any]:
        """Have any client's request stopped: its `id` in `requests`. Returns what was done.

        Raises:
            InvalidArgument: no such request is known; it may have ended.
        """
        return self.operate("cancel", request)

    def release(self, fingerprint: str) -> dict[str, Any]:
        """Let a request be run again that killed workers: its `fingerprint` in `quarantine`, or "all".

        Returns what was done.

        Raises:
            InvalidArgument: no such fingerprint is known.
        """
        return self.operate("release", fingerprint)

    def close_session(self, session: str) -> dict[str, Any]:
        """Close any session: its `id` in `sessions`. Returns what it was.

        Raises:
            SessionNotFound, SessionLost: it has ended.
        """
        return self._ask(messages.Session, key_of(session), "close")

    # --- below: asking ---

    def _ask(self, kind: Callable[..., Question], *fields: str | bytes) -> Any:
        channel = self._enter()
        request_id, until = next(self._origin.numbers), time.monotonic() + QUERY_TIMEOUT_S
        try:
            answers = channel.ask(kind(request_id, *fields), until)
            while not answers:
                if not channel.wait(until):
                    raise self._no_answer()
                channel.check_open()
            return result(answers[0])
        finally:
            channel.abandon(request_id)
            self._leave(channel)

    def _no_answer(self) -> DeadlineExceeded:
        text = f"the broker at {self.endpoint} did not answer within {QUERY_TIMEOUT_S:g} s"
        return DeadlineExceeded(text, where="unknown", timeout=QUERY_TIMEOUT_S)
