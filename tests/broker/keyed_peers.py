"""Peers that have keys: a bench whose broker knows some principals by name, and nobody else but its own user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_peers import POOL, Bench, details, id128

from maitred.broker.core.effects import Peer, Side
from maitred.broker.core.policy import OPEN, Policy, Principal
from maitred.protocol import messages as m

SECRET = "5" * 64
USER = "user:1000:77"
ANYBODY = "open:127.0.0.1"
POOLS = (("general", "*"), ("neural", "infer_*"))


def key_of(name: str) -> str:
    """A public key that a reader can tell from another."""
    return (name + "." * 40)[:40]


def keyed(name: str, **rights: Any) -> Principal:
    """A principal with a key, as the authorisation file would have him."""
    return Principal(name, keyed=True, **rights)


def policy(*principals: Principal, **more: Any) -> Policy:
    """These, whoever shows the secret, and nothing without a user id."""
    fields: dict[str, Any] = {"secret": SECRET, "unnamed": None, "open": OPEN} | more
    return Policy(keys={key_of(one.name): one for one in principals}, **fields)


ALICE = keyed("alice", call=POOLS)
BOB = keyed("bob", call=(("*", "*"),))
WORK = keyed("work", serve=("general", "neural*"))
AGENCY = keyed("agency", serve=("*",), supervise=True)
RIVAL = keyed("rival", serve=("*",), supervise=True)
ROOT = keyed("root", call=(("*", "*"),), operate=True, read=True)
EVERYBODY = (ALICE, BOB, WORK, AGENCY, RIVAL, ROOT)


class KeyedBench(Bench):
    """A bench on which every peer comes by a user id: a principal's name stands for his key."""

    def __init__(self, *principals: Principal, **changes: Any) -> None:
        super().__init__(policy=policy(*(principals or EVERYBODY)), **changes)

    def connect(self, side: Side, who: str) -> Peer:
        """A connection of a principal's, or of a user id where there is a colon in it, that has said nothing."""
        peer = self.peer(side)
        self.users[peer] = who if ":" in who else f"key:{key_of(who)}"
        return peer

    def hello(self, who: str, n: int = 7, **fields: Any) -> tuple[Peer, list[tuple[Any, Sequence[Any]]]]:
        """Introduce a client; returns it and what it was answered."""
        peer = self.connect(Side.CLIENTS, who)
        return peer, self.say(peer, m.Hello(id128(n), **fields))

    def caller(self, who: str, n: int = 7, **fields: Any) -> Peer:
        """A client that was let in."""
        peer, answers = self.hello(who, n, **fields)
        assert isinstance(answers[0][0], m.Welcome), answers
        return peer

    def register(self, who: str, n: int = 100, pool: str = POOL, **fields: Any) -> tuple[Peer, list[Any]]:
        """Introduce a worker; returns it and what it was answered."""
        peer = self.connect(Side.WORKERS, who)
        known = [m.CommandInfo("echo"), m.CommandInfo("safe", idempotent=True), m.CommandInfo("infer_x")]
        slots = fields.pop("slots", 1)
        return peer, self.say(peer, m.Register(id128(n), id128(n + 1), pool, slots, known, **fields))

    def server(self, who: str = "work", n: int = 100, pool: str = POOL, **fields: Any) -> Peer:
        """A worker that was let in."""
        peer, answers = self.register(who, n, pool, **fields)
        assert isinstance(answers[0][0], m.Welcome), answers
        return peer

    def parent(self, who: str = "agency", n: int = 500, pool: str = POOL, **fields: Any) -> tuple[Peer, list[Any]]:
        """Introduce an agent; returns it and what it was answered."""
        peer = self.connect(Side.WORKERS, who)
        return peer, self.say(peer, m.Agent(id128(n), pool, **fields))

    def call(self, client: Peer, n: int, command: str = "echo", pool: str | None = POOL, **fields: Any) -> list[Any]:
        """Send a request; returns what the client was sent since."""
        size = fields.pop("size", 1)
        return self.say(client, m.Request(n, pool, command, **fields), b"x" * size)

    def answer(self, worker: Peer) -> list[m.Dispatch]:
        """Answer all that a worker was given; returns the orders."""
        orders = self.orders(worker)
        for order in orders:
            self.tell(worker, m.WorkerReply(order.client, order.id, order.attempt), b"r")
        return orders


def refusal(answers: list[Any]) -> tuple[str, str, dict[str, Any]]:
    """Code, sentence and details of the only answer, an ERROR."""
    assert len(answers) == 1, answers
    code, known = details(answers[0])
    return code, answers[0][0].message, known
