"""Files of CURVE keys: what one process needs to be who it is. TOML, for the eyes of its owner only.

    public = "…"      who it is, for the authorisation file
    secret = "…"      never shown, and never sent
    server = "…"      the broker's public key; absent in the broker's own file

Keys are 32 bytes, written as 40 characters of Z85 (RFC 32), as libzmq takes them.
"""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from maitred.config.toml_text import inline

__all__ = ["KEY_CHARS", "KeyFile", "KeyFileError", "is_key", "read_key", "read_secret", "write_key"]

KEY_CHARS = 40
"""Of a key in Z85."""

_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"

MAX_BYTES = 64 * 1024
"""Of a file that holds a secret; an honest one has some hundred."""


class KeyFileError(ValueError):
    """A file of a key cannot be used; the text names it and says what to do, and never what is in it."""


class KeyFile(msgspec.Struct, frozen=True):
    """One key. `server`: the public key of the broker it is for; "" in the broker's own."""

    public: str
    secret: str
    server: str = ""

    def __repr__(self) -> str:
        return f"KeyFile(public={self.public!r}, secret=…, server={self.server!r})"


def read_key(path: str | os.PathLike[str], *, needs_server: bool = True) -> KeyFile:
    """Read a key.

    Args:
        path: of the file.
        needs_server: whether it has to say which broker it is for.

    Raises:
        KeyFileError: it is not there, is no such file, or others may read it.
    """
    text = read_secret(path)
    try:
        table: dict[str, Any] = tomllib.loads(text)
        found = msgspec.convert(table, KeyFile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError):
        # not from the error: its text may have a piece of the secret
        raise KeyFileError(f"{path} is no key file: make one with `maitred keys new NAME --role …`") from None
    if needs_server and not found.server:
        raise KeyFileError(
            f"{path} names no broker (server), so it is a broker's own key: `maitred keys new NAME --role …` makes one for "
            "who connects"
        )
    for name in ("public", "secret", *(["server"] if needs_server else [])):
        if not is_key(getattr(found, name)):
            raise KeyFileError(f"{path}: {name} is no key of {KEY_CHARS} characters; make one with `maitred keys new`")
    return found


def is_key(text: str) -> bool:
    """Whether it can be a key in Z85: each five characters are 32 bits."""
    if len(text) != KEY_CHARS or not all(character in _Z85 for character in text):
        return False
    digits = [_Z85.index(character) for character in text]
    words = [digits[start : start + 5] for start in range(0, KEY_CHARS, 5)]
    return all(sum(digit * 85 ** (4 - place) for place, digit in enumerate(word)) < 2**32 for word in words)


def read_secret(path: str | os.PathLike[str]) -> str:
    """The text of a file that only its owner can read.

    Raises:
        KeyFileError: it cannot be read, or others can read it.
    """
    try:
        descriptor = os.open(
            path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        )  # a pipe without a writer is not waited for
    except OSError as error:
        raise KeyFileError(f"cannot read {path}: {error.strerror}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise KeyFileError(f"{path} is no file")
    with open(descriptor, "rb") as file:
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            raise KeyFileError(
                f"others may read {path} (mode {mode:04o}): chmod 600 it, and make a new key if they have"
            )
        if status.st_uid not in (os.getuid(), 0):
            raise KeyFileError(f"{path} belongs to user {status.st_uid}, this process runs as {os.getuid()}")
        try:
            return file.read(MAX_BYTES).decode()
        except UnicodeDecodeError:
            raise KeyFileError(f"{path} is no text") from None


def write_key(path: Path, key: KeyFile, comment: str) -> None:
    """Write a key to a new file, which only its owner can read.

    Raises:
        KeyFileError: there is one already, or it cannot be written.
    """
    table = {name: value for name, value in msgspec.structs.asdict(key).items() if value}
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise KeyFileError(f"{path} is there already: choose another name, or move it away") from None
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from None
    with open(descriptor, "w") as file:
        file.write(f"# {comment}\n" + "".join(f"{name} = {inline(value)}\n" for name, value in table.items()))
