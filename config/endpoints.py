"""Addresses to listen at, taken apart: what is well-formed, what only this host can reach, what two of them share."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import msgspec

from maitred.config.problems import ValueRejected

__all__ = ["ENDPOINT_FORM", "HTTP_FORM", "Address", "parse_endpoint", "parse_http"]

HIGHEST_PORT = 65_535

MAX_IPC_PATH_BYTES = 107
"""As for the run directory (`rundir`)."""

ENDPOINT_FORM = (
    "an endpoint: tcp://host:port (IPv6 as tcp://[::1]:port, port 0: the system chooses) or ipc:///absolute/path"
)
HTTP_FORM = 'host:port, as "127.0.0.1:5752" (port 0: the system chooses), or "" for none'

TCP_PATTERN = r"^tcp://(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.*-]+):([0-9]{1,5}|\*)$"
IPC_PATTERN = r"^ipc:///.+$"
HTTP_PATTERN = r"^(|(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9_.*-]+):([0-9]{1,5}))$"
_TCP = re.compile(TCP_PATTERN)
_HTTP = re.compile(HTTP_PATTERN)
_EVERYWHERE = ("*", "0.0.0.0", "::")


class Address(msgspec.Struct, frozen=True):
    """A TCP address. Port 0: the system chooses."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this host reaches it. Names are not looked up: only `localhost` is known."""
        if self.host in ("localhost", "lo"):
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False

    def collides(self, other: Address) -> bool:
        """Whether both cannot be listened at."""
        if self.port != other.port or self.port == 0:
            return False
        hosts = {"127.0.0.1" if host == "localhost" else host for host in (self.host, other.host)}
        return len(hosts) == 1 or bool(hosts.intersection(_EVERYWHERE))


def parse_endpoint(value: Any) -> Address | None:
    """The address of a `tcp://` endpoint, None for an `ipc://` one.

    Raises:
        ValueRejected: it is neither.
    """
    if not isinstance(value, str):
        raise ValueRejected(value, ENDPOINT_FORM)
    if value.startswith("ipc://"):
        _check_path(value, value.removeprefix("ipc://"))
        return None
    found = _TCP.fullmatch(value)
    if found is None:
        near = f'"tcp://{value}"' if _TCP.fullmatch(f"tcp://{value}") else None
        raise ValueRejected(value, ENDPOINT_FORM, nearest=near)
    return _address(value, found[1], found[2].replace("*", "0"), ENDPOINT_FORM)


def parse_http(value: Any) -> Address | None:
    """The address of the HTTP server, None for none ("").

    Raises:
        ValueRejected: it is no address.
    """
    found = _HTTP.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueRejected(value, HTTP_FORM)
    return _address(value, found[2], found[3], HTTP_FORM) if value else None


def _check_path(value: str, path: str) -> None:
    if not path.startswith("/") or "\0" in path:
        raise ValueRejected(value, ENDPOINT_FORM)
    length = len(path.encode(errors="surrogateescape"))
    if length > MAX_IPC_PATH_BYTES:
        raise ValueRejected(
            value, f"a path of at most {MAX_IPC_PATH_BYTES} bytes", reason=f"the path has {length} bytes"
        )


def _address(value: str, host: str, port: str, form: str) -> Address:
    if int(port) > HIGHEST_PORT:
        raise ValueRejected(value, form, reason=f"ports end at {HIGHEST_PORT}")
    bare = host.strip("[]")
    if host.startswith("[") or re.fullmatch(r"[0-9.]+", bare):
        try:
            ipaddress.ip_address(bare.partition("%")[0])
        except ValueError:
            raise ValueRejected(value, form, reason=f"{bare} is no IP address") from None
    elif "*" in host and host != "*":
        raise ValueRejected(value, form, reason="* alone means all interfaces")
    return Address(bare, int(port))
