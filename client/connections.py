"""The connections of one client: one for each calling thread, one in the background; what a fork and closing do to them.

A thread marks its own as being used, and asks whether the client is being closed; whoever closes asks the other way round.
So each connection is closed by exactly one of them, and no lock is taken on a single call.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import weakref

import zmq

from maitred.client.background import CLOSE_PATIENCE_S, Background
from maitred.client.calls import Call
from maitred.client.channel import Channel
from maitred.client.errors import MaitredError
from maitred.client.link import Link
from maitred.client.orders import Order
from maitred.client.origin import Origin
from maitred.config.credentials import find_key
from maitred.transport.context import new_context
from maitred.transport.wake import Wake

__all__ = ["Connections"]

CLOSE_POLL_S = 0.01
"""How often `close` looks whether the threads that were amid a call have left it. They say so besides."""

_INHERITED: list[object] = []
"""What a fork copied of its parent's connections. Kept for good: to free it would be to use the parent's sockets."""


class Connections:
    """What a client is beneath its verbs.

    Args:
        endpoint: the broker's.
        connect_timeout: seconds within which it must answer a new connection, or take a request.
        name, throttle, key: see `Client`.
    """

    def __init__(
        self,
        endpoint: str,
        connect_timeout: float,
        name: str,
        throttle: float | None,
        key: str | os.PathLike[str] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.connect_timeout = connect_timeout
        self._name = name
        self._throttle = throttle
        self._key = key
        find_key(endpoint, key)  # what is wrong with it is said at once
        self._begin_process()

    def connect(self, timeout: float | None = None) -> None:
        """Connect this thread now, where it is not: for who wants to know whether a broker is there before he asks it.

        Args:
            timeout: seconds for it; None takes `connect_timeout`.

        Raises:
            Unavailable: nobody answered; `reason` is "no_broker".
            Unauthenticated: the broker does not let this process in.
        """
        channel = self._enter(None, timeout)
        self._leave(channel)

    def close(self) -> None:
        """End all connections; what other threads and futures wait for is stopped: `RequestCancelled`. Repeatable."""
        if self._origin.pid != os.getpid():
            self._closing.raised = True  # the descriptor is the parent's
            return
        with self._lock:
            if self._closing.raised:
                return
            self._closing.set()
            channels, background = list(self._channels), self._background
        amid = background is not None and not background.close()
        busy = [channel for channel in channels if not channel.close_unless_busy()]  # their threads were woken
        give_up = time.monotonic() + CLOSE_PATIENCE_S
        while any(channel.busy for channel in busy) and time.monotonic() < give_up:
            if any(channel.busy and channel.thread == threading.get_ident() for channel in busy):
                amid = True  # this thread's own, beneath us: a signal handler closes the client amid a call
                break
            self._left.wait(CLOSE_POLL_S)
        if not amid and not any(channel.busy for channel in busy):
            self._context.term()

    # --- below: for the verbs ---

    def _begin_process(self) -> None:
        self._origin = Origin(self._name, self._throttle, self._key)
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = new_context()
        self._closing = Wake()
        self._left = threading.Event()
        self._local = threading.local()
        self._channels: weakref.WeakSet[Channel] = weakref.WeakSet()
        self._background: Background | None = None

    def _check_process(self) -> None:
        if self._origin.pid != os.getpid():
            _INHERITED.append((self._context, list(self._channels), self._local, self._background))
            if self._closing.raised:
                raise closed_client()
            self._begin_process()

    def _enter(self, call: Call | None = None, patience: float | None = None) -> Channel:
        """This thread's channel, marked as being used."""
        if self._origin.pid != os.getpid():
            self._check_process()
        channel: Channel | None = getattr(self._local, "channel", None)
        if channel is None:
            return self._connect(call, self.connect_timeout if patience is None else patience)
        channel.busy = True
        if self._closing.raised:  # asked after it was marked: `close` asks the other way round
            self._leave(channel)
            raise closed_client()
        return channel

    def _enter_again(self, channel: Channel) -> bool:
        if self._origin.pid != os.getpid() or getattr(self._local, "channel", None) is not channel:
            self._check_process()
            if self._closing.raised or not channel.intact:
                raise closed_client()
            raise RuntimeError("a stream is read by the thread that began it, and not after a fork")
        channel.busy = True
        if self._closing.raised:
            self._leave(channel)
            raise closed_client()
        return True

    def _leave(self, channel: Channel) -> bool:
        channel.abandon_left()
        if self._closing.raised or not channel.intact:
            self._drop(channel)
        channel.busy = False
        if self._closing.raised:  # asked again after it was marked: `close` asks the other way round
            self._drop(channel)
        return False

    def _drop(self, channel: Channel) -> None:
        channel.close()
        if getattr(self._local, "channel", None) is channel:
            del self._local.channel
        self._left.set()

    def _connect(self, call: Call | None, patience: float) -> Channel:
        with self._lock:
            if self._closing.raised:
                raise closed_client()
            channel = Channel(self._context, self.endpoint, self._origin, self._closing)
            self._channels.add(channel)
        try:
            channel.open(patience if call is None else call.patience(time.monotonic(), patience))
        except BaseException as error:
            if call is not None and isinstance(error, MaitredError):
                call.not_sent(error)
            channel.close()
            channel.busy = False  # nobody is in it: `close` need not leave the context to it
            raise
        self._local.channel = channel
        return channel

    def _post(self, order: Order) -> None:
        self._check_process()
        while True:
            with self._lock:
                if self._closing.raised:
                    raise closed_client()
                background = self._background
                if background is None:
                    background = self._background = self._start_background()
            if background.send(order):
                return
            with self._lock:
                if self._background is background:
                    self._background = None

    def _post_and_wait_for(self, order: Order) -> None:
        """Post an order whose end the caller waits for."""
        if self._background is not None and self._background.is_current():
            raise RuntimeError("a callback of the client cannot wait for the thread that it is called in: use another")
        self._post(order)

    def _start_background(self) -> Background:
        make_link = functools.partial(Link, self._context, self.endpoint, self._origin, self._closing)
        background = Background(make_link, self._origin, self._closing, self.connect_timeout)
        weakref.finalize(self, background.close)  # the thread does not keep the client alive, nor outlive it
        return background

    def _cancel(self, order: Order) -> None:
        background = self._background
        if background is not None:
            background.cancel(order)


def closed_client() -> RuntimeError:
    """What calling a closed client raises."""
    return RuntimeError("this client is closed")
