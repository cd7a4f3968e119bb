"""Checks of `maitred doctor` of the files of keys: whether they can be used, and by nobody else."""

from __future__ import annotations

import os
from pathlib import Path

import zmq

from maitred.cli.findings import BROKEN, FINE, NOTE, Finding
from maitred.config import Config
from maitred.config.authorized import AuthorizedError, read_authorized
from maitred.config.credentials import KEY_VARIABLE
from maitred.config.key_file import KeyFile, KeyFileError, read_key, read_secret
from maitred.transport.refusals import beginning

__all__ = ["AUTHORIZED_FILE", "keys", "own"]

AUTHORIZED_FILE = "authorized.toml"
"""Beside the broker's key, where the configuration names no other."""

MAKE_ONE = "`maitred keys new broker` makes one"


def keys(config: Config) -> list[Finding]:
    """The broker's key, the authorisation file and the token of HTTP, as the configuration names them."""
    it = config.broker
    found: list[Finding] = []
    if it.key_file is not None:
        found.append(_key("broker's key", it.key_file, needs_server=False))
        found.append(_authorized(it.authorized_file or it.key_file.with_name(AUTHORIZED_FILE)))
    elif it.authorized_file is not None:
        todo = f"set broker.key too ({MAKE_ONE}): without it nobody is asked for a key"
        found.append(Finding("authorisation", NOTE, f"{it.authorized_file} counts for nothing", todo))
    else:
        found.append(Finding("broker's key", FINE, "none: tcp:// is for this host alone, or insecure"))
    if it.http:
        found.append(_token(it.http_token_file))
    return found


def own(path: Path | None) -> list[Finding]:
    """The key that this user shows, where he has one."""
    named = path or os.environ.get(KEY_VARIABLE)
    return [_key("key", Path(named), needs_server=True)] if named else []


def _key(check: str, path: Path, *, needs_server: bool) -> Finding:
    try:
        key = read_key(path, needs_server=needs_server)
    except KeyFileError as error:
        return Finding(check, BROKEN, str(error), "" if path.exists() else MAKE_ONE)
    if not _belongs_together(key):
        todo = "make a new one (`maitred keys new`): one half of it was changed"
        return Finding(check, BROKEN, f"{path}: its secret and its public part are of two keys", todo)
    return Finding(check, FINE, f"{path}, public part {beginning(key.public)}")


def _belongs_together(key: KeyFile) -> bool:
    return not zmq.has("curve") or zmq.curve_public(key.secret.encode()).decode() == key.public


def _authorized(path: Path) -> Finding:
    if not path.exists():
        todo = "`maitred keys new NAME --role …` makes keys, and it"
        return Finding("authorisation", NOTE, f"{path} is absent: nobody can come by tcp://", todo)
    try:
        entries = read_authorized(path)
    except AuthorizedError as error:
        return Finding("authorisation", BROKEN, str(error), "the broker does not start, or goes by what it read before")
    return Finding("authorisation", FINE, f"{path}: {len(entries)} {'key' if len(entries) == 1 else 'keys'}")


def _token(path: Path | None) -> Finding:
    if path is None:
        return Finding(
            "token of HTTP", FINE, "none: HTTP is for this host, and only shows; broker.http_token names a file"
        )
    try:
        read_secret(path)
    except KeyFileError as error:
        todo = "" if path.exists() else f"make it: (umask 077; openssl rand -hex 32 > {path})"
        return Finding("token of HTTP", BROKEN, str(error), todo or "the broker does not start")
    return Finding("token of HTTP", FINE, f"{path} can be read by its owner only")
