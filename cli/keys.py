"""`maitred keys new | list | revoke`: who may come from elsewhere, and what he may do. Works on files alone.

    DIRECTORY/broker.key         the broker's own, made first
    DIRECTORY/NAME.key           one for each who connects; it goes to where he is
    DIRECTORY/authorized.toml    their public parts, and what each may do

The directory is --directory, else that of broker.key in the configuration, else $XDG_CONFIG_HOME/maitred/keys.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import zmq

from maitred.cli.key_checks import AUTHORIZED_FILE
from maitred.cli.key_request import BROKER, patterns, problems
from maitred.cli.options import Options, load_config
from maitred.cli.output import Exit, fail, print_json, print_table
from maitred.config import format_size, parse_size
from maitred.config.authorized import (
    ROLES,
    Authorized,
    AuthorizedError,
    Role,
    add_authorized,
    read_authorized,
    remove_authorized,
)
from maitred.config.key_file import KeyFile, KeyFileError, read_key, write_key
from maitred.config.toml_text import inline
from maitred.transport.refusals import SHOWN_CHARS

__all__ = ["app"]

app = typer.Typer(help="Keys for who connects from other hosts, and what each may do.", no_args_is_help=True)

COLUMNS = {
    "NAME": "name", "ROLE": "role", "CALL": "call", "SERVE": "serve", "LIMITS": "limits", "KEY": "key", "SECRET": "secret",
}  # fmt: skip

Directory = Annotated[
    Path | None,
    typer.Option(
        "--directory", metavar="DIR", help="Of the keys. Default: that of broker.key, or ~/.config/maitred/keys."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class Place:
    """Where the keys are. `configured`: the configuration names the broker's key."""

    broker: Path
    authorized: Path
    configured: bool = False

    def key(self, name: str) -> Path:
        """The file of somebody's key."""
        return self.broker if name == BROKER else self.broker.with_name(f"{name}.key")


@app.command("new")
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help='Whose it is; "broker": the broker\'s own alone.')],
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="client, worker, agent or operator.")] = "",
    call: Annotated[
        str, typer.Option("--call", metavar="POOLS", help="What it may call: 'general,neural:train_*', '*': anything.")
    ] = "",
    serve: Annotated[
        str, typer.Option("--serve", metavar="POOLS", help="Pools that it may serve: 'general,gpu-*'.")
    ] = "",
    max_in_flight: Annotated[int | None, typer.Option("--max-in-flight", help="Requests unanswered at a time.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Requests in a second, on average.")] = None,
    max_queued_bytes: Annotated[
        str | None, typer.Option("--max-queued-bytes", metavar="SIZE", help="Of its unanswered requests: as 1GB.")
    ] = None,
    directory: Directory = None,
) -> None:
    """Make a key, and say what it may do. The broker's own is made first where there is none."""
    options: Options = context.obj
    wanted = {"call": call, "serve": serve}
    limits = {"max_in_flight": max_in_flight, "rate": rate, "max_queued_bytes": max_queued_bytes}
    _refuse(list(problems(name, role, wanted, limits)))
    place = _place(options, directory)
    with _told(), _held(place.broker.parent):
        if name == BROKER and place.broker.exists():
            raise KeyFileError(
                f"{place.broker} is there already: to have another one, move it away, and make all keys anew"
            )
        broker = _broker_key(place)
        if name == BROKER:
            return
        entry = _make(place, broker, name, role, wanted, limits)
    print(f"wrote {place.key(name)} (mode 0600), and its public part to {place.authorized}: {_may(entry)}")
    print("\n".join(_next(place, entry)))


@app.command("list")
def list_keys(context: typer.Context, directory: Directory = None, json: Json = False) -> None:
    """Who has a key, what it may do, and whether its secret part is here."""
    place = _place(context.obj, directory)
    with _told():
        entries = read_authorized(place.authorized) if place.authorized.exists() else []
    rows = [_row(place, entry) for entry in entries]
    if json:
        print_json(rows)
        return
    shown = [{**row, "call": ",".join(row["call"]) or None, "serve": ",".join(row["serve"]) or None,
              "limits": _in_words(row["limits"]) or None,
              "secret": "here" if row["secret"] else "elsewhere"} for row in rows]  # fmt: skip
    print_table(
        COLUMNS, shown, empty=f"nobody has a key in {place.authorized}: `maitred keys new NAME --role …` makes one"
    )


@app.command("revoke")
def revoke(
    context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME")], directory: Directory = None
) -> None:
    """Take a key out of the authorisation file. What its owner has under way ends when the broker reads it again."""
    place = _place(context.obj, directory)
    if name == BROKER:
        fail("the broker's own key is not in the authorisation file: move it away, and make all keys anew", Exit.USAGE)
    with _told(), _held(place.broker.parent):
        remove_authorized(place.authorized, name)
    print(f"took {name} out of {place.authorized}; it counts from the next `maitred reload`, which cuts {name} off")
    if place.key(name).exists():
        print(f"{place.key(name)} is of no use any more: delete it, here and wherever it was copied to")


# --- files ---


def _refuse(found: list[str]) -> None:
    for problem in found:
        print(f"maitred: {problem}", file=sys.stderr)
    if found:
        raise typer.Exit(Exit.USAGE)


