"""What a process shows to a broker: a key, or that it can read what only the user who runs the broker can.

A key counts on `tcp://` endpoints; over `ipc://` the kernel says who somebody is. The secret is that of the connection file
of a broker of this host, and is shown to that broker alone.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from maitred.config.endpoints import Address, parse_endpoint
from maitred.config.key_file import KeyFile, read_key
from maitred.config.rundir import Connection, read_connection

__all__ = ["KEY_VARIABLE", "Showing", "find_key", "secret_of"]

KEY_VARIABLE = "MAITRED_KEY"


class Showing:
    """The secret to show at one endpoint, looked up each time that a process introduces itself there (`protocol.showing`).

    A broker that ends leaves its port to whoever takes it. So the secret goes over TCP only while the connection file has
    the endpoint; who has shown it there waits until it does again. Where an `ipc://` socket lies nobody else can be.

    Args:
        endpoint: as it is connected to.
        given: by who started this process; for `ipc://`, while no broker is found.
    """

    def __init__(self, endpoint: str, given: str = "") -> None:
        self._endpoint = endpoint
        self._local = endpoint.startswith("ipc://")
        self._last = given if self._local else ""

    def __call__(self) -> str | None:
        """The secret, "" where none is known, None where none is to be shown just now."""
        found = secret_of(self._endpoint)
        self._last = found or self._last
        return found or (self._last if self._local or not self._last else None)


def find_key(endpoint: str, key_file: str | os.PathLike[str] | None = None) -> KeyFile | None:
    """The key to show at an endpoint; None: there is none, or it is an `ipc://` one, which needs none.

    Args:
        endpoint: as it is connected to.
        key_file: the key's; None takes $MAITRED_KEY.

    Raises:
        KeyFileError: the key is to be used, and cannot be.
    """
    path = key_file or os.environ.get(KEY_VARIABLE)
    return read_key(path) if path and endpoint.startswith("tcp://") else None


def secret_of(endpoint: str) -> str:
    """The secret of the broker of this host that listens at an endpoint; "" where none does that this user runs.

    The run directory is that of an `ipc://` endpoint itself, else this process's own. Of `tcp://` endpoints only those
    count that the connection file has and only this host reaches.
    """
    if endpoint.startswith("ipc://"):
        found = read_connection(Path(endpoint.removeprefix("ipc://")).parent)
        listed = found is not None and endpoint in (*found.clients, *found.workers)
    else:
        found = read_connection()
        listed = found is not None and _listens(found, endpoint)
    return found.secret if found is not None and listed else ""


def _listens(broker: Connection, endpoint: str) -> bool:
    wanted = _address(endpoint)
    if wanted is None or not wanted.is_loopback:
        return False
    return any(_address(each) == wanted for each in (*broker.clients, *broker.workers))


def _address(endpoint: str) -> Address | None:
    try:
        found = parse_endpoint(endpoint)
    except ValueError:
        return None
    return None if found is None else msgspec.structs.replace(found, host=_host(found.host))


def _host(name: str) -> str:
    return "127.0.0.1" if name == "localhost" else name
