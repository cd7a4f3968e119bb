"""Every event of the broker: its name, what it says, and its fields. `docs/events.md` is written from here.

Names are `subject.what_happened`, and stay. Fields may be added; none carries a secret, or what a request says.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["EVENTS", "FLOODS", "WARNINGS", "Event"]


class Event(NamedTuple):
    """One kind of event.

    Attributes:
        meaning: a sentence.
        fields: by name: a type ("?": may be null), and what it says, with its unit.
        warning: whether somebody should look.
        flood: whether its number is a peer's to decide: of these a line a second is logged, with how many were left out.
    """

    meaning: str
    fields: dict[str, str]
    warning: bool = False
    flood: bool = False


_POOL = {"pool": "str"}
_WORKER = {"pool": "str", "worker": "str its id"}
_DEATH = _WORKER | {
    "cause": "str as in its certificate",
    "signal": "str?",
    "exit_code": "int?",
    "means": "str how it was found out: agent, connection or silence",
    "note": "str? why it was to go",
}
_SESSION = {"pool": "str", "session": "str", "worker": "str its owner", "epoch": "int how often it has had an owner"}
_ENDED = {"session": "str", "served": "int requests"}
_WHO = {"principal": "str? whose key it is"}
_OPERATED = {"target": "str", "software": "str of whoever asked", "principal": "str"}

EVENTS: Final[dict[str, Event]] = {
    # --- the broker ---
    "broker.stopping": Event("A signal tells it to end: it drains.", {"signal": "str"}),
    "broker.draining": Event("It refuses what is new, and finishes what it has.", {"requests": "int unanswered"}),
    "broker.stopped": Event(
        "It has ended.",
        {
            "forced": "bool whether by a second signal, with requests unanswered",
            "protocol_error": "int of its life",
            "protocol_refused": "int of its life",
        },
    ),
    "broker.crashed": Event(
        "An error of its own ended it.",
        {"inputs": "int headers that were kept", "written_to": "str a file"},
        warning=True,
    ),
    "broker.stalled": Event("Its process stood still.", {"late_s": "num seconds"}, warning=True),
    "http.failed": Event("HTTP ended by an error of its own; the routing goes on.", {}, warning=True),
    "memory.high": Event(
        "The process comes near its memory limit, or is far from it again.",
        {"memory": "int bytes", "limit": "int bytes", "over": "bool"},
        warning=True,
    ),
    "descriptors.high": Event(
        "Open descriptors come near the limit, or are far from it again.",
        {"open": "int", "limit": "int", "over": "bool"},
        warning=True,
    ),
    "endpoint.reopened": Event(
        "An endpoint was closed with all its connections, and opened again.",
        {"side": "str", "endpoint": "str"},
        warning=True,
    ),
    "endpoint.lost": Event(
        "Somebody else has taken an endpoint meanwhile; it is tried again.",
        {"side": "str", "endpoint": "str", "error": "str"},
        warning=True,
    ),
    "connection.cut": Event(
        "A connection was ended as it sent without end.",
        {"address": "str", "bytes": "int received since its last whole message", "memory": "int bytes of the process"},
        warning=True,
        flood=True,
    ),
    "connections.refused": Event(
        "There was no room for a connection.", {"address": "str", "reason": "str", "open": "int"}, warning=True
    ),
    "peer.overflow": Event(
        "A peer reads too slowly for what it is sent, and is given up.", {"side": "str"}, warning=True
    ),
    "protocol.error": Event(
        "A message was broken or out of place.", {"side": "str", "reason": "str"}, warning=True, flood=True
    ),
    "protocol.refused": Event(
        "A message was well-formed, and is not obeyed.", {"reason": "str"}, warning=True, flood=True
    ),
    # --- who may ---
    "auth.refused": Event(
        "Somebody who is not known was turned away.",
        {
            "side": "str",
            "user": "str who, as the handshake says",
            "reason": "str",
            "key": "str",
            "address": "str",
            "mechanism": "str",
        },
        warning=True,
        flood=True,
    ),
    "auth.denied": Event(
        "Somebody wanted what he may not do.",
        {"principal": "str", "right": "str that is missing", "pool": "str", "side": "str"},
        warning=True,
        flood=True,
    ),
    "auth.reloaded": Event(
        "Another policy is in force.",
        {
            "principals": "int that may do something",
            "clients": "int sent away",
            "workers": "int sent away",
            "agents": "int sent away",
            "sessions": "int closed",
            "requests": "int cancelled",
        },
    ),
    "keys.none": Event("There are keys, and nobody's is known.", {"file": "str", "hint": "str"}, warning=True),
    "keys.reloaded": Event(
        "The file of authorisations was read again.",
        {"keys": "int", "added": "strs names", "removed": "strs", "changed": "strs"},
    ),
    "keys.unchanged": Event(
        "It was to be read again, and cannot be: the old ones stay.", {"problem": "str"}, warning=True
    ),
    # --- pools ---
    "pool.health": Event(
        "How a pool is, at each of its health intervals.",
        {
            "pool": "str",
            "available": "int",
            "busy": "int",
            "total": "int",
            "queued": "int",
            "utilisation": "num share of its workers' time that was busy, 0 to 1",
        },
    ),
    "pool.pressure": Event("A pool is fuller or emptier than before.", _POOL | {"level": "str", "queued": "int"}),
    "pool.saturated": Event(
        "A request was refused for want of room.",
        _POOL | {"reason": "str which bound was reached", "queued": "int"},
        warning=True,
        flood=True,
    ),
    "pool.degraded": Event(
        "Its workers cannot be started; empty reason: no longer.", _POOL | {"reason": "str"}, warning=True
    ),
    "pool.stalled": Event("Requests wait, and none is answered.", _POOL | {"reason": "str"}, warning=True),
    "pool.recovered": Event("A pool that had stalled answers again.", _POOL),
    "pool.resized": Event(
        "It keeps another number of workers.",
        _POOL | {"size": "int", "before": "int", "why": "str queue, idle or operator"},
    ),
    "pool.sessions": Event("Open sessions come near the limit.", _POOL | {"open": "int", "limit": "int"}),
    # --- agents and workers ---
    "agent.started": Event("An agent has come.", _POOL | {"host": "str", "pid": "int"}),
    "agent.lost": Event("An agent is gone.", _POOL | {"host": "str"}, warning=True),
    "worker.started": Event("A worker is ready.", _WORKER | {"pid": "int", "host": "str"}),
    "worker.reconnected": Event("A worker has come back over another connection.", _WORKER),
    "worker.suspect": Event(
        "Nothing is heard of a worker, or it does not stop what it was told to.",
        _WORKER | {"reason": "str"},
        warning=True,
    ),
    "worker.recovered": Event("A worker that was suspect is well again.", _WORKER),
    "worker.unhealthy": Event(
        "A worker's health check failed: it is replaced.", _WORKER | {"problem": "str"}, warning=True
    ),
    "worker.stuck": Event("What was told to stop goes on, and its worker may not be killed for it.", _WORKER),
    "worker.killing": Event("A worker is killed, as what it runs does not stop.", _WORKER | {"cause": "str"}),
    "worker.retiring": Event("A worker is given nothing new.", _WORKER | {"cause": "str", "note": "str?"}),
    "worker.dismissed": Event("It is told to end.", _WORKER | {"cause": "str", "why": "str"}),
    "worker.left": Event("It has said goodbye.", _WORKER | {"cause": "str"}),
    "worker.died": Event("A worker that was wanted is dead.", _DEATH, warning=True),
    "worker.ended": Event("A worker that had left is dead.", _DEATH),
    # --- clients and requests ---
    "client.lost": Event("A client is gone.", {"client": "str", "requests": "int that it left", "why": "str"}),
    "client.limited": Event(
        "A client is at a limit of its own.",
        {"pool": "str", "reason": "str which", "queued": "int"} | _WHO,
        warning=True,
        flood=True,
    ),
    "request.cancelled": Event(
        "A request was stopped.", _POOL | {"outcome": "str what was done to the work"}, flood=True
    ),
    "request.expired": Event(
        "Its time was over.", _POOL | {"where": "str queued or running"}, warning=True, flood=True
    ),
    "request.returned": Event("A worker has given it back, before it began.", _WORKER),
    "request.duplicate": Event("It was said twice.", {"request": "int"}, warning=True, flood=True),
    "request.quarantine": Event(
        "It has killed so many workers in a row that it is not run again.",
        _POOL | {"command": "str", "fingerprint": "str", "deaths": "int"},
        warning=True,
    ),
    "request.quarantined": Event("One such was refused.", _POOL | {"fingerprint": "str"}, warning=True, flood=True),
    "reply.unexpected": Event(
        "A worker answered what it was not asked.", {"worker": "str", "request": "str"}, warning=True, flood=True
    ),
    # --- sessions ---
    "session.opened": Event("A session has its first owner.", _SESSION),
    "session.moved": Event("It has another owner.", _SESSION),
    "session.resumed": Event(
        "Its owner has come back to a broker that is new.", {"pool": "str", "session": "str", "worker": "str"}
    ),
    "session.lost": Event("Its owner is dead, and nobody has its state.", _POOL | {"session": "str", "reason": "str"}),
    "session.closed": Event("It was closed.", _ENDED),
    "session.expired": Event("Nobody has used it for its time to live.", _ENDED),
    "session.snapshot_too_large": Event(
        "A snapshot is larger than is kept.", {"session": "str", "size": "int bytes", "limit": "int bytes"}
    ),
    # --- operators ---
    **{
        f"operator.{verb}": Event(f"An operator has done it: {verb}.", _OPERATED)
        for verb in ("cancel", "release", "scale", "pause", "resume", "drain", "recycle", "retire", "reload")
    },
    "operator.refused": Event(
        "Somebody who is no operator wanted to act.",
        {"verb": "str", "principal": "str", "software": "str"},
        warning=True,
        flood=True,
    ),
}

WARNINGS: Final = frozenset(name for name, it in EVENTS.items() if it.warning)
FLOODS: Final = frozenset(name for name, it in EVENTS.items() if it.flood)
