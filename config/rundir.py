"""The run directory of a broker on this host: its lock, its `ipc://` sockets, and the file by which others find it.

    broker.lock    held (flock) for as long as the broker lives, whatever becomes of its process; holds its process id
    broker.json    where it listens (`Connection`), written when it does, removed when it ends
    secret         what the broker's own user can read and nobody else; made once, it outlives brokers
    clients.ipc, workers.ipc

Whoever may write here can stand in for the broker, so a directory that others may enter is refused, on both sides.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Generator
from pathlib import Path

import msgspec

from maitred.config.key_file import KeyFileError, read_secret

__all__ = [
    "BrokerRunning",
    "Connection",
    "RunDir",
    "RunDirError",
    "claim",
    "discover_endpoint",
    "discover_workers_endpoint",
    "read_connection",
    "run_dir",
    "write_connection",
]

LOCK_FILE = "broker.lock"
CONNECTION_FILE = "broker.json"
SECRET_FILE = "secret"
CLIENTS_SOCKET = "clients.ipc"
WORKERS_SOCKET = "workers.ipc"

MAX_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""What `sun_path` of a Unix socket's address holds, without the final zero."""

MAX_CONNECTION_FILE_BYTES = 64 * 1024
"""An honest one has a few hundred."""

SECRET_BYTES = 32
"""As many as a key has: nobody guesses it."""

LOCK_PATIENCE_S = 0.2
"""How long a held lock is tried again: whoever looks for a broker holds it for some microseconds."""

LOCK_RETRY_S = 0.005


class RunDirError(Exception):
    """The run directory cannot be used; the text names it and says what to do."""


class BrokerRunning(RunDirError):
    """Another broker has the run directory.

    Attributes:
        pid: its process id; None where it has not written it yet.
    """

    def __init__(self, directory: Path, pid: int | None) -> None:
        self.pid = pid
        who, stop = ("another broker", "stop it") if pid is None else (f"a broker (pid {pid})", f"stop it (kill {pid})")
        super().__init__(
            f"{who} is running in {directory}: {stop}, or set MAITRED_RUN_DIR to another directory to run a second one"
        )


class Connection(msgspec.Struct, frozen=True):
    """Where a broker listens: the contents of the connection file.

    Attributes:
        pid: its process id.
        clients: endpoints for clients; the one for this host (`ipc://`) comes first.
        workers: the same for workers and agents.
        started: when, in seconds since the epoch.
        version: of the broker.
        secret: whoever can read it is the user that runs the broker, and may serve and operate without a key.
        http: host:port of its page; "" for none.
    """

    pid: int
    clients: list[str]
    workers: list[str]
    started: float
    version: str
    secret: str = ""
    http: str = ""

    def __repr__(self) -> str:
        return f"Connection(pid={self.pid}, clients={self.clients}, workers={self.workers}, version={self.version!r})"


class RunDir:
    """A run directory that this process holds the lock of. `claim` gives it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def clients_ipc(self) -> str:
        """Endpoint for clients of this host."""
        return f"ipc://{self.directory / CLIENTS_SOCKET}"

    @property
    def workers_ipc(self) -> str:
        """Endpoint for workers and agents of this host."""
        return f"ipc://{self.directory / WORKERS_SOCKET}"

    @property
    def secret(self) -> str:
        """The secret of the directory, 64 hexadecimal digits: made where there is none, the same for every broker after.

        Raises:
            RunDirError: others can read it, or it is damaged.
        """
        return _secret(self.directory)

    def publish(self, connection: Connection) -> None:
        """Let others find the broker, from now until it is withdrawn, or the directory released."""
        write_connection(self.directory, connection)

    def withdraw(self) -> None:
        """Let nobody find the broker any more: before its ports are closed, which others may take. Repeatable."""
        _forget(self.directory)


def run_dir() -> Path:
    """The directory to use: $MAITRED_RUN_DIR, else $XDG_RUNTIME_DIR/maitred, else /tmp/maitred-UID; it may not exist.

    XDG_RUNTIME_DIR counts where it is a directory of this user, which it is not after `su`.
    """
    chosen = os.environ.get("MAITRED_RUN_DIR")
    if chosen:
        return Path(chosen).absolute()
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime) and _is_own_directory(runtime):
        return Path(runtime, "maitred")
    return Path(f"/tmp/maitred-{os.getuid()}")


@contextlib.contextmanager
def claim(directory: Path) -> Generator[RunDir]:
    """Hold a run directory: made (mode 0700) where it is absent, and locked until the end of the `with`.

    The lock is the kernel's: it goes with the process, however that ends. Leaving removes the connection file.

    Raises:
        BrokerRunning: another broker holds it.
        RunDirError: it belongs to another user, others may enter it, its path is too long for the sockets, or it cannot
            be made.
    """
    directory = directory.absolute()
    _check_length(directory)
    _make(directory)
    lock = _lock(directory)
    try:
        _forget(directory)  # what a killed broker left
        yield RunDir(directory)
    finally:
        _forget(directory)
        fcntl.flock(lock, fcntl.LOCK_UN)  # closing alone would not do where a forked child has it too
        os.close(lock)


def write_connection(directory: Path, connection: Connection) -> None:
    """Write the connection file: whole or not at all, readable by its owner only."""
    _write(directory, CONNECTION_FILE, msgspec.json.encode(connection) + b"\n")


def read_connection(directory: Path | None = None) -> Connection | None:
    """Where the broker of a run directory listens.

    Returns:
        None where there is no live one: no file, a broken one, nobody who holds the lock; or where the directory is not
        this user's alone, so that anybody could have written it.
    """
    directory = run_dir() if directory is None else directory
    try:
        if _objection(directory) is not None:
            return None
        with open(directory / CONNECTION_FILE, "rb") as file:
            text = file.read(MAX_CONNECTION_FILE_BYTES)
        connection = msgspec.json.decode(text, type=Connection)
        return connection if _is_locked(directory) else None
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        return None


def discover_endpoint(explicit: str | None = None) -> str | None:
    """Where a client should call: what was given, else $MAITRED_ENDPOINT, else the local broker's; None: none is found."""
    given = explicit or os.environ.get("MAITRED_ENDPOINT")
    if given:
        return given
    connection = read_connection()
    return next(iter(connection.clients), None) if connection else None


