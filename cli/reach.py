"""Finding out at once that nobody listens where a broker is to be.

The client library waits for a broker that is about to come, or to come back: `connect_timeout`. A person at a shell wants
to know after a moment, and a script its exit code. So the library is given a moment; where that brings nothing, the address
is looked at by hand: an address where the system itself says that nobody listens is given up, any other gets all its time.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from typing import Any

from maitred.client import Client
from maitred.client.errors import Unavailable

__all__ = ["connect"]

FIRST_LOOK_S = 0.12
"""What a broker of this host takes is a hundredth of it; where it is not enough nothing is lost but this."""

RESTART_S = 0.1
"""How long nobody may listen: a broker that `maitred up` starts again is as good as there, and a command of a script that
hits just that moment need not fail. Together with the first look it leaves a command more than half of a second."""

RETRY_S = 0.02

NOBODY = (errno.ECONNREFUSED, errno.ENOENT, errno.ENOTDIR)
"""What the system answers where nobody listens."""

_TCP = re.compile(r"tcp://(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d+)")


def connect(client: Client, patience_s: float) -> None:
    """Connect a client that is new.

    Args:
        client: it is connected in the thread that calls this.
        patience_s: seconds for an address that neither answers nor refuses.

    Raises:
        Unavailable: there is no broker; `reason` is "no_broker", and the text says the address and what was wrong with it.
        Unauthenticated: the broker does not let this process in.
    """
    began = time.monotonic()
    try:
        client.connect(min(FIRST_LOOK_S, patience_s))
        return
    except Unavailable as error:
        if error.details.get("reason") != "no_broker":
            raise
    why = _why_nobody(client.endpoint)
    while why and time.monotonic() < began + FIRST_LOOK_S + RESTART_S:
        time.sleep(RETRY_S)
        why = _why_nobody(client.endpoint)
    if why:
        raise Unavailable(f"no broker at {client.endpoint}: {why}", reason="no_broker", address=client.endpoint)
    client.connect(max(FIRST_LOOK_S, began + patience_s - time.monotonic()))


def _why_nobody(endpoint: str) -> str:
    """Why nobody can be there, as far as the system knows at once; empty where somebody may be."""
    found = _TCP.fullmatch(endpoint)
    try:
        if found is None:
            path = endpoint.removeprefix("ipc://")
            _try(socket.AF_UNIX, f"\0{path[1:]}" if path.startswith("@") else path)
        else:
            host, port = found["six"] or found["host"], int(found["port"])
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            _try(family, address)
    except socket.gaierror as error:
        return f"no host of that name is known ({error.strerror})"
    except OSError as error:
        return "nobody listens there" if error.errno in NOBODY else ""
    return ""


def _try(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as stream:
        stream.settimeout(RETRY_S)
        code = stream.connect_ex(address)
        if code not in (0, errno.EINPROGRESS, errno.EAGAIN):
            raise OSError(code, os.strerror(code))
