"""The sockets of a broker, opened in the one order that leaves none of them open to whom it must not be.

1. the handler of handshakes     or whoever connects meanwhile would be asked nothing
2. `ipc://`                      without keys: the kernel says who comes
3. the key                       libzmq copies the options of a socket when it is bound
4. `tcp://`                      with keys, where there are any
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import zmq

from maitred.broker.core.effects import Side
from maitred.broker.doors import domain_of
from maitred.broker.settings import BrokerSettings
from maitred.broker.upkeep import SideDoor
from maitred.config.key_file import KeyFile
from maitred.config.rundir import RunDir
from maitred.transport.connections import Connections
from maitred.transport.sockets import bind, router, secure, unsecure
from maitred.transport.zap import bind_zap

__all__ = ["Ports", "open_ports"]

Socket = zmq.Socket[bytes]


@dataclass(frozen=True)
class Ports:
    """What is bound.

    Attributes:
        zap: the handler's.
        sockets: by side; there may be none for Majordomo's protocol.
        endpoints: by side, as bound: that of the run directory first.
        doors: the same, with who is connected: watched from before the first could come.
        key: what the `tcp://` ones ask for, if anything.
    """

    zap: Socket
    sockets: dict[Side, Socket]
    endpoints: dict[Side, list[str]]
    doors: list[SideDoor]
    key: KeyFile | None

    @property
    def keyed(self) -> bool:
        """Whether the `tcp://` endpoints ask for keys."""
        return self.key is not None

    def prepare(self, socket: Socket, endpoint: str) -> None:
        """Set a socket's options to what its first `bind` to this endpoint found, for another one."""
        if self.key is not None and not endpoint.startswith("ipc://"):
            secure(socket, self.key)
        else:
            unsecure(socket)


def open_ports(context: zmq.Context[Socket], settings: BrokerSettings, run_dir: RunDir, key: KeyFile | None) -> Ports:
    """Bind all that clients, workers and peers of Majordomo's protocol connect to; `context.destroy` closes it.

    Raises:
        BindError: an endpoint cannot be listened at.
    """
    zap = bind_zap(context)
    wanted = {Side.CLIENTS: settings.clients, Side.WORKERS: settings.workers, Side.MAJORDOMO: settings.majordomo}
    sockets = {side: _router(context, settings, side) for side, endpoint in wanted.items() if endpoint}
    watched = {side: Connections[Any](socket) for side, socket in sockets.items()}
    endpoints: dict[Side, list[str]] = {side: [] for side in sockets}
    for side, endpoint in ((Side.CLIENTS, run_dir.clients_ipc), (Side.WORKERS, run_dir.workers_ipc)):
        endpoints[side].append(bind(sockets[side], endpoint, holds_lock=True))
    for side, socket in sockets.items():
        endpoint = wanted[side]
        if key is not None and not endpoint.startswith("ipc://"):
            secure(socket, key)
        endpoints[side].append(bind(socket, endpoint))
    doors = [SideDoor(domain_of(side), sockets[side], watched[side], endpoints[side]) for side in sockets]
    return Ports(zap, sockets, endpoints, doors, key)


def _router(context: zmq.Context[Socket], settings: BrokerSettings, side: Side) -> Socket:
    return router(
        context,
        zap_domain=domain_of(side),
        hwm=settings.high_water_mark,
        max_frame_bytes=settings.max_message_bytes,
    )
