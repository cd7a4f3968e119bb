"""Tells why a DEALER is not let in, and has it try again: by itself it would wait for ever.

A broker that refuses a key looks like one that is not there, unless its handshakes are watched. libzmq's monitor tells how
they end:

    AUTH           the broker's handler said no: nobody it knows
    PROTOCOL       one end has keys and the other has not, or it is no ZeroMQ
    NO_DETAIL      the other end hung up: too many connections, or the key is for another broker. libzmq tries again
    SUCCEEDED      what was said before is over

After the first two libzmq 4.3.5 gives the endpoint up for good, so `look` connects again, later each time: whoever runs the
broker may have let it in meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import random
import struct

import zmq

from maitred.config.key_file import KeyFile
from maitred.protocol.errors import MaitredError, Unauthenticated, Unavailable
from maitred.transport.endpoints import connect
from maitred.transport.frames import Inbox
from maitred.transport.stream_dealer import StreamDealer, mechanism_at

__all__ = [
    "FIRST_RETRY_S",
    "LONGEST_RETRY_S",
    "DirectRefusals",
    "HandshakeRefusals",
    "Refusals",
    "again",
    "beginning",
]

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 8.0
"""Until a refused DEALER tries again: twice as long each time. A reload lets people in at the latest after so long."""

PROBE_S = 0.2
"""After the first hang-up it is looked, by hand, whether the other end has keys at all; its owner stands still then."""

MANY_HANG_UPS = 3
"""In a row: a broker that is killed amid a handshake hangs up once."""

SHOWN_CHARS = 8
"""Of a public key: enough to find it in a file, and short enough to be read."""

WRONG_MECHANISM = 0x11000002
CRYPTOGRAPHIC = 0x11000001
"""Values of PROTOCOL: `ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH`, `…_CRYPTOGRAPHIC`; pyzmq does not name them alike."""

REFUSED = "400"
"""Of ZAP (RFC 27): the status of who may not come in. 300 means later, and is waited for."""

WATCHED = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)

_EVENT = struct.Struct("=HI")


class Refusals:
    """What is known of why a peer is not let in. `HandshakeRefusals` and `DirectRefusals` find it out.

    Args:
        endpoint: where it connects to.
        key: what it shows.

    Attributes:
        refusal: why it is not let in, since the last handshake that succeeded; None: it is, or nothing is known.
        hung_up: how often the other end has hung up amid the handshake since then.
    """

    def __init__(self, endpoint: str, key: KeyFile | None) -> None:
        self.refusal: MaitredError | None = None
        self.hung_up = 0
        self._endpoint = endpoint
        self._key = key

    def look(self, now: float) -> bool:
        """Find out what there is to know, and try again where that is due (monotonic seconds).

        Returns whether a DEALER of libzmq was touched: who waits for its descriptor must look at it.
        """
        return False

    def next_deadline(self) -> float:
        """When `look` has something to do besides."""
        return math.inf

    def close(self) -> None:
        """Stop watching; before the DEALER is closed, or after. Repeatable."""

    def no_answer(self, patience_s: float) -> MaitredError:
        """The error for who has waited so long for an answer, and got none."""
        if self.refusal is not None:
            return again(self.refusal)
        if self.hung_up:
            text = f"the broker at {self._endpoint} hangs up amid the handshake: {self._why_hung_up()}"
            return Unavailable(text, reason="hung_up", address=self._endpoint)
        text = f"no broker answered at {self._endpoint} within {patience_s:.2g} s"
        return Unavailable(text, reason="no_broker", address=self._endpoint)

    @property
    def trouble(self) -> MaitredError | None:
        """What keeps it out, where that is more than a moment's: for who goes on trying, and says so."""
        return self.no_answer(0.0) if self.refusal is not None or self.hung_up >= MANY_HANG_UPS else None

    def _refused(self) -> MaitredError:
        if self._key is not None:
            text = (
                f"the broker at {self._endpoint} refused this key ({beginning(self._key.public)}): it is not in its "
                "authorisation file, or may do nothing at this endpoint (clients have one, workers and agents another); "
                "ask whoever runs it, who has to reload then"
            )
        elif self._endpoint.startswith("ipc://"):
            text = f"the broker at {self._endpoint} lets in only the user that runs it"
        else:
            text = f"the broker at {self._endpoint} lets nobody in without a key: set MAITRED_KEY, or give key=…"
        return self._unauthenticated(text, "refused")

    def _mismatch(self, value: int) -> MaitredError:
        key = self._key
        if value == WRONG_MECHANISM and key is None:
            text = (
                f"the broker at {self._endpoint} asks for a key: set MAITRED_KEY to the file of one, or give key=…; "
                "`maitred keys new` makes them where the broker runs"
            )
            return self._unauthenticated(text, "key_needed")
        if value == WRONG_MECHANISM:
            text = (
                f"the broker at {self._endpoint} has no keys, and this key asks for one that has: connect without "
                "(unset MAITRED_KEY), or set broker.key in its configuration"
            )
            return self._unauthenticated(text, "no_keys")
        if value == CRYPTOGRAPHIC and key is not None:
            text = f"the broker at {self._endpoint} is not the one that this key is for ({beginning(key.server)})"
            return self._unauthenticated(text, "other_broker")
        text = f"what listens at {self._endpoint} is no broker: it does not speak ZeroMQ's protocol"
        return Unavailable(text, reason="no_broker", address=self._endpoint)

    def _unauthenticated(self, text: str, reason: str) -> Unauthenticated:
        return Unauthenticated(text, reason=reason, address=self._endpoint)

    def _why_hung_up(self) -> str:
        why = "it has too many connections (broker.max_connections)"
        if self._key is None:
            return why
        return f"{why}, or it is not the one that this key is for (server = {beginning(self._key.server)})"


