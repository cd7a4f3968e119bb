"""A peer that means harm, as a process of its own: multiparts that are nearly right, and connections that are not.

    python hostile.py CLIENTS WORKERS SEED

Each line on its input, "MULTIPARTS CONNECTIONS SECONDS", is obeyed evenly over that time and answered with one line.
"""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import time
from pathlib import Path
from typing import Any

import raw_zmtp
import zmq

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "protocol-vectors.json").read_text())

SOCKETS = 8
"""DEALERs, half of them on each side; one in a thousand multiparts is followed by another connection."""

DRIPPING = 20
"""Connections at a time that say one byte now and then."""

MDP = [
    [b"", b"MDPC01", b"kitchen", b"\x80"],
    [b"", b"MDPW01", b"\x01", b"kitchen"],
    [b"MDPC02", b"\x01", b"kitchen", b"\x80"],
    [b"MDPW02", b"\x01", b"kitchen"],
    [b"", b"MDPW02", b"\x04", b"\x00abcd", b"", b"\x80"],
]

HUGE = [
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xdc\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01", b"\x91" * 2000, b"\x81" * 2000,
]  # fmt: skip
"""Marks of msgpack that announce four thousand million elements or bytes, or are nested without end."""


def frame(written: str | list[Any]) -> bytes:
    if isinstance(written, str):
        return bytes.fromhex(written)
    return b"".join(bytes.fromhex(text) * times for text, times in written)


class Multiparts:
    """Makes them, and sends them to both sides."""

    def __init__(self, clients: str, workers: str, draw: random.Random) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.endpoints = (clients, workers)
        self.draw = draw
        kinds = ("messages", "accepted_messages", "invalid_messages", "bundles", "invalid_bundles")
        known = [[frame(it) for it in entry["frames"]] for kind in kinds for entry in VECTORS[kind]]
        self.known = [one for one in known if one and sum(map(len, one)) < 70_000]
        self.sockets = [self.open(number) for number in range(SOCKETS)]
        self.sent = self.heard = 0

    def open(self, number: int) -> zmq.Socket[bytes]:
        one = self.context.socket(zmq.DEALER)
        one.setsockopt(zmq.LINGER, 0)
        one.connect(self.endpoints[number % 2])
        return one

    def send(self) -> None:
        place = self.draw.randrange(SOCKETS)
        try:
            self.sockets[place].send_multipart(self.make(), zmq.NOBLOCK)
            self.sent += 1
        except zmq.Again:
            time.sleep(0.0005)
        while self.sockets[place].poll(0):
            self.sockets[place].recv_multipart()
            self.heard += 1
        if self.draw.random() < 0.001:
            self.sockets[place].close(0)
            self.sockets[place] = self.open(place)

    def make(self) -> list[bytes]:
        draw = self.draw
        message = list(draw.choice(self.known))
        match draw.randrange(10):
            case 0:
                return message  # to either side, again and again
            case 1 | 2 | 3:
                return self.flipped(message)
            case 4:
                at = draw.randrange(len(message))
                message[at] = message[at][: draw.randrange(len(message[at]) + 1)]
                return message
            case 5:
                return message + [
                    draw.randbytes(draw.randrange(40)) for _ in range(draw.choice((1, 2, 62, 63, 64, 300)))
                ]
            case 6:
                head = message[0]
                at = draw.randrange(3, max(len(head), 4))
                return [head[:at] + draw.choice(HUGE) + head[at + 1 :], *message[1:]]
            case 7:
                return self.flipped(draw.choice(MDP)) if draw.random() < 0.5 else draw.choice(MDP)
            case 8:
                return [draw.randbytes(draw.choice((0, 1, 5, 100, 65_000, 66_000)))]
            case _:
                return [b"MT\x01" + draw.randbytes(draw.randrange(60)), *message[1:]]

    def flipped(self, message: list[bytes]) -> list[bytes]:
        message = list(message)
        at = self.draw.randrange(len(message))
        changed = bytearray(message[at] or b"\x00")
        for _ in range(self.draw.randint(1, 4)):
            changed[self.draw.randrange(len(changed))] ^= 1 << self.draw.randrange(8)
        message[at] = bytes(changed)
        return message


