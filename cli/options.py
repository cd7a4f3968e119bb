"""The options that stand before the verb, and what every command makes of them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from maitred.cli import reach
from maitred.cli.failures import report
from maitred.cli.output import Exit, fail
from maitred.client import Client
from maitred.client.calls import DEFAULT_CONNECT_TIMEOUT_S
from maitred.client.errors import MaitredError
from maitred.config import Config, ConfigError, load, parse_duration
from maitred.config.credentials import KEY_VARIABLE, find_key
from maitred.config.key_file import KeyFileError
from maitred.config.rundir import read_connection

__all__ = ["Key", "Options", "duration", "endpoint_of", "key_for", "load_config", "open_client", "talking_to_broker"]


Key = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help=f"The key to show at tcp:// endpoints. Default: ${KEY_VARIABLE}."),
]


@dataclass(frozen=True)
class Options:
    """What the user said before the verb."""

    config: Path | None
    overrides: tuple[str, ...]
    endpoint: str | None
    log_level: str
    log_format: str
    key: Path | None = None
    connect_timeout_s: float = DEFAULT_CONNECT_TIMEOUT_S

    def at(self, endpoint: str | None) -> Options:
        """The same, for a broker that is looked for there."""
        return replace(self, endpoint=endpoint)


def load_config(options: Options) -> Config:
    """Load the configuration; where it is wrong, print every problem and end with 2."""
    try:
        return load(options.config, overrides=options.overrides)
    except ConfigError as error:
        for problem in error.problems:
            print(f"maitred: {problem}", file=sys.stderr)
        raise typer.Exit(Exit.USAGE) from None


def duration(text: str, option: str) -> float:
    """Seconds of a time that the user wrote, as 500ms or 5min; what is none, or nothing, ends the command."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        fail(f"{option}: {error}", Exit.USAGE)
    if seconds <= 0:
        fail(f"{option} is {text}; accepted: a time above 0, as 500ms or 5s", Exit.USAGE)
    return seconds


def endpoint_of(options: Options) -> str | None:
    """Where the broker is: as said, or in the environment, or by the configuration; None: a client looks for itself."""
    if options.endpoint or os.environ.get("MAITRED_ENDPOINT") or options.config is None:
        return options.endpoint
    broker = load_config(options).broker
    found = read_connection(broker.run_dir)
    return found.clients[0] if found is not None and found.clients else broker.clients


def key_for(endpoint: str, key: Path | None) -> str | None:
    """The file of the key to show at an endpoint, for another process; one that cannot be used ends the command."""
    try:
        find_key(endpoint, key)
    except KeyFileError as error:
        fail(str(error), Exit.USAGE)
    return str(key.absolute()) if key else None


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def talking_to_broker(options: Options) -> Generator[Client]:
    """A client of the broker that the user means; what goes wrong is put into words and ends the command."""
    for number in (
        signal.SIGTERM,
        signal.SIGHUP,
    ):  # as Ctrl-C does: the client leaves, and what it asked for is stopped
        signal.signal(number, _leave)
    try:
        with open_client(options) as client:
            yield client
    except MaitredError as error:
        report(error)
    except ValueError as error:  # a malformed endpoint, or a key that cannot be used
        fail(str(error), Exit.USAGE)


def open_client(options: Options) -> Client:
    """A client of the broker that the user means, connected.

    Raises:
        Unavailable: there is none, or it does not answer.
        Unauthenticated: it does not let this user in.
        ValueError: the endpoint is none, or the key cannot be used.
    """
    client = Client(endpoint_of(options), key=options.key, connect_timeout=options.connect_timeout_s)
    try:
        reach.connect(client, options.connect_timeout_s)
    except BaseException:
        client.close()
        raise
    return client
