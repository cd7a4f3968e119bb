"""The files that say who the broker is and who may do what: read here, and made into the core's `Policy`. Nothing else.

A file that is wrong is refused whole: at the start the broker does not come up, later it goes on by what it read before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from maitred.broker.core.policy import INSECURE, OPEN, Policy, Principal
from maitred.broker.settings import BrokerSettings
from maitred.config.authorized import Authorized, read_authorized
from maitred.config.key_file import KeyFile, KeyFileError, read_key, read_secret

__all__ = ["Keyring", "compared", "read_keyring", "read_token"]

AUTHORIZED_FILE = "authorized.toml"
"""Beside the broker's key, where the configuration names no other."""

MIN_TOKEN_CHARS = 16
"""Of HTTP's token: a shorter one can be guessed by trying."""


class Keyring(Struct, frozen=True):
    """What was read at the start.

    Attributes:
        key: the broker's own; None: it asks nobody for one.
        authorized_file: whose keys may do what.
        authorized: what it said; empty where there is no such file.
    """

    key: KeyFile | None = None
    authorized_file: Path | None = None
    authorized: Mapping[str, Principal] = {}

    def policy(self, settings: BrokerSettings, secret: str) -> Policy:
        """Who there is, for a broker with these settings and this secret of its run directory."""
        without_key = INSECURE if settings.insecure else OPEN
        return Policy(
            keys=self.authorized,
            secret=secret,
            open=None if self.key is not None else without_key,
            unnamed=None,
            majordomo=bool(settings.majordomo),
        )

    def read_again(self) -> Mapping[str, Principal]:
        """What the authorisation file says now. Reads a file: in a thread, where a loop runs.

        Raises:
            AuthorizedError: with everything that is wrong with it; or there is none any more.
            KeyFileError: this broker asks for no keys.
        """
        if self.authorized_file is None:
            raise KeyFileError(
                "this broker asks for no keys: nothing is to be read again. `key` in [broker] has it ask"
            )
        return _principals(read_authorized(self.authorized_file))


def read_keyring(settings: BrokerSettings) -> Keyring:
    """Read the broker's key, and whose keys may do what.

    Raises:
        KeyFileError, AuthorizedError: a file cannot be used; the text says why and what to do. It is no error that the
            authorisation file is absent where nobody named it: nobody can come by TCP then.
    """
    if settings.key_file is None:
        return Keyring()
    key = read_key(settings.key_file, needs_server=False)
    named = settings.authorized_file
    path = Path(named) if named else Path(settings.key_file).with_name(AUTHORIZED_FILE)
    return Keyring(key, path, _principals(read_authorized(path)) if named or path.exists() else {})


def read_token(path: str) -> str:
    """The token that HTTP asks for.

    Raises:
        KeyFileError: others can read the file, or what is in it cannot be sent in a header or is too short.
    """
    token = read_secret(path).strip()
    if len(token) < MIN_TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token:
        raise KeyFileError(
            f"{path} holds no token: {MIN_TOKEN_CHARS} characters or more of one word, as `openssl rand -hex 32` makes them"
        )
    return token


def compared(before: Mapping[str, Principal], after: Mapping[str, Principal]) -> dict[str, Any]:
    """What a reading has changed: how many keys there are, and the names of those added, removed and changed."""
    old, new = _by_name(before), _by_name(after)
    return {
        "keys": len(new),
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [name for name in new if name in old and new[name] != old[name]],
    }


def _by_name(keys: Mapping[str, Principal]) -> dict[str, tuple[str, Principal]]:
    return {principal.name: (public, principal) for public, principal in keys.items()}


def _principals(entries: Sequence[Authorized]) -> dict[str, Principal]:
    return {entry.public: _principal(entry) for entry in entries}


def _principal(entry: Authorized) -> Principal:
    serves = entry.role in ("worker", "agent")
    return Principal(
        name=entry.name,
        call=tuple(_called(pattern) for pattern in entry.call),
        serve=entry.serve if serves else (),
        supervise=entry.role == "agent",
        operate=entry.role == "operator",
        read=entry.role == "operator",
        max_in_flight=entry.max_in_flight,
        rate_per_s=entry.rate,
        max_queued_bytes=entry.max_queued_bytes,
        keyed=True,
    )


def _called(pattern: str) -> tuple[str, str]:
    """`general` is all of a pool, `neural:train_*` some of its commands."""
    pool, _, command = pattern.partition(":")
    return pool, command or "*"
