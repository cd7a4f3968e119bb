"""Peers that speak Majordomo's protocol on a broker core's bench: hand-made frames in, hand-made frames out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_peers import Bench, settings

from maitred.broker.core.effects import Effect, Forward, Peer, Side
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m

ECHO = "echo"
RAW = PoolSettings(ECHO, timeout_s=10.0, majordomo_command="run", majordomo_body="raw")
PACKED = PoolSettings(ECHO, timeout_s=10.0)

__all__ = ["ECHO", "PACKED", "RAW", "MajordomoBench", "settings"]


class MajordomoBench(Bench):
    """Frames to peers of Majordomo's are sorted by peer in `frames`."""

    def __init__(self, *pools: PoolSettings, **changes: Any) -> None:
        self.frames: dict[Peer, list[list[Any]]] = {}
        super().__init__(pools=list(pools or [RAW]), **changes)

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Forward):
                self.frames.setdefault(effect.peer, []).append(effect.frames)
        super().perform([effect for effect in effects if not isinstance(effect, Forward)])

    def put(self, peer: Peer, *frames: bytes, user: str = "") -> list[list[Any]]:
        """Send frames; returns those that the peer was sent in answer."""
        self.poke(peer, *frames, user=user)
        return self.got(peer)

    def poke(self, peer: Peer, *frames: bytes, user: str = "") -> None:
        """Send frames and leave the answers where they are."""
        self.perform(self.core.receive(peer, list(frames), self.now, user))

    def got(self, peer: Peer) -> list[list[Any]]:
        return self.frames.pop(peer, [])

    # --- workers ---

    def old_worker(self, version: int = 1, side: Side = Side.WORKERS, *, delimiter: bool = True) -> Peer:
        peer = self.peer(side)
        self.poke(peer, *worker(version, b"\x01", ECHO.encode(), delimiter=delimiter))
        return peer

    def order(self, peer: Peer) -> tuple[bytes, list[Any]]:
        """The one REQUEST that a worker was sent: its address and its body."""
        (frames,) = self.got(peer)
        assert frames[0] == b""
        assert frames[1] in (b"MDPW01", b"MDPW02")
        assert frames[2] == b"\x02"
        assert frames[4] == b""
        return frames[3], frames[5:]

    # --- ours ---

    def ask(self, client: Peer, number: int, command: str, *body: bytes, **fields: Any) -> list[Any]:
        return self.say(client, m.Request(number, ECHO, command, **fields), *body)


def opening(name: bytes, delimiter: bool) -> list[bytes]:
    return [b"", name] if delimiter else [name]


def worker(version: int, number: bytes, *rest: bytes, delimiter: bool = True) -> list[bytes]:
    return [*opening(b"MDPW0%d" % version, delimiter), number, *rest]


def reply(version: int, address: bytes, body: Sequence[bytes], *, delimiter: bool = True) -> list[bytes]:
    return worker(version, b"\x03" if version == 1 else b"\x04", address, b"", *body, delimiter=delimiter)


def partial(address: bytes, *body: bytes) -> list[bytes]:
    return worker(2, b"\x03", address, b"", *body)


def call(version: int, service: bytes, *body: bytes, delimiter: bool = True) -> list[bytes]:
    numbers = [b"\x01"] if version == 2 else []
    return [*opening(b"MDPC0%d" % version, delimiter), *numbers, service, *body]


def answer(version: int, service: bytes, *body: bytes, number: bytes = b"\x03", delimiter: bool = True) -> list[bytes]:
    numbers = [number] if version == 2 else []
    return [*opening(b"MDPC0%d" % version, delimiter), *numbers, service, *body]


def disconnect(version: int, *, delimiter: bool = True) -> list[bytes]:
    return worker(version, b"\x05" if version == 1 else b"\x06", delimiter=delimiter)


def heartbeat(version: int) -> list[bytes]:
    return worker(version, b"\x04" if version == 1 else b"\x05")
