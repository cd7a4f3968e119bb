"""A worker that speaks Majordomo's protocol, and the request that it has, as data. Nothing here decides anything."""

from __future__ import annotations

from typing import Any

from maitred.broker.core.effects import Peer
from maitred.broker.core.model import Key, Worker
from maitred.protocol.majordomo import Form


class Given:
    """The request that such a worker has."""

    __slots__ = ("address", "attempt", "failed", "gathered", "key", "parts", "since", "size", "streams")

    def __init__(self, address: bytes, key: Key, attempt: int, streams: bool, now: float) -> None:
        self.address = address
        self.key = key
        self.attempt = attempt
        self.streams = streams  # whether its client takes parts
        self.since = now
        self.parts = 0
        self.gathered: list[Any] = []  # frames of parts for a client that takes none: they go before those of the end
        self.size = 0
        self.failed = ""


class Hand:
    """One such worker. `worker` is None until it has been registered."""

    __slots__ = ("form", "given", "heard_at", "leaving", "peer", "worker")

    def __init__(self, peer: Peer, form: Form, now: float) -> None:
        self.peer = peer
        self.form = form
        self.worker: Worker | None = None
        self.given: Given | None = None
        self.heard_at = now
        self.leaving = False  # it gets DISCONNECT once it holds nothing
