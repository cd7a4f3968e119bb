"""Who may do what. A principal is whoever a connection belongs to: a key, or a user of this host.

The handler of handshakes (ZAP) gives each connection a user id, which libzmq attaches to its messages:

    key:PUBLIC       it has shown that it owns this CURVE key (40 characters of Z85)
    user:UID:PID     it came over `ipc://`; the kernel says so
    open:ADDRESS     it came over TCP, and there are no keys

Nothing that a peer says of itself is a reason to trust it, but for the secret of the connection file.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from fnmatch import fnmatchcase

from msgspec import Struct

from maitred.broker.core.effects import Side

ANY = "*"
"""The pattern of all names."""

SHOWN_CHARS = 8
"""Of a public key, in logs: enough to tell it from others of a file."""


class Principal(Struct, frozen=True):
    """Somebody, and what he may do.

    Attributes:
        name: as the authorisation file has it. Whoever has a key is one client to the broker's fairness and to its
            sessions, however many processes he runs (`keyed`).
        call: patterns of pool and command that he may call.
        serve: patterns of pools that he may register workers for.
        supervise: whether he may introduce himself as an agent, too.
        operate: whether he may change what the broker does.
        read: whether he sees everybody's requests, sessions and deaths, or his own.
        max_in_flight: requests unanswered at a time, over all his processes; None: no limit but the pools'.
        rate_per_s: requests accepted in a second, on average; None: no limit.
        max_queued_bytes: of the arguments of his unanswered requests; None: no limit but the pools'.
        keyed: whether he is known by a key.
    """

    name: str
    call: tuple[tuple[str, str], ...] = ()
    serve: tuple[str, ...] = ()
    supervise: bool = False
    operate: bool = False
    read: bool = False
    max_in_flight: int | None = None
    rate_per_s: float | None = None
    max_queued_bytes: int | None = None
    keyed: bool = False

    def may_call(self, pool: str, command: str) -> bool:
        """Whether he may have a pool run a command."""
        return any(fnmatchcase(pool, one) and fnmatchcase(command, two) for one, two in self.call)

    def may_call_pool(self, pool: str) -> bool:
        """Whether he may call anything of a pool: open sessions there, and watch how full it is."""
        return any(fnmatchcase(pool, one) for one, _ in self.call)

    def may_serve(self, pool: str) -> bool:
        """Whether he may register workers for a pool."""
        return any(fnmatchcase(pool, pattern) for pattern in self.serve)

    def may_be_client(self) -> bool:
        """Whether there is anything for him where clients connect."""
        return bool(self.call) or self.operate or self.read

    def is_same(self, other: Principal) -> bool:
        """Whether both are one, whatever each may do: no key can be named so that it is taken for who has none."""
        return self.name == other.name and self.keyed == other.keyed

    @property
    def title(self) -> str:
        """What he is called in a sentence."""
        return f"key {self.name!r}" if self.keyed else repr(self.name)

    @property
    def account(self) -> str:
        """By which sessions and tables know him: his name, where he has a key; "" for all others."""
        return self.name if self.keyed else ""


ANYTHING = ((ANY, ANY),)

TRUSTED = Principal("owner", ANYTHING, ("*",), supervise=True, operate=True, read=True)
"""Who has shown the secret of the connection file: the user that runs the broker."""

LOCAL = Principal("owner", ANYTHING, operate=True, read=True)
"""A process of the user that runs the broker, over `ipc://`. To serve, it shows the secret, which its agent gave it."""

OPEN = Principal("anyone", ANYTHING)
"""Anybody on this host, over loopback without keys."""

INSECURE = Principal("anyone", ANYTHING, ("*",), supervise=True, operate=True, read=True)
"""Anybody who reaches a broker that was told to be `insecure`."""


class Policy(Struct, frozen=True):
    """Who there is.

    Attributes:
        keys: by public key.
        secret: that of the connection file; "": none is asked for, and everybody without a key is trusted.
        open: over TCP without a key; None: there is no such way in.
        unnamed: who has no user id; None, unless there is no handler of handshakes (tests of the core).
        majordomo: whether workers that speak Majordomo's protocol, which cannot show a secret, may do without it.
    """

    keys: Mapping[str, Principal] = {}
    secret: str = ""
    open: Principal | None = OPEN
    unnamed: Principal | None = TRUSTED
    majordomo: bool = False

    def find(self, user: str, secret: str = "") -> Principal | None:
        """Who a connection belongs to; None: nobody who is known, or not any more."""
        kind, _, rest = user.partition(":")
        match kind:
            case "key":
                return self.keys.get(rest)
            case "user":
                known: Principal | None = LOCAL
            case "open":
                known = self.open
            case _:
                return self.unnamed if not user else None
        if known is not None and hmac.compare_digest(self.secret.encode(), secret.encode()):
            return TRUSTED
        return known

    def may_enter(self, user: str, side: Side) -> bool:
        """Whether a connection of his makes sense on that side: whether there is anything that he may do there.

        Who has no key may show the secret yet, so that he may enter wherever he may be without one.
        """
        principal = self.find(user)
        if principal is None or not principal.keyed:
            return principal is not None
        serves = bool(principal.serve)
        if side is Side.CLIENTS:
            return principal.may_be_client()
        return serves if side is Side.WORKERS else serves or bool(principal.call)


def in_short(user: str) -> str:
    """A user id for logs: of a key its beginning."""
    kind, _, rest = user.partition(":")
    return f"key:{rest[:SHOWN_CHARS]}…" if kind == "key" else user
