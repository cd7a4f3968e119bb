"""The synchronous client: thread-safe, one connection for each calling thread, no hop and no lock on a single call."""

from __future__ import annotations

import itertools
import os
import platform
import threading
import time
from collections.abc import Generator, Mapping
from types import TracebackType
from typing import Any, Self

import zmq

from maitred.client.channel import Channel
from maitred.client.errors import DeadlineExceeded
from maitred.protocol import limits, messages
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.client import ClientConnection, Failed, PartArrived, Replied

DEFAULT_CONNECT_TIMEOUT_S = 5.0
"""Seconds within which a broker has to answer the first HELLO."""

GRACE_S = 2.0
"""Seconds beyond a call's timeout during which the broker's own `deadline_exceeded`, which knows more, may arrive."""

QUERY_TIMEOUT_S = 5.0
"""Seconds within which the broker has to answer about itself."""


class Client:
    """A client of one broker.

    Threads may share it: each gets a connection of its own at its first call. After a fork the child makes its own
    connections and is another client to the broker. Use it as a context manager, or call `close`.

    Args:
        endpoint: `tcp://host:port` or `ipc://path`.
        connect_timeout: seconds within which the broker must answer a new connection.
    """

    def __init__(self, endpoint: str, *, connect_timeout: float = DEFAULT_CONNECT_TIMEOUT_S) -> None:
        self.endpoint = endpoint
        self.connect_timeout = connect_timeout
        self._begin_process()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def execute(
        self, pool: str | None, command: str, args: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Run a command and wait for its result.

        Args:
            pool: the pool's name, or None to have the broker choose by its routing table.
            command: the command's name.
            args: its arguments by name.
            timeout: seconds for all of it, waiting included; None takes the pool's.

        Raises:
            MaitredError: one of `maitred.client.errors`. `EncodeError` and `PayloadTooLarge` are raised before anything
                is sent. Any other exception that ends the wait (Ctrl-C) has the request stopped.
        """
        channel = self._channel()
        request_id, deadline = self._send(channel, pool, command, args, timeout, 0)
        try:
            return _result(channel.next_event(request_id, deadline), pool, timeout)
        except BaseException:
            channel.abandon(request_id)
            raise

    def stream(
        self, pool: str | None, command: str, args: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Generator[Any, None, None]:
        """Run a command and yield its parts as they come; the last value is its result.

        Arguments and errors as `execute`. A retried request starts its parts again. Closing the generator, or leaving
        its loop, has the request stopped. A reader that is slow slows the command down.
        """
        channel = self._channel()
        window = limits.DEFAULT_WINDOW_PARTS
        request_id, deadline = self._send(channel, pool, command, args, timeout, window)
        taken = 0
        try:
            while isinstance(event := channel.next_event(request_id, deadline), PartArrived):
                yield decode_body(event.body)
                taken += 1
                if taken == window // 2:
                    channel.grant(request_id, taken)
                    taken = 0
            yield _result(event, pool, timeout)
        finally:
            channel.abandon(request_id)

    def pools(self) -> list[dict[str, Any]]:
        """One row a pool, as `maitred status --json` has them."""
        return self._query("pools")

    def workers(self) -> list[dict[str, Any]]:
        """One row a worker, as `maitred workers --json` has them."""
        return self._query("workers")

    def close(self) -> None:
        """End all connections; what is still waited for in other threads is stopped. Repeatable."""
        if self._pid == os.getpid():
            for channel in self._channels:
                channel.close()
            self._channels.clear()
            self._context.destroy(linger=0)
        self._local = threading.local()
        self._closed = True

    # --- below: connections ---

    def _begin_process(self) -> None:
        self._pid = os.getpid()
        self._id = os.urandom(16)
        self._ids = itertools.count(1)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._local = threading.local()
        self._channels: list[Channel] = []
        self._closed = False

    def _channel(self) -> Channel:
        if self._pid != os.getpid():
            self._begin_process()
        channel: Channel | None = getattr(self._local, "channel", None)
        if channel is None:
            channel = self._connect()
        return channel

    def _connect(self) -> Channel:
        if self._closed:
            raise RuntimeError("this client is closed")
        connection = ClientConnection(
            self._id, self.endpoint, software="maitred-python", host=platform.node(), pid=self._pid
        )
        channel = Channel(self._context, self.endpoint, connection, self.connect_timeout)
        self._channels.append(channel)
        self._local.channel = channel
        return channel

    def _send(
        self,
        channel: Channel,
        pool: str | None,
        command: str,
        args: Mapping[str, Any] | None,
        timeout: float | None,
        window: int,
    ) -> tuple[int, float | None]:
        body = encode_body(dict(args or {}))
        now = time.monotonic()
        message = messages.Request(next(self._ids), pool, command, timeout, window)
        channel.request(message, body, now + (self.connect_timeout if timeout is None else timeout))
        return message.id, None if timeout is None else now + timeout + GRACE_S

    def _query(self, what: str) -> Any:
        channel = self._channel()
        request_id, deadline = next(self._ids), time.monotonic() + QUERY_TIMEOUT_S
        channel.query(request_id, what, deadline)
        return _result(channel.next_event(request_id, deadline), None, QUERY_TIMEOUT_S)


def _result(event: PartArrived | Replied | Failed | None, pool: str | None, timeout: float | None) -> Any:
    match event:
        case Replied():
            return decode_body(event.body)
        case Failed():
            raise event.error
        case _:
            text = f"no answer within {timeout:g} s, and none from the broker either"
            raise DeadlineExceeded(text, pool=pool, where="unknown", timeout=timeout)
