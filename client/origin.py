"""Who a client is to its broker: one random id for all its connections, and the numbers of its requests."""

from __future__ import annotations

import itertools
import os
import platform

from maitred.protocol.client import ClientConnection

SOFTWARE = "maitred-python"


class Origin:
    """One client in one process. A forked child makes another: (client id, request id) never means two requests.

    Attributes:
        pid: the process it belongs to.
        numbers: the ids of its requests; `next` of it is safe from any thread.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.numbers = itertools.count(1)
        self._id = os.urandom(16)

    def connection(self, endpoint: str) -> ClientConnection:
        """The protocol's half for one more connection."""
        return ClientConnection(self._id, endpoint, software=SOFTWARE, host=platform.node(), pid=self.pid)
