"""Who may come in: the verdict about each handshake, from what ZeroMQ says of it. No sockets and no files.

    CURVE                       key:PUBLIC      whose key the policy knows, on the sides that it may come to
    NULL over `ipc://`          user:UID:PID    the broker's own user, and root; the kernel says who it is
    NULL over `tcp://`          open:ADDRESS    where there are no keys; from this host, unless the broker is insecure
    anything else               -

Coming in is not yet being allowed to do anything: the core decides about that with each message, by the user id.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Sequence

from zmq.utils import z85

from maitred.broker.core.effects import Note, Side
from maitred.config.endpoints import parse_endpoint, parse_http
from maitred.config.problems import ValueRejected
from maitred.transport.zap import Verdict

__all__ = ["DOMAINS", "DoorError", "Doors", "domain_of", "refuse_unguarded"]

CURVE_KEY_BYTES = 32

SHOWN_KEY_CHARS = 8
"""Of a refused key in the log: enough to find it in a file, and not all of something that somebody may have mistaken."""

SHOWN_CHARS = 64
"""Of whatever else a peer sent."""

ROOT = 0

_LOCAL = re.compile(r"localhost:([0-9]{1,10}):([0-9]{0,10}):([0-9]{0,10})")
"""How libzmq names a peer over `ipc://`: user, group, process. Addresses over TCP are numeric, so none looks like it."""


class DoorError(Exception):
    """A broker must not start like this: an endpoint would be open to whom it must not be. The text says what to do."""


def domain_of(side: Side) -> str:
    """The ZAP domain of a side: what a key may do at one is nothing at another."""
    return side.name.lower()


DOMAINS = {domain_of(side): side for side in Side}


class Doors:
    """Decides about handshakes.

    Args:
        may_enter: whether the policy lets a user (`key:…`, `user:…`, `open:…`) come to a side.
        note: told of refusals.
        keyed: whether there are keys: nobody comes over TCP without one then.
        insecure: whether other hosts may come without a key.
        room: whether there is room for one more from an address; where there is not, it may come again later.
        own_uid: the user whose processes may come over `ipc://`.
    """

    def __init__(
        self,
        may_enter: Callable[[str, Side], bool],
        note: Callable[[Note], object],
        *,
        keyed: bool,
        insecure: bool = False,
        room: Callable[[str], bool] = lambda _: True,
        own_uid: int | None = None,
    ) -> None:
        self._may_enter = may_enter
        self._note = note
        self._keyed = keyed
        self._insecure = insecure
        self._room = room
        self._own_uid = os.getuid() if own_uid is None else own_uid
        self.probe = b""
        """The public key, 32 bytes, with which the broker tries its own doors: it takes nobody's room, and is no news."""
        self.tried: set[Side] = set()
        """Sides that this process itself has come to. Where the kernel does not tell processes, any of its user's."""

    def decide(self, domain: str, address: str, mechanism: str, credentials: Sequence[bytes]) -> Verdict:
        """What becomes of a connection; see `transport.zap`."""
        side, local = DOMAINS.get(domain), _LOCAL.fullmatch(address)
        if side is None:
            return self._refused(domain, address, mechanism, "no such domain")
        own = [*credentials] == [self.probe] if local is None else local[3] in ("", str(os.getpid()))
        if own:
            self.tried.add(side)
        if not own and not self._room(address):
            self._tell(domain, address, mechanism, "there is no room for more connections")
            return Verdict(300, text="no room")
        match mechanism:
            case "CURVE":
                return self._by_key(side, address, credentials)
            case "NULL" if local is not None:
                return self._by_kernel(side, address, uid=local[1], pid=local[3])
            case "NULL":
                return self._by_address(side, address)
            case _:
                return self._refused(domain, address, mechanism, "only CURVE and NULL are spoken here")

    def _by_key(self, side: Side, address: str, credentials: Sequence[bytes]) -> Verdict:
        if len(credentials) != 1 or len(credentials[0]) != CURVE_KEY_BYTES:
            return self._refused(domain_of(side), address, "CURVE", "that is no key")
        public = z85.encode(credentials[0]).decode()
        if not self._may_enter(f"key:{public}", side):
            reason = "the key is not authorised for this side"
            if credentials[0] == self.probe:
                return Verdict(400, text=reason)
            return self._refused(domain_of(side), address, "CURVE", reason, public)
        return Verdict(200, f"key:{public}")

    def _by_kernel(self, side: Side, address: str, uid: str, pid: str) -> Verdict:
        if int(uid) not in (self._own_uid, ROOT):
            return self._refused(domain_of(side), address, "NULL", "it belongs to another user")
        return self._by_policy(f"user:{uid}:{pid}", side, address)

    def _by_address(self, side: Side, address: str) -> Verdict:
        if self._keyed:
            return self._refused(domain_of(side), address, "NULL", "a key is needed")
        if not self._insecure and not _is_loopback(address):
            return self._refused(domain_of(side), address, "NULL", "other hosts need a key")
        return self._by_policy(f"open:{address}", side, address)

    def _by_policy(self, user: str, side: Side, address: str) -> Verdict:
        if not self._may_enter(user, side):
            return self._refused(domain_of(side), address, "NULL", "there is no way in for it at this side")
        return Verdict(200, user)

    def _refused(self, side: str, address: str, mechanism: str, reason: str, key: str = "") -> Verdict:
        self._tell(side, address, mechanism, reason, key)
        return Verdict(400, text=reason)

    def _tell(self, side: str, address: str, mechanism: str, reason: str, key: str = "") -> None:
        fields = {"side": side[:SHOWN_CHARS], "address": address[:SHOWN_CHARS], "mechanism": mechanism[:SHOWN_CHARS]}
        self._note(Note("auth.refused", {**fields, "reason": reason, "key": key[:SHOWN_KEY_CHARS]}))


def refuse_unguarded(endpoints: dict[str, str], http: str, *, keyed: bool, token: bool) -> None:
    """Refuse addresses that other hosts reach and that nothing guards. For brokers that are not insecure.

    The configuration has been refused for it already, where there is one; a broker's settings may come from elsewhere.

    Args:
        endpoints: by the name of their key in [broker]; "" is none.
        http: host:port, "" for none.
        keyed: whether the endpoints ask for keys.
        token: whether HTTP asks for one.

    Raises:
        DoorError: there is one.
    """
    try:
        addresses = {name: parse_endpoint(endpoint) for name, endpoint in endpoints.items() if endpoint}
        served = parse_http(http)
    except ValueRejected as error:
        raise DoorError(str(error)) from None
    for name, address in addresses.items():
        if address is not None and not address.is_loopback and not keyed:
            raise DoorError(
                f"broker.{name} = {endpoints[name]}: other hosts can reach it, unauthenticated. Make keys (`maitred keys "
                "new broker`) and name the file (`key` in [broker]), or bind to 127.0.0.1; --insecure lets everybody in"
            )
    if served is not None and not served.is_loopback and not token:
        raise DoorError(
            f"broker.http = {http}: other hosts can reach it, unauthenticated. Name a file with the token to ask for "
            "(`http_token` in [broker]), or bind to 127.0.0.1; --insecure lets everybody in"
        )


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
