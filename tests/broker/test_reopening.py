"""An endpoint that is opened anew, and that somebody else has taken meanwhile: it is tried until it is free again."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import zmq

from maitred.broker.settings import BrokerSettings
from maitred.broker.upkeep import make_watch
from maitred.transport import sockets
from maitred.transport.connections import Connections
from maitred.transport.endpoints import bind


async def test_it_is_tried_again_and_each_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maitred.broker.reopening.TAKEN_PAUSE_S", 0.01)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = sockets.router(context, zap_domain="clients", handled=False, linger_ms=0)
    connections: Connections[Any] = Connections(router)
    endpoint = bind(router, "tcp://127.0.0.1:0")
    told: list[tuple[str, dict[str, Any]]] = []
    others: list[socket.socket] = []

    def somebody_else(_socket: Any, where: str) -> None:
        if len(others) < 2:  # before the first two tries
            for other in others:
                other.close()
            others.append(socket.create_server(("127.0.0.1", int(where.rpartition(":")[2]))))
        else:
            others[-1].close()

    def witness(event: str, _now: float, **fields: Any) -> list[Any]:
        told.append((event, fields))
        return []

    side = SimpleNamespace(name="clients", socket=router, connections=connections, endpoints=[endpoint])
    shell = SimpleNamespace(
        core=SimpleNamespace(witness=witness), perform=lambda _: None, held_bytes=lambda: 0, on_whole=None
    )
    try:
        watch = make_watch(BrokerSettings(endpoint, endpoint, [], []), shell, [side], SimpleNamespace(), somebody_else)  # type: ignore[arg-type]
        with trio.fail_after(10):
            await watch.reopen("clients", endpoint)
        assert [event for event, _ in told] == ["endpoint.lost"] * 2
        assert told[0][1].keys() == {"side", "endpoint", "error"}
        peer = context.socket(zmq.DEALER)
        peer.linger = 0
        peer.connect(endpoint)
        peer.send(b"here again")
        assert router.poll(5000)
        peer.close()
    finally:
        connections.close()
        context.destroy(linger=0)