class Connections:
    """Makes plain connections that end in the middle of something."""

    def __init__(self, clients: str, workers: str, draw: random.Random) -> None:
        self.endpoints = (clients, workers)
        self.draw = draw
        self.dripping: list[tuple[socket.socket, bytes]] = []
        self.made = self.refused = 0

    def make(self) -> None:
        self.drip()
        try:
            one = raw_zmtp.opened(self.draw.choice(self.endpoints), 2.0)
        except OSError:
            self.refused += 1
            return
        self.made += 1
        said = self.say()
        try:
            if self.draw.random() < 0.05 and len(self.dripping) < DRIPPING:
                self.dripping.append((one, said))
                return
            one.sendall(said)
            if self.draw.random() < 0.3:
                one.settimeout(0.002)
                one.recv(4096)
        except OSError:
            pass
        one.close()

    def say(self) -> bytes:
        draw, greeting = self.draw, raw_zmtp.GREETING
        whole = greeting + raw_zmtp.command(raw_zmtp.READY)
        match draw.randrange(9):
            case 0:
                return b""
            case 1:
                return draw.randbytes(draw.randrange(1, 200))
            case 2:
                return greeting[: draw.randrange(1, len(greeting))]
            case 3:  # ZMTP/1.0: the length of the identity, flags, the identity
                return b"\x01\x00" if draw.random() < 0.5 else b"\x05\x00abcd" + b"\x06\x00hello"
            case 4:  # ZMTP/2.0: signature, revision, socket type, identity
                return b"\xff" + bytes(8) + b"\x7f\x01\x05\x00\x00" + raw_zmtp.frame(b"hello")
            case 5:
                return greeting + draw.randbytes(draw.randrange(1, 300))
            case 6:
                return greeting + raw_zmtp.command(draw.choice((b"\x05ERROR\xff", b"\x04PING\x00", b"", b"\xffREADY")))
            case 7:
                frames = b"".join(raw_zmtp.frame(draw.randbytes(draw.randrange(300)), more=True) for _ in range(5))
                return whole + frames[: draw.randrange(len(frames) + 1)]
            case _:  # a frame of more bytes than any may have
                return whole + b"\x02" + draw.choice((b"\x7f", b"\xff")) + bytes(7) + b"x"

    def drip(self) -> None:
        """A byte for each that waits; who has said all, or was cut off, is done with."""
        left: list[tuple[socket.socket, bytes]] = []
        for one, rest in self.dripping:
            try:
                one.sendall(rest[:1])
            except OSError:
                rest = b""
            if len(rest) > 1:
                left.append((one, rest[1:]))
            else:
                one.close()
        self.dripping = left

    def close(self) -> None:
        for one, _ in self.dripping:
            one.close()
        self.dripping = []


def main() -> None:
    clients, workers, seed = sys.argv[1:]
    os.nice(10)  # it is to be met by the broker, and not by the processors
    multiparts = Multiparts(clients, workers, random.Random(seed))
    connections = Connections(clients, workers, random.Random(seed))
    for line in sys.stdin:
        count, plain, seconds = line.split()
        total, began, done, made = int(count), time.monotonic(), 0, 0
        sent_before, made_before = multiparts.sent, connections.made
        while done < total:
            due = min(int((time.monotonic() - began) / float(seconds) * total) + 1, total)
            while multiparts.sent - sent_before < due:
                multiparts.send()
                if made < int(plain) * (multiparts.sent - sent_before) / total:
                    connections.make()
                    made += 1
            done = due
            time.sleep(0.001)
        connections.close()
        print(multiparts.sent - sent_before, connections.made - made_before, multiparts.heard, flush=True)


if __name__ == "__main__":
    main()
