"""What can go wrong on a socket, one class each; none of these reaches the caller of a request unchanged.

    TransportError
    ├── HostUnreachable     the ROUTER has no such peer: drop that peer's state
    ├── WouldBlock          a high-water mark is reached, or nobody is connected: nothing was sent, try again later
    └── SocketClosed        the socket or its pump was closed
    EndpointError (OSError)
    ├── BindError           this process cannot listen there; the text says what to do
    └── ConnectError        the address can never be connected to

After `HostUnreachable` and `WouldBlock` no frame of the message has left and none will.
"""

from __future__ import annotations

__all__ = [
    "BindError",
    "ConnectError",
    "EndpointError",
    "HostUnreachable",
    "SocketClosed",
    "TransportError",
    "WouldBlock",
]


class TransportError(Exception):
    """A socket did not do what was asked of it."""


class HostUnreachable(TransportError):
    """No peer with that routing id is connected. It never comes back: a reconnecting peer has a new id."""


class WouldBlock(TransportError):
    """The peer's queue is full, or no peer is connected. The message was not sent and may be sent again."""


class SocketClosed(TransportError):
    """The socket is closed."""


class EndpointError(OSError):
    """An endpoint that cannot be used; `errno` is the system's, `endpoint` the address as it was given."""

    endpoint: str

    def __init__(self, errno: int, text: str, endpoint: str) -> None:
        super().__init__(errno, text)
        self.endpoint = endpoint

    def __str__(self) -> str:
        return self.strerror or super().__str__()

    def __reduce__(self) -> tuple[type[EndpointError], tuple[int, str, str]]:
        return type(self), (self.errno or 0, self.strerror or "", self.endpoint)


class BindError(EndpointError):
    """Listening at the endpoint failed."""


class ConnectError(EndpointError):
    """Connecting to the endpoint failed at once: the address itself is wrong (an absent peer is no error)."""