def _place(options: Options, directory: Path | None) -> Place:
    if directory is not None:
        directory = directory.absolute()
        return Place(directory / f"{BROKER}.key", directory / AUTHORIZED_FILE)
    it = load_config(options).broker
    if it.key_file is not None:
        return Place(it.key_file, it.authorized_file or it.key_file.with_name(AUTHORIZED_FILE), configured=True)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path.home() / ".config"
    return Place(home / "maitred" / "keys" / f"{BROKER}.key", home / "maitred" / "keys" / AUTHORIZED_FILE)


@contextlib.contextmanager
def _told() -> Generator[None]:
    """What is wrong with files, put into words."""
    try:
        yield
    except AuthorizedError as error:
        for problem in error.problems:
            print(f"maitred: {problem}", file=sys.stderr)
        raise typer.Exit(Exit.FAILED) from None
    except KeyFileError as error:
        fail(str(error), Exit.FAILED)
    except OSError as error:
        fail(f"cannot write {error.filename}: {error.strerror}", Exit.FAILED)


@contextlib.contextmanager
def _held(directory: Path) -> Generator[None]:
    """The directory, made where it is absent, for this command alone: another one waits."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o022:
            raise KeyFileError(
                f"others may write {directory} (mode {mode:04o}): chmod 700 it, or take another --directory"
            )
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _broker_key(place: Place) -> KeyFile:
    """The broker's own key, made now where there is none."""
    if place.broker.exists():
        return read_key(place.broker, needs_server=False)
    key = _drawn()
    write_key(place.broker, key, "the key of a maitred broker: keep it where the broker runs, and nowhere else")
    print(f"wrote {place.broker} (mode 0600): the broker's own key")
    if not place.configured:
        print("have the broker use it, in its configuration:")
        print(f"  [broker]\n  key = {inline(str(place.broker))}\n  authorized = {inline(str(place.authorized))}")
    return key


def _drawn(server: str = "") -> KeyFile:
    if not zmq.has("curve"):
        raise KeyFileError("this libzmq cannot encrypt connections: pip install pyzmq's wheel")
    public, secret = zmq.curve_keypair()
    return KeyFile(public.decode(), secret.decode(), server)


def _make(
    place: Place, broker: KeyFile, name: str, role: str, wanted: dict[str, str], limits: dict[str, Any]
) -> Authorized:
    key = _drawn(broker.public)
    size = limits["max_queued_bytes"]
    entry = Authorized(
        name,
        key.public,
        next(one for one in ROLES if one == role),
        tuple(patterns(wanted["call"])),
        tuple(patterns(wanted["serve"])),
        limits["max_in_flight"],
        limits["rate"],
        None if size is None else parse_size(size),
    )
    write_key(place.key(name), key, f"the key of {name} ({role}) for a maitred broker")
    try:
        add_authorized(place.authorized, entry)
    except BaseException:
        place.key(name).unlink()  # nobody would let it in
        raise
    return entry


# --- what is said ---


def _may(entry: Authorized) -> str:
    may = [f"call {', '.join(entry.call)}"] if entry.call else []
    may += [f"serve {', '.join(entry.serve)}"] if entry.serve else []
    may += ["see and operate everything"] if entry.role == "operator" else []
    limits = _in_words(_limits(entry))
    return f"{entry.name} ({entry.role}) may {' and '.join(may)}" + (f"; at most: {limits}" if limits else "")


def _in_words(limits: dict[str, Any]) -> str:
    shown = limits | {limit: format_size(size) for limit, size in limits.items() if limit == "max_queued_bytes"}
    return ", ".join(f"{limit} {value}" for limit, value in shown.items())


def _limits(entry: Authorized) -> dict[str, Any]:
    named = {"max_in_flight": entry.max_in_flight, "rate": entry.rate, "max_queued_bytes": entry.max_queued_bytes}
    return {limit: value for limit, value in named.items() if value is not None}


_USES: dict[Role, str] = {
    "client": "maitred --endpoint tcp://HOST:5750 call POOL COMMAND, or Client(\"tcp://HOST:5750\")",
    "operator": "maitred --endpoint tcp://HOST:5750 status",
    "worker": "python -m maitred.worker --pool POOL --connect tcp://HOST:5751 MODULE:SERVICE",
    "agent": "maitred pool POOL --connect tcp://HOST:5751",
}  # fmt: skip


def _next(place: Place, entry: Authorized) -> Iterable[str]:
    key = place.key(entry.name)
    yield "next:"
    yield "  maitred reload        where the broker runs, if it does already"
    yield f"  scp -p {key} HOST:    to where it is used, mode 600; then delete it here"
    yield f"  MAITRED_KEY={key.name} {_USES[entry.role]}"


def _row(place: Place, entry: Authorized) -> dict[str, Any]:
    return {
        "name": entry.name,
        "role": entry.role,
        "call": list(entry.call),
        "serve": list(entry.serve),
        "limits": _limits(entry),
        "key": entry.public[:SHOWN_CHARS],
        "secret": _is_here(place.key(entry.name), entry.public),
    }


def _is_here(path: Path, public: str) -> bool:
    with contextlib.suppress(KeyFileError):
        return read_key(path).public == public
    return False
