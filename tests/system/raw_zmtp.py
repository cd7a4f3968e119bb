"""ZMTP 3.1 spoken by hand over a plain socket: what no library would send."""

from __future__ import annotations

import socket
import struct

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\x00") + b"\x00" + bytes(31)
READY = b"\x05READY" + b"\x0bSocket-Type" + struct.pack("!I", 6) + b"DEALER"
MORE, LONG, COMMAND = 1, 2, 4


def opened(endpoint: str, timeout_s: float = 5.0) -> socket.socket:
    """A plain connection to where a ROUTER listens."""
    if endpoint.startswith("ipc://"):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(timeout_s)
        one.connect(endpoint.removeprefix("ipc://"))
        return one
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout_s)


def command(body: bytes) -> bytes:
    return bytes([COMMAND, len(body)]) + body


def frame(body: bytes, *, more: bool = False) -> bytes:
    flags = MORE if more else 0
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | LONG]) + struct.pack("!Q", len(body)) + body


def shaken(endpoint: str) -> socket.socket:
    """A connection that has shaken hands."""
    one = opened(endpoint)
    one.sendall(GREETING)
    received = b""
    while len(received) < len(GREETING):
        received += one.recv(len(GREETING) - len(received)) or _ended()
    one.sendall(command(READY))
    flags, size = one.recv(2) or _ended()
    assert flags == COMMAND
    one.recv(size)
    return one


def _ended() -> bytes:
    raise ConnectionResetError("the broker has closed the connection")


def send_without_end(endpoint: str, frame_bytes: int = 1 << 20, most: int = 1 << 34) -> int:
    """Send one message of frames without end, until the connection is closed; returns the bytes that were taken."""
    with shaken(endpoint) as one:
        return pour(one, frame_bytes, most)


def pour(one: socket.socket, frame_bytes: int, most: int) -> int:
    """Send frames of one message over a connection, so many bytes of them."""
    piece = frame(bytes(frame_bytes), more=True)
    sent = 0
    try:
        while sent < most:
            sent += one.send(memoryview(piece)[sent % len(piece) :])
    except OSError:
        pass
    return sent
