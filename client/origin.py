"""Who a client is to its broker: one random id for all its connections, and the numbers of its requests."""

from __future__ import annotations

import itertools
import os
import platform

from maitred.client.throttling import Throttling
from maitred.config.credentials import Showing, find_key
from maitred.config.key_file import KeyFile
from maitred.protocol import limits
from maitred.protocol.client import ClientConnection
from maitred.protocol.showing import show_nothing
from maitred.transport import clock

SOFTWARE = "maitred-python"


class Origin:
    """One client in one process. A forked child makes another: (client id, request id) never means two requests.

    Args:
        name: what the application calls itself, or nothing.
        throttle: K of its throttling; None: it does not throttle itself.
        key_file: of the key that it shows; None: $MAITRED_KEY, where there is one.

    Attributes:
        pid: the process it belongs to.
        numbers: the ids of its requests; `next` of it is safe from any thread.
        throttling: its restraint, if it has any.

    Raises:
        ValueError: the name or the throttle is none.
    """

    def __init__(
        self, name: str = "", throttle: float | None = None, key_file: str | os.PathLike[str] | None = None
    ) -> None:
        if not isinstance(name, str) or len(name) > limits.MAX_NAME_CHARS:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"name is {name!r}; accepted: a str of at most {limits.MAX_NAME_CHARS} characters")
        self.pid = os.getpid()
        self.numbers = itertools.count(1)
        self.throttling = None if throttle is None else Throttling(throttle)
        self._name = name
        self._key_file = key_file
        self._id = os.urandom(16)
        self._clock = clock.name()

    def key(self, endpoint: str) -> KeyFile | None:
        """The key that one more connection shows.

        Raises:
            KeyFileError: the key cannot be used.
        """
        return find_key(endpoint, self._key_file)

    def connection(self, endpoint: str, key: KeyFile | None) -> ClientConnection:
        """The protocol's half for one more connection. The secret goes over TCP alone: `ipc://` needs none."""
        show = show_nothing if key is not None or endpoint.startswith("ipc://") else Showing(endpoint)
        who = {"software": SOFTWARE, "host": platform.node(), "name": self._name, "clock": self._clock}
        return ClientConnection(self._id, endpoint, pid=self.pid, bundles=True, show=show, **who)