class HandshakeRefusals(Refusals):
    """Watches one DEALER. Make it before the socket connects; for the socket's thread alone.

    Args:
        socket: the DEALER, not connected yet; owned by the caller.
        endpoint: where it will be connected to.
        key: what it shows.

    Attributes:
        met: whether a handshake has succeeded, ever.
    """

    def __init__(self, socket: zmq.Socket[bytes], endpoint: str, key: KeyFile | None) -> None:
        super().__init__(endpoint, key)
        self._socket = socket
        self.met = False
        self._monitor = socket.get_monitor_socket(WATCHED)
        self._monitor.setsockopt(zmq.LINGER, 0)
        self._inbox = Inbox(self._monitor)
        self._retry_at = math.inf
        self._retry_s = FIRST_RETRY_S

    def fileno(self) -> int:
        """Becomes readable when there is something to `look` at; it is edge-triggered, so look first."""
        return int(self._monitor.FD)

    @property
    def monitor(self) -> zmq.Socket[bytes]:
        """What a poller of ZeroMQ waits for."""
        return self._monitor

    def look(self, now: float) -> bool:
        """As in `Refusals`."""
        while True:
            try:
                message = self._inbox.receive()
            except zmq.Again:
                break
            if isinstance(message, list) and isinstance(event := message[0], bytes) and len(event) == _EVENT.size:
                number, value = _EVENT.unpack(event)
                self._note(number, value, now)
        if now < self._retry_at:
            return False
        self._retry_at = math.inf
        with contextlib.suppress(zmq.ZMQError):  # libzmq may have forgotten the endpoint by itself
            self._socket.disconnect(self._endpoint)
        connect(self._socket, self._endpoint)
        return True

    def next_deadline(self) -> float:
        """As in `Refusals`."""
        return self._retry_at

    def close(self) -> None:
        """As in `Refusals`."""
        if self._monitor.closed:
            return
        with contextlib.suppress(zmq.ZMQError):
            self._socket.disable_monitor()
        self._monitor.close(0)

    def _note(self, number: int, value: int, now: float) -> None:
        if number == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.met, self.refusal, self.hung_up = True, None, 0
            self._retry_at, self._retry_s = math.inf, FIRST_RETRY_S
            return
        if number == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self.hung_up += 1
            if self.hung_up > 1 or self._key is None or mechanism_at(self._endpoint, PROBE_S) != "NULL":
                return
            number, value = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL), WRONG_MECHANISM
        self.refusal = self._refused() if number == zmq.EVENT_HANDSHAKE_FAILED_AUTH else self._mismatch(value)
        self._retry_at = now + self._retry_s * random.uniform(0.8, 1.2)
        self._retry_s = min(LONGEST_RETRY_S, 2 * self._retry_s)


class DirectRefusals(Refusals):
    """Looks at a `StreamDealer`, which reads the refusal itself and tries again by itself."""

    def __init__(self, dealer: StreamDealer, endpoint: str) -> None:
        super().__init__(endpoint, None)
        self._dealer = dealer
        self._said = ""

    def look(self, now: float) -> bool:
        """As in `Refusals`."""
        said = self._dealer.refused
        self.hung_up = self._dealer.hung_up
        if said != self._said:
            self._said = said
            if said == "mechanism":
                self.refusal = self._mismatch(WRONG_MECHANISM)
            elif said == "nonsense":
                self.refusal = self._mismatch(0)
            else:
                self.refusal = self._refused() if said == REFUSED else None
        return False


def beginning(public: str) -> str:
    """The first characters of a public key, by which people know it."""
    return f"{public[:SHOWN_CHARS]}…"


def again(error: MaitredError) -> MaitredError:
    """The same error, for another caller: what is raised twice has two tracebacks."""
    return type(error)(error.message, **error.details)
