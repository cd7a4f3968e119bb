"""A worker's second connection, on a thread of its own: heartbeats out, cancels and grants in. It keeps the time of what
was told to stop, too, and of hooks.

It runs while the main thread is in a function, as far as Python code goes; C code that keeps the interpreter stops it
too, and then the agent vouches for the worker. It also watches the life-line, and says why where the broker does not
let the worker in.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from typing import Any

import psutil
import zmq

from maitred.config.key_file import KeyFile
from maitred.protocol import frames, messages
from maitred.protocol.errors import MaitredError
from maitred.protocol.worker import ControlConnection
from maitred.transport.endpoints import connect
from maitred.transport.errors import TransportError
from maitred.transport.frames import Inbox, TooManyFrames, send_message
from maitred.transport.lifeline import exit_parent_gone
from maitred.transport.refusals import HandshakeRefusals
from maitred.transport.sockets import dealer
from maitred.worker.own_events import OwnEvents
from maitred.worker.running import Running
from maitred.worker.stopping import Stopping
from maitred.worker.turned_away import PATIENCE_S, TurnedAway

__all__ = ["Control", "terminate_itself"]

RETRY_S = 0.02
"""Until the next try, while the connection is not made (again)."""

WAIT_MS = 1000
"""How long it sleeps while it has nothing to say: until the worker is registered."""


LAST_EVENTS_LINGER_MS = 200
"""How long the application's last events may take to go out when the process ends."""


class Control:
    """The thread. `begin` once the worker has registered, `stop` before the context ends.

    Args:
        context: the process's.
        endpoint: where workers register.
        connection: the protocol's half.
        running: what can be cancelled.
        stopping: what was, and has not ended yet.
        lifeline: a descriptor whose end means that the agent is gone.
        key: what it connects with.
        events: what the application tells.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        connection: ControlConnection,
        running: Running,
        stopping: Stopping,
        lifeline: int | None,
        key: KeyFile | None = None,
        events: OwnEvents | None = None,
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._connection = connection
        self._running = running
        self._stopping = stopping
        self._lifeline = lifeline
        self._key = key
        self._events = events or OwnEvents()
        self._wake_in, self._wake_out = os.pipe()
        self._interval: float | None = None
        self._ending = False
        self._attached = False
        self._speak_at = 0.0
        self._process = psutil.Process()
        self._thread = threading.Thread(target=self._run, name="maitred-control", daemon=True)
        self._events.wake = self._wake

    def start(self) -> None:
        """Begin to watch the life-line."""
        self._thread.start()

    def begin(self, interval: float) -> None:
        """The worker is registered: attach, and beat every `interval` seconds."""
        self._interval = interval
        self._attached = False
        self._speak_at = 0.0
        os.write(self._wake_out, b".")

    def stop(self) -> None:
        """End the thread, if it was begun."""
        self._ending = True
        os.write(self._wake_out, b".")
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it has ended
            os.write(self._wake_out, b".")

    # --- below: in the thread ---

    def _run(self) -> None:
        socket = self._socket = dealer(self._context, linger_ms=0, key=self._key)
        refusals = HandshakeRefusals(socket, self._endpoint, self._key)
        try:
            connect(socket, self._endpoint)
            self._serve(socket, refusals)
        finally:
            refusals.close()
            socket.close()

    def _serve(self, socket: zmq.Socket[bytes], refusals: HandshakeRefusals) -> None:
        inbox = Inbox(socket)
        poller = zmq.Poller()
        turned_away = TurnedAway("this worker")
        silence_at = math.inf if self._lifeline else time.monotonic() + PATIENCE_S  # an agent says so itself, once
        for source in (socket, refusals.monitor, self._wake_in, self._lifeline):
            if source is not None:
                poller.register(source, zmq.POLLIN)
        while not self._ending:
            ready = dict(poller.poll(min(self._speak(socket), self._interrupt())))
            if self._lifeline in ready and not os.read(self._lifeline or 0, 4096):
                exit_parent_gone()
            if self._wake_in in ready:
                os.read(self._wake_in, 4096)
            self._drain(inbox)
            if refusals.monitor in ready or time.monotonic() >= refusals.next_deadline():
                refusals.look(time.monotonic())
                turned_away.note(refusals.trouble)
            if time.monotonic() >= silence_at:
                silence_at = math.inf
                if not refusals.met:
                    turned_away.note_silence(refusals.no_answer(PATIENCE_S).message)
        if self._attached and self._tell(socket):
            socket.linger = LAST_EVENTS_LINGER_MS

    def _speak(self, socket: zmq.Socket[bytes]) -> int:
        """Say what is due; returns the milliseconds until more is."""
        interval = self._interval
        if interval is None:
            return WAIT_MS
        now = time.monotonic()
        if now >= self._speak_at:
            late = now - self._speak_at if self._attached and self._speak_at else 0.0
            said = self._beat(late) if self._attached else self._connection.attach()
            if said is None:
                self._speak_at = now + RETRY_S
                return int(RETRY_S * 1000)
            try:
                send_message(socket, said)
                self._attached = True
                self._speak_at = now + interval
            except TransportError:  # nobody is connected just now
                self._speak_at = now + RETRY_S
        if self._attached:
            self._tell(socket)
        return int((self._speak_at - now) * 1000) + 1

    def _tell(self, socket: zmq.Socket[bytes]) -> bool:
        """Send what the application tells; what cannot leave waits for the next time. Returns whether any was sent."""
        told = False
        while (event := self._events.first()) is not None:
            try:
                send_message(socket, frames.encode(event))
            except TransportError:
                break
            self._events.sent(event)
            told = True
        return told

    def _interrupt(self) -> int:
        """Interrupt what does not stop; returns the milliseconds until that is due again."""
        now = time.monotonic()
        self._stopping.tick(now)
        self._stopping.look_after_hooks()
        due = self._stopping.next_deadline()
        return WAIT_MS if due == math.inf else max(0, int((due - now) * 1000) + 1)

    def _beat(self, late: float) -> list[Any]:
        usage = self._process.memory_info()
        return self._connection.beat(usage.rss, time.process_time(), late, self._running.longest(time.monotonic()))

    def _drain(self, inbox: Inbox) -> None:
        while True:
            try:
                message = inbox.receive()
            except zmq.Again:
                return
            if message is not None and not isinstance(message, TooManyFrames):
                self._receive(message)

    def _receive(self, message: list[Any]) -> None:
        with contextlib.suppress(MaitredError):  # a refusal: the requests connection is told too, and ends the process
            self._obey(self._connection.receive(message)[0])

    def _give_back(self, recall: messages.Recall) -> None:
        with contextlib.suppress(TransportError):  # it could not be told, so it stays
            self._running.recall(
                (recall.client, recall.id),
                recall.attempt,
                lambda: send_message(self._socket, self._connection.returned(recall)),
            )

    def _obey(self, order: messages.ToWorker) -> None:
        match order:
            case messages.WorkerCancel():
                run = self._running.cancel((order.client, order.id), order.reason)
                if run is not None:
                    self._stopping.told(run, time.monotonic())
            case messages.WorkerGrant():
                self._running.grant((order.client, order.id), order.parts)
            case messages.Recall():
                self._give_back(order)
            case messages.Dismiss():
                terminate_itself()
            case messages.Stranger():  # attach again; a worker that is unknown altogether registers first, then `begin`
                self._attached = False
            case _:
                pass


def terminate_itself() -> None:
    """Do what SIGTERM does, whatever that is just now, and from any thread: the main one is woken by it."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
