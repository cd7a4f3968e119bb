"""The configuration as a whole: its tables, each in a file of its own, and the limits of their names."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from msgspec import Struct

from maitred.config.broker_config import BrokerConfig
from maitred.config.client_config import ClientConfig
from maitred.config.key import Key, keys_of
from maitred.config.kinds import Size
from maitred.config.pool_config import PoolConfig

__all__ = ["BrokerConfig", "ClientConfig", "Config", "Key", "PoolConfig", "Size", "keys_of", "route"]

POOL_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"
"""Names of pools are arguments of commands and labels of metrics."""

POOL_NAME_FORM = "a name of at most 128 letters, digits and _ . -, which does not begin with . or -"

MAX_POOLS = 256
"""Each has an agent, a fork server and a queue: past some dozens they belong to several brokers."""

MAX_ROUTES = 1024
"""They are tried in order for each request that names no pool."""

MAX_PATTERN_CHARS = 128
"""As long as a command's name may be."""

MAX_CLIENTS = 1024
"""Names of clients: the first match is looked for when a client introduces itself."""


class Config(Struct, frozen=True):
    """A whole configuration, checked and resolved on this host.

    Attributes:
        broker: the broker.
        pools: by name, in the order written.
        routing: pattern of a command's name → pool; the first match wins.
        clients: pattern of a client's name → what it is given; the first match wins.
        source: the file it was read from; None: the built-in one.
        origins: where each key that was set was set, by its path (`pools.general.size`): file and line, environment
            variable, or option.
    """

    broker: BrokerConfig
    pools: dict[str, PoolConfig]
    routing: dict[str, str]
    clients: dict[str, ClientConfig] = {}
    source: Path | None = None
    origins: Mapping[str, str] = {}

    def route(self, command: str) -> str | None:
        """The pool for a command whose caller names none; None where no pattern matches."""
        return route(self, command)


def route(config: Config, command: str) -> str | None:
    """The pool of the first pattern that matches a command's name, case and all; None where none does."""
    return next((pool for pattern, pool in config.routing.items() if fnmatchcase(command, pattern)), None)
