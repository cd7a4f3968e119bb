"""Where to call: the argument, else $MAITRED_ENDPOINT, else the local broker's connection file; and is it an address?"""

from __future__ import annotations

import os
import re

from maitred.client.errors import Unavailable
from maitred.config.rundir import discover_endpoint

__all__ = ["ENDPOINT_VARIABLE", "find_endpoint"]

ENDPOINT_VARIABLE = "MAITRED_ENDPOINT"

_TCP = re.compile(r"tcp://(?:\[[^\]]+\]|[^:\[\]/]+):(?P<port>\d{1,5})")
_IPC = re.compile(r"ipc://.+")
_HIGHEST_PORT = 65_535


def find_endpoint(explicit: str | None) -> str:
    """Find the broker.

    Args:
        explicit: what the user said, if anything.

    Raises:
        ValueError: an address that cannot be one; the text names it and where it stands.
        Unavailable: none was given and no broker runs on this host; `reason` is "no_broker".
    """
    found = discover_endpoint(explicit)
    if found is None:
        text = (
            "no broker is known: start one on this host with `maitred up`, or say where it is, as in "
            f'Client("tcp://host:5750") or {ENDPOINT_VARIABLE}=tcp://host:5750'
        )
        raise Unavailable(text, reason="no_broker")
    if not _is_address(found):
        raise ValueError(
            f"{_where(explicit, found)}{found!r} is no endpoint: write tcp://host:port (port 1 to {_HIGHEST_PORT}, "
            "IPv6 as tcp://[::1]:port) or ipc://path"
        )
    return found


def _is_address(endpoint: str) -> bool:
    tcp = _TCP.fullmatch(endpoint)
    if tcp is not None:
        return 0 < int(tcp["port"]) <= _HIGHEST_PORT
    return _IPC.fullmatch(endpoint) is not None


def _where(explicit: str | None, found: str) -> str:
    if explicit:
        return ""
    return f"${ENDPOINT_VARIABLE}: " if os.environ.get(ENDPOINT_VARIABLE) == found else "the connection file: "
