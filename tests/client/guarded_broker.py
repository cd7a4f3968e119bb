"""The broker of a few lines with a key, and somebody at its door who does as the test says."""

from __future__ import annotations

import threading

import zmq
from scripted_broker import Answers, ScriptedBroker, echo, free_endpoint
from zmq.utils import z85

from maitred.config.key_file import KeyFile
from maitred.transport import sockets


def new_key(server: KeyFile | None = None) -> KeyFile:
    public, secret = zmq.curve_keypair()
    return KeyFile(public.decode(), secret.decode(), server.public if server else "")


class GuardedBroker(ScriptedBroker):
    """See above.

    Attributes:
        key: the broker's; None: it has none.
        status: what the door answers: "200", "400", "300".
        seen: the public keys that were shown, in Z85; "" for none.
    """

    def __init__(self, key: KeyFile | None, answers: Answers = echo, address: str | None = None) -> None:
        self.key = key
        self.status = "200"
        self.seen: list[str] = []
        super().__init__(address or free_endpoint(), answers)

    def _listen(self) -> zmq.Socket[bytes]:
        door = self._context.socket(zmq.REP)
        door.bind("inproc://zeromq.zap.01")
        self._door = threading.Thread(target=self._guard, args=(door,), daemon=True)
        self._door.start()
        router = sockets.router(self._context, zap_domain="clients", linger_ms=0)
        if self.key is not None:
            router.setsockopt(zmq.CURVE_SERVER, 1)
            router.setsockopt(zmq.CURVE_SECRETKEY, self.key.secret.encode())
        router.bind(self.clients)
        return router

    def _guard(self, door: zmq.Socket[bytes]) -> None:
        while not self._stop.is_set():
            if door.poll(5):
                (
                    version,
                    request,
                    *_,
                    mechanism,
                ) = (frames := door.recv_multipart())[:6]
                self.seen.append(z85.encode(frames[6]).decode() if mechanism == b"CURVE" else "")
                door.send_multipart([version, request, self.status.encode(), b"", b"somebody", b""])
        door.close(linger=0)

    def close(self) -> None:
        self._stop.set()
        self._door.join()
        super().close()
