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

__all__ = ["KEY_VARIABLE", "Credentials", "credentials", "find_key", "secret_of"]

KEY_VARIABLE = "MAITRED_KEY"


class Credentials(msgspec.Struct, frozen=True):
    """What one connection shows: `key`, or where there is none the `secret`, or neither."""

    key: KeyFile | None = None
    secret: str = ""

    def __repr__(self) -> str:
        return f"Credentials(key={self.key!r}, secret={'…' if self.secret else ''!r})"


def credentials(endpoint: str, key_file: str | os.PathLike[str] | None = None) -> Credentials:
    """What to show at an endpoint.

    Args:
        endpoint: as it is connected to.
        key_file: the key's; None takes $MAITRED_KEY. `ipc://` endpoints need none.

    Raises:
        KeyFileError: the key is to be used, and cannot be.
    """
    key = find_key(endpoint, key_file)
    return Credentials(key, "" if key else secret_of(endpoint))


def find_key(endpoint: str, key_file: str | os.PathLike[str] | None = None) -> KeyFile | None:
    """The key for an endpoint; None: there is none, or it is an `ipc://` one. Arguments and errors as `credentials`."""
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
