"""Workers that speak Majordomo's protocol, as processes of their own: an echo each.

    python old_peers.py 1|2|majortomo ENDPOINT SERVICE

The first two are written here from RFC 7 and RFC 18, as the guide's are: they beat, and begin anew where the broker is
silent or says DISCONNECT. The third is majortomo's own class, unchanged. The body "sleep" is never answered.
"""

from __future__ import annotations

import sys
import time

import zmq

INTERVAL_S = 0.5
LIVENESS = 5


def say(word: str) -> None:
    print(word, flush=True)


class OldWorker:
    """MDP/0.1 or MDP/0.2, with and without the empty frame, as each RFC has it."""

    def __init__(self, version: int, endpoint: str, service: bytes) -> None:
        self.opening = [b"", b"MDPW01"] if version == 1 else [b"MDPW02"]
        self.reply, self.beat, self.end = (b"\x03", b"\x04", b"\x05") if version == 1 else (b"\x04", b"\x05", b"\x06")
        self.endpoint, self.service = endpoint, service
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket: zmq.Socket[bytes] | None = None

    def connect(self) -> zmq.Socket[bytes]:
        if self.socket is not None:
            self.socket.close(0)
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(self.endpoint)
        self.socket.send_multipart([*self.opening, b"\x01", self.service])
        return self.socket

    def serve(self) -> None:
        socket, heard_at, beat_at = self.connect(), time.monotonic(), 0.0
        while True:
            if socket.poll(int(INTERVAL_S * 1000)):
                frames = socket.recv_multipart()[len(self.opening) :]
                heard_at = time.monotonic()
                if frames[0] == b"\x02":
                    _, address, empty, *body = frames
                    assert empty == b""
                    if body and body[0] == b"sleep":
                        say("asleep")
                        time.sleep(600)
                    socket.send_multipart([*self.opening, self.reply, address, b"", *body])
                elif frames[0] == self.end:
                    socket = self.connect()
            elif time.monotonic() - heard_at > INTERVAL_S * LIVENESS:
                socket, heard_at = self.connect(), time.monotonic()
            if time.monotonic() >= beat_at:
                socket.send_multipart([*self.opening, self.beat])
                beat_at = time.monotonic() + INTERVAL_S


def serve_majortomo(endpoint: str, service: str) -> None:
    from majortomo.worker import Worker

    with Worker(endpoint, service, heartbeat_interval=INTERVAL_S) as worker:
        while True:
            client, body = worker.wait_for_request()
            if len(body) > 2:
                worker.send_reply_partial(client, body[:1])
                body = body[1:]
            worker.send_reply_final(client, body)


if __name__ == "__main__":
    kind, endpoint, service = sys.argv[1:]
    say("started")
    if kind == "majortomo":
        serve_majortomo(endpoint, service)
    else:
        OldWorker(int(kind), endpoint, service.encode()).serve()