def discover_workers_endpoint(explicit: str | None = None) -> str | None:
    """Where a worker should register: what was given, else $MAITRED_WORKERS_ENDPOINT, else the local broker's."""
    given = explicit or os.environ.get("MAITRED_WORKERS_ENDPOINT")
    if given:
        return given
    connection = read_connection()
    return next(iter(connection.workers), None) if connection else None


# --- below: the directory ---


def _is_own_directory(path: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def socket_path_bytes(directory: Path) -> int:
    """The length of the longest path of a socket in a directory."""
    return max(len(os.fsencode(directory / name)) for name in (CLIENTS_SOCKET, WORKERS_SOCKET))


def _check_length(directory: Path) -> None:
    length = socket_path_bytes(directory)
    if length > MAX_SOCKET_PATH_BYTES:
        raise RunDirError(
            f"the run directory {directory} is too long: its sockets' paths have {length} bytes, the system allows "
            f"{MAX_SOCKET_PATH_BYTES}; set MAITRED_RUN_DIR to a shorter one"
        )


def _make(directory: Path) -> None:
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        objection = _objection(directory)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunDirError(
            f"cannot use {directory} as run directory: {reason}; set MAITRED_RUN_DIR to a directory of your own"
        ) from None
    if objection is not None:
        raise RunDirError(f"cannot use {directory} as run directory: {objection}")


def _objection(directory: Path) -> str | None:
    """Why a directory is not this user's alone, and what to do; None where it is."""
    elsewhere = "set MAITRED_RUN_DIR to a directory of your own"
    link, status = os.lstat(directory), os.stat(directory)
    for found in (link, status):
        if found.st_uid != os.getuid():
            return f"it belongs to user {found.st_uid}, this process runs as {os.getuid()}; {elsewhere}"
    if not stat.S_ISDIR(status.st_mode):
        return f"it is no directory; {elsewhere}"
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        return f"others may enter it (mode {mode:04o}); chmod 700 it, or {elsewhere}"
    return None


# --- below: its files ---


def _write(directory: Path, name: str, content: bytes) -> None:
    draft = directory / f".{name}.{os.getpid()}"
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
    os.replace(draft, directory / name)


def _secret(directory: Path) -> str:
    path = directory / SECRET_FILE
    try:
        if not path.exists():
            _write(directory, SECRET_FILE, secrets.token_hex(SECRET_BYTES).encode() + b"\n")
        found = read_secret(path).strip()
    except KeyFileError as error:
        raise RunDirError(f"cannot use the secret of the run directory: {error}") from None
    except OSError as error:
        raise RunDirError(f"cannot write {path}: {error.strerror}") from None
    if not re.fullmatch(f"[0-9a-f]{{{2 * SECRET_BYTES}}}", found):
        raise RunDirError(f"{path} is damaged: delete it, and the next broker makes another one")
    return found


# --- below: the lock ---


def _lock(directory: Path) -> int:
    give_up = time.monotonic() + LOCK_PATIENCE_S
    while True:
        lock = _open_lock(directory)
        if _try_lock(lock, fcntl.LOCK_EX):
            if _is_current(lock, directory):
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
                return lock
            os.close(lock)  # the file was deleted meanwhile: what was locked is no longer the lock
            continue
        holder = os.pread(lock, 32, 0)
        os.close(lock)
        if time.monotonic() >= give_up:
            raise BrokerRunning(directory, int(holder) if holder.strip().isdigit() else None)
        time.sleep(LOCK_RETRY_S)


def _open_lock(directory: Path) -> int:
    try:
        return os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise RunDirError(f"cannot lock the run directory: {directory / LOCK_FILE}: {error.strerror}") from None


def _try_lock(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_current(lock: int, directory: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), os.stat(directory / LOCK_FILE))
    except FileNotFoundError:
        return False


def _is_locked(directory: Path) -> bool:
    lock = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return not _try_lock(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def _forget(directory: Path) -> None:
    with contextlib.suppress(OSError):
        (directory / CONNECTION_FILE).unlink()
