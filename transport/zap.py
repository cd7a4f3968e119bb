"""The handler of handshakes of one context: ZeroMQ's authentication protocol (RFC 27, ZAP), over `inproc`.

libzmq asks it about each connection to a socket that has a ZAP domain, and waits for the answer before it lets a message
through. What it answers is decided elsewhere (`Decide`); here requests are taken apart, within bounds, and answered.

    [route, "", "1.0", id, domain, address, identity, mechanism, credential…]      libzmq asks
    [route, "", "1.0", id, code, text, user id, metadata]                          the handler answers

The user id becomes a property of each message of that connection (`Inbox.user`). An answer that is not 200 ends the
handshake: after 400 the peer is told, and does not come again by itself; after 300 it is told nothing, its connection is
cut at the end of the handshake's time (`HANDSHAKE_TIMEOUT_MS`), and it tries again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import trio
import zmq
from msgspec import Struct

from maitred.transport.errors import HostUnreachable, SocketClosed, WouldBlock
from maitred.transport.frames import Frame
from maitred.transport.host import HostedPump
from maitred.transport.pump import Pump

__all__ = ["ZAP_ENDPOINT", "Decide", "Verdict", "ZapHandler", "ZapStatistics", "bind_zap"]

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
"""Where libzmq looks for a handler; the RFC's."""

VERSION = b"1.0"

MAX_FRAMES = 16
"""Of one question: nine, and what a mechanism shows of the peer, which is two frames at most (PLAIN)."""

MAX_FRAME_BYTES = 256
"""Of each of its frames: libzmq's own bound for names is 255, and a key has 32."""

HEAD_FRAMES = 4
"""Route, delimiter, version and id: enough to say that the rest makes no sense."""

LEAST_FRAMES = 8

ASKED_FOR_LATER, REFUSED, FAILED = 300, 400, 500

_log = logging.getLogger(__name__)


class Verdict(Struct, frozen=True):
    """What becomes of a connection.

    Attributes:
        code: 200 lets it in, 300 has it come again later, 400 turns it away for good.
        user: the user id of a connection that is let in; never empty there.
        text: why it is not; the peer is not told.
    """

    code: int
    user: str = ""
    text: str = ""


Decide: TypeAlias = Callable[[str, str, str, Sequence[bytes]], Verdict]
"""Domain, the peer's address, the mechanism's name, and what it has shown: for CURVE the 32 bytes of its public key. Must
not block."""


@dataclass(frozen=True, slots=True)
class ZapStatistics:
    """Counts since the start.

    Attributes:
        asked: questions of libzmq, broken ones too.
        let_in: answered 200.
        put_off: answered 300.
        refused: answered 400.
        broken: that made no sense; libzmq itself asks no such thing.
        failed: of which the decision raised.
    """

    asked: int = 0
    let_in: int = 0
    put_off: int = 0
    refused: int = 0
    broken: int = 0
    failed: int = 0


def bind_zap(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """Make a context's handler known. To be called before anything is bound there: who connects earlier is refused.

    Questions wait until a `ZapHandler` answers them.

    Raises:
        zmq.ZMQError: the context has one.
    """
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    # Nothing is dropped in silence: who asks is gone, or is answered.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    try:
        socket.bind(ZAP_ENDPOINT)
    except zmq.ZMQError:
        socket.close()
        raise
    return socket


class ZapHandler:
    """Answers the questions of one context; `run` is its task.

    Nothing that comes makes it raise: what makes no sense, and what the decision fails of, is answered with a refusal.

    Args:
        socket: as `bind_zap` made it; owned from here on.
        decide: says what becomes of a connection.
        make_pump: `Pump` under plain trio; the `pump` of a `Host` where that runs the process.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], decide: Decide, make_pump: Callable[..., Pump | HostedPump] = Pump
    ) -> None:
        self._decide = decide
        self._counts = dict.fromkeys(ZapStatistics.__slots__, 0)
        self._pump = make_pump([socket], self._receive, on_overlong=self._overlong, max_frames=MAX_FRAMES)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled, or closed. Cancelling it loses no question: they wait for the next `run`."""
        await self._pump.run(task_status=task_status)

    def close(self) -> None:
        """Answer no more: from now on every new connection is refused. Repeatable."""
        self._pump.close(0)

    def statistics(self) -> ZapStatistics:
        """The counts as they are now."""
        return ZapStatistics(**self._counts)

    def _receive(self, _index: int, frames: list[Frame]) -> None:
        self._counts["asked"] += 1
        question = [frame for frame in frames if type(frame) is bytes and len(frame) <= MAX_FRAME_BYTES]
        if len(question) != len(frames) or len(frames) < HEAD_FRAMES or question[1]:
            self._counts["broken"] += 1  # there is nobody to answer
            return
        verdict = self._judge(question)
        user = verdict.user if verdict.code == 200 else ""
        answer = [*question[:2], VERSION, question[3], b"%d" % verdict.code, verdict.text.encode(), user.encode(), b""]
        with contextlib.suppress(HostUnreachable, WouldBlock, SocketClosed):  # the connection ended meanwhile
            self._pump.send(0, answer)

    def _judge(self, question: list[bytes]) -> Verdict:
        if len(question) < LEAST_FRAMES or question[2] != VERSION:
            self._counts["broken"] += 1
            return Verdict(FAILED, text="this is no question of ZAP 1.0")
        try:
            domain, address, mechanism = (question[place].decode() for place in (4, 5, 7))
        except UnicodeDecodeError:
            self._counts["broken"] += 1
            return Verdict(FAILED, text="a name is no text")
        try:
            verdict = _sound(self._decide(domain, address, mechanism, question[8:]))
        except Exception:
            self._counts["failed"] += 1
            _log.exception("the decision about a handshake failed; the connection is refused")
            return Verdict(FAILED, text="internal error")
        self._counts[{200: "let_in", ASKED_FOR_LATER: "put_off"}.get(verdict.code, "refused")] += 1
        return verdict

    def _overlong(self, _index: int, _notice: Any) -> None:
        self._counts["asked"] += 1
        self._counts["broken"] += 1


def _sound(verdict: Verdict) -> Verdict:
    """Whoever is let in has a name: without one he could not be told from a socket that asks nobody."""
    if verdict.code not in (200, ASKED_FOR_LATER, REFUSED) or (verdict.code == 200 and not verdict.user):
        raise ValueError(f"{verdict} is no verdict")
    (verdict.user + verdict.text).encode()  # what cannot be sent is found out here
    return verdict
