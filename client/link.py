"""One DEALER and its exchange, for one thread that waits by polling. Nothing here is about whose calls they are.

An exception that cuts a message in two (Ctrl-C while its frames are sent or received) leaves the link not `intact`: it is
to be thrown away, as the rest of that message would be taken for the head of the next.
"""

from __future__ import annotations

import math
import os
import threading
import time

import zmq

from maitred.client.errors import MaitredError, RequestCancelled, Unavailable
from maitred.client.exchange import Exchange
from maitred.client.origin import Origin
from maitred.transport.dealers import READABLE, WOKEN, open_dealer
from maitred.transport.errors import EndpointError, SocketClosed, WouldBlock
from maitred.transport.frames import TooManyFrames
from maitred.transport.refusals import again
from maitred.transport.wake import Wake

__all__ = ["CLOSE_LINGER_S", "Link", "closed_error"]

CLOSE_LINGER_S = 0.2
"""How long a BYE or a last CANCEL may take to leave when a link is closed."""

LOOK_S = 0.02
"""While a connection is made, it is looked so often whether it was refused."""

RECEIVE_AT_ONCE = 64
"""Messages taken in before time is looked at again."""


class Link:
    """A connection for the thread that made it.

    Args:
        context: the client's ZeroMQ context.
        endpoint: the broker's.
        origin: who is calling.
        closing: set when the client is closed, from any thread.
        at_once: messages taken in by one `wait`; a caller that waits for one answer wants 1.

    Attributes:
        exchange: the requests and who waits for them.
        thread: the thread that may use it.
        intact: whether it can still be used: no message was cut, and it is not closed.
        woken: set when a wait ended by what `also_wake` named; whoever clears that clears this.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        endpoint: str,
        origin: Origin,
        closing: Wake,
        at_once: int = RECEIVE_AT_ONCE,
    ) -> None:
        self.endpoint = endpoint
        key = origin.key(endpoint)
        self.exchange = Exchange(origin.connection(endpoint, key), origin.throttling)
        self.connection = self.exchange.connection
        self.thread = threading.get_ident()
        self.pid = origin.pid
        self._closing = closing
        self._at_once = at_once
        self.intact = True
        self.woken = False
        try:
            self._dealer, self._refusals = open_dealer(endpoint, lambda: context, [closing.fileno()], key=key)
        except EndpointError as error:
            raise Unavailable(str(error), reason="no_broker", address=endpoint) from None
        self._to_close = [None]

    def also_wake(self, wake: Wake) -> None:
        """Have `wait` end when this is set; it ends at once until whoever asked for it clears it."""
        self._dealer.also_wake(wake.fileno())

    def open(self, patience: float) -> None:
        """Connect and be welcomed.

        Raises:
            Unauthenticated: the broker refuses this process, or its key.
            Unavailable: nobody answered within `patience` seconds, or the broker takes no more clients.
            RequestCancelled: the client was closed meanwhile.
        """
        began = now = time.monotonic()
        self.connection.start(now)
        while self.connection.welcome is None:
            if (refused := self.exchange.refused or self._refusals.refusal) is not None:
                raise refused
            if now >= began + patience:
                raise self._refusals.no_answer(patience)
            self.wait(min(began + patience, now + LOOK_S))
            self.check_open()
            now = time.monotonic()
            self._refusals.look(now)

    def check_open(self) -> None:
        """Raise `RequestCancelled` if the client was closed while this thread waited."""
        if self._closing.raised:
            raise closed_error()

    def wait(self, until: float = math.inf) -> bool:
        """Let time pass until something came, was due, or woke; False when the time was over before (monotonic s)."""
        now = time.monotonic()
        if now >= until:
            return False
        stuck = not self.flush()
        due = self.exchange.next_deadline()
        end = min(until, due)
        came = self._dealer.wait(None if end == math.inf else max(0.0, end - now), for_room=stuck)
        if came & WOKEN:
            self.woken = True
        if came & READABLE:
            self._receive()
        now = time.monotonic()
        if now >= due:
            self.exchange.tick(now)
            self._look(now)
        return True

    def flush(self) -> bool:
        """Send what there is to send, without waiting; False where some of it is left."""
        outgoing = self.connection.outgoing
        while outgoing:
            self.intact = False
            try:
                message, count = self.connection.first_outgoing()
                self._dealer.send(message)
            except WouldBlock:
                self.intact = True
                self._look(time.monotonic())
                return False
            except SocketClosed:
                return False
            del outgoing[:count]
            self.intact = True
        return True

    @property
    def refused(self) -> bool:
        """Whether the broker does not let this process in, as far as is known."""
        return self._refusals.refusal is not None

    def not_there(self) -> MaitredError:
        """The error for what could not be sent."""
        if self._refusals.refusal is not None:
            return again(self._refusals.refusal)
        text = f"the broker at {self.endpoint} is not there, or takes nothing more"
        return Unavailable(text, reason="no_broker", address=self.endpoint)

    def close(self) -> None:
        """Leave; requests still waited for are given up by the broker. Repeatable, from any thread while none uses it."""
        try:
            self._to_close.pop()  # whoever gets it does it
        except IndexError:
            return
        if self.pid == os.getpid():
            if self.intact:
                self.connection.bye()
                self.flush()  # nobody may be there to be told
            self._refusals.close()
            self._dealer.close(CLOSE_LINGER_S if self.intact else 0)
        self.intact = False

    def _look(self, now: float) -> None:
        """A broker that came back may not let this process in any more: what is awaited does not come then."""
        self._refusals.look(now)
        refusal = self._refusals.refusal
        if refusal is not None and self.exchange.waiting and self.connection.welcome is not None:
            self.exchange.fail_all(refusal)

    def _receive(self) -> None:
        came = 0
        while came < self._at_once:
            self.intact = False
            message = self._dealer.receive()
            if message is None:
                self.intact = True
                return
            came += 1
            if not isinstance(message, TooManyFrames):
                came += self.exchange.receive(message, time.monotonic()) - 1
            self.intact = True


def closed_error() -> RequestCancelled:
    """What a waiting caller is told when another thread closes the client."""
    return RequestCancelled("the client was closed while the request was waited for", outcome="client_closed")
