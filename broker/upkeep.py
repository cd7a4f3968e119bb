"""Puts together what looks after the process of a broker: connections, the room for more, and the watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import zmq

from maitred.broker.memory import limit_of
from maitred.broker.reopening import reopen
from maitred.broker.room import Room
from maitred.broker.settings import BrokerSettings
from maitred.broker.shell import Shell
from maitred.broker.watch import Watch
from maitred.transport.connections import Connections
from maitred.transport.errors import BindError

__all__ = ["SideDoor", "make_room", "make_watch"]


class SideDoor(NamedTuple):
    """One ROUTER, and who is connected to it. To be made before it is bound.

    `endpoints`: as bound; those for other hosts are the first to be opened anew where memory runs out.
    """

    name: str
    socket: zmq.Socket[bytes]
    connections: Connections[Any]
    endpoints: list[str]


def make_room(settings: BrokerSettings, sides: Sequence[SideDoor]) -> Room:
    """What is asked at each handshake."""
    return Room(
        [side.connections for side in sides], settings.max_connections, settings.max_connections_per_address
    )  # fmt: skip


def make_watch(
    settings: BrokerSettings,
    shell: Shell,
    sides: Sequence[SideDoor],
    room: Room,
    prepare: Callable[[zmq.Socket[bytes], str], object],
) -> Watch:
    """What looks after memory, descriptors and connections while a shell runs.

    Args:
        settings: the broker's.
        shell: that serves the sockets.
        sides: these.
        room: of them.
        prepare: called with a socket and an endpoint before that is bound again; sets the options that its first `bind`
            found.
    """
    by_name = {side.name: side for side in sides}
    endpoints = [(side.name, endpoint) for side in sides for endpoint in side.endpoints]
    endpoints.sort(key=lambda one: not one[1].startswith("tcp://"))

    async def open_anew(name: str, endpoint: str) -> None:
        door = by_name[name]

        def tell_of(error: BindError) -> None:
            watch.tell("endpoint.lost", {"side": name, "endpoint": endpoint, "error": str(error)})

        await reopen(door.socket, door.connections, endpoint, partial(prepare, door.socket), tell_of)

    def when_scarce(whole: Callable[[int], object] | None) -> None:
        shell.on_whole = whole

    watch = Watch(
        shell.core,
        shell.perform,
        [side.connections for side in sides],
        room,
        limit_of(settings.memory_limit_bytes),
        shell.held_bytes,
        when_scarce,
        endpoints,
        open_anew,
    )
    room.tell = watch.tell
    return watch
