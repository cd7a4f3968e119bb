"""A thread that asks the broker for `maitred top`, once a second, by one connection, and goes on when it has died."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from dataclasses import replace

from maitred.cli.failures import described
from maitred.cli.options import Options, open_client
from maitred.cli.top_model import VIEWS, Snapshot
from maitred.client import Client
from maitred.client.errors import MaitredError

__all__ = ["Asking"]

EVERY_S = 1.0
"""Between two looks: as fast as a person reads, and nothing to a broker."""

PATIENCE_S = 2.0
"""An answer that takes longer is not waited for: the connection is made anew, which finds a broker that has come back."""

JOIN_S = 1.0
"""How long the thread may take to end; it holds nothing that matters."""


class Asking:
    """Start it by `start`; `answers` has what came.

    Args:
        options: where the broker is. It is looked for there and nowhere else, once it was found.
        wake: a descriptor to which a byte is written when an answer is there.
        view: whose rows are asked for at first.

    Attributes:
        answers: snapshots, and the errors of looks that brought none.
        endpoint: where it asks; empty until it has found a broker.
    """

    def __init__(self, options: Options, wake: int, view: str = "p") -> None:
        self.answers: queue.SimpleQueue[Snapshot | Exception] = queue.SimpleQueue()
        self.endpoint = ""
        self._options = options
        self._wake = wake
        self._view = view
        self._nudge = threading.Event()
        self._stopped = False
        self._client: Client | None = None
        self._asked_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="asks the broker", daemon=True)

    def start(self) -> None:
        """Ask for the first time, and then go on."""
        self._thread.start()

    def show(self, view: str) -> None:
        """Ask for the rows of this view from now on, and at once."""
        if view != self._view:
            self._view = view
            self._nudge.set()

    def check(self) -> None:
        """From the other thread, now and then: an answer that is overdue is given up."""
        asked_at, client = self._asked_at, self._client
        if asked_at is not None and client is not None and time.monotonic() > asked_at + PATIENCE_S:
            self._asked_at = None
            client.close()  # whoever waits for an answer of it is told at once

    def stop(self) -> None:
        """End it."""
        self._stopped = True
        self._nudge.set()
        if self._client is not None:
            self._client.close()
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        while not self._stopped:
            began = time.monotonic()
            answer = self._answer()
            if self._stopped:
                break
            self.answers.put(answer)
            with contextlib.suppress(OSError):
                os.write(self._wake, b"a")
            self._nudge.wait(max(0.0, began + EVERY_S - time.monotonic()))
            self._nudge.clear()
        if self._client is not None:
            self._client.close()

    def _answer(self) -> Snapshot | Exception:
        try:
            if self._client is None:
                self._client = self._open()
            self._asked_at = time.monotonic()
            return self._ask(self._client, self._view)
        except (MaitredError, RuntimeError, ValueError) as error:
            if self._client is not None:
                self._client.close()
                self._client = None
            if self.endpoint:
                text = f"no broker at {self.endpoint}, trying again"
                why = described(error) if isinstance(error, MaitredError) and self.endpoint not in str(error) else ""
                return ConnectionError(f"{text} ({why})" if why and not self._gave_up(error) else text)
            return error
        finally:
            self._asked_at = None

    def _gave_up(self, error: Exception) -> bool:
        """Whether the error is only that of the connection that `check` closed."""
        return "closed" in str(error)

    def _open(self) -> Client:
        client = open_client(self._options)
        self.endpoint = client.endpoint
        self._options = replace(self._options, endpoint=client.endpoint, connect_timeout_s=PATIENCE_S)
        return client

    def _ask(self, client: Client, view: str) -> Snapshot:
        broker, pools = client.broker(), client.pools()
        name = VIEWS[view].name
        rows = pools if name == "pools" else getattr(client, name)()
        return Snapshot(time.monotonic(), view, broker, pools, rows)
