"""Metrics of the broker's own process, and of what comes to it from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from maitred.broker.metrics_families import COUNTER, GAUGE, HISTOGRAM, INFO, Family, Read, Sample, Snapshot

__all__ = ["BUILD_LABELS", "PROCESS"]

BUILD_LABELS = ("version", "python", "trio", "zmq")
"""What `maitred_build_info` tells."""


def _one(get: Callable[[Snapshot], float]) -> Read:
    """One sample without a label."""
    return lambda snapshot: (((), get(snapshot)),)


def _observed(what: str) -> Read:
    """A number that the shell has told the core; none until it has."""

    def read(snapshot: Snapshot) -> Iterable[Sample]:
        value = snapshot.state.observed.get(what)
        return () if value is None else (((), value),)

    return read


def _events(snapshot: Snapshot) -> Iterator[Sample]:
    for event, count in snapshot.outside.events.items():
        yield (event,), count


def _some(**events: str) -> Read:
    """Counts of a few events, each by another word: 0 where it has not been yet, so that its first time is a rise."""

    def read(snapshot: Snapshot) -> Iterator[Sample]:
        for word, event in events.items():
            yield (word,), snapshot.outside.events.get(event, 0)

    return read


def _lag(snapshot: Snapshot) -> Iterable[Sample]:
    lag = snapshot.outside.lag
    return () if lag is None else (((), lag),)


def _refused(snapshot: Snapshot) -> Iterator[Sample]:
    for reason in ("max_connections", "max_connections_per_address", "descriptors"):
        yield (reason,), snapshot.outside.refused.get(reason, 0)


def _build(snapshot: Snapshot) -> Iterable[Sample]:
    build = snapshot.outside.build
    return ((tuple(build.get(name, "") for name in BUILD_LABELS), 1.0),)


PROCESS = (
    Family("maitred_build_info", INFO, "What runs: versions, in its labels.", BUILD_LABELS, _build),
    Family(
        "maitred_uptime_seconds", GAUGE, "Since the broker started.",
        (), _one(lambda it: it.now - it.state.started_at), "seconds",
    ),
    Family(
        "maitred_cpu_seconds_total", COUNTER, "Processor time of the broker's process, all its threads.",
        (), _one(lambda _: time.process_time()), "seconds",
    ),
    Family(
        "maitred_loop_lag_seconds", HISTOGRAM,
        "By how much the broker's timer was late each time it was due: what everything else waits, too, while the loop "
        "is busy.",
        (), _lag, "seconds",
    ),
    Family("maitred_draining", GAUGE, "1 while the broker shuts down; else 0.", (), _one(lambda it: it.state.draining)),
    Family(
        "maitred_requests_accepted_total", COUNTER, "Requests that were accepted, by all pools.",
        (), _one(lambda it: it.state.admitted),
    ),
    Family(
        "maitred_requests_unanswered", GAUGE, "Requests that were accepted and are not answered yet, of all pools.",
        (), _one(lambda it: len(it.state.requests)),
    ),
    Family(
        "maitred_arguments_bytes", GAUGE, "Arguments of these.", (), _one(lambda it: it.state.size), "bytes",
    ),
    Family(
        "maitred_arguments_limit_bytes", GAUGE, "Bound of these, for all pools together.",
        (), _one(lambda it: it.state.settings.max_queued_bytes), "bytes",
    ),
    Family(
        "maitred_clients", GAUGE, "Connections of clients that have introduced themselves.",
        (), _one(lambda it: it.state.clients),
    ),
    Family("maitred_connections", GAUGE, "Connections that are open, on all sides.", (), _observed("connections")),
    Family(
        "maitred_connections_refused_total", COUNTER, "Connections that were refused or cut off, by the bound.",
        ("reason",), _refused,
    ),
    Family("maitred_descriptors", GAUGE, "File descriptors that are open.", (), _observed("descriptors")),
    Family("maitred_descriptors_limit", GAUGE, "Bound of these.", (), _observed("descriptors_limit")),
    Family("maitred_memory_bytes", GAUGE, "Memory of the broker's process.", (), _observed("memory"), "bytes"),
    Family("maitred_memory_limit_bytes", GAUGE, "Bound of it (`memory_limit`).", (), _observed("memory_limit"), "bytes"),
    Family(
        "maitred_memory_scarce", GAUGE, "1 while nothing new is taken on, as memory is near its bound; else 0.",
        (), _one(lambda it: it.state.squeezed),
    ),
    Family(
        "maitred_protocol_errors_total", COUNTER,
        "Messages that could not be read (`unreadable`), or that said what their sender may not say (`refused`).",
        ("reason",), _some(unreadable="protocol.error", refused="protocol.refused"),
    ),
    Family(
        "maitred_auth_failures_total", COUNTER,
        "Who was kept out (`refused`: a key or secret that is not known), may not do that (`denied`), or may not operate "
        "the broker (`operator`).",
        ("reason",), _some(refused="auth.refused", denied="auth.denied", operator="operator.refused"),
    ),
    Family(
        "maitred_peer_overflows_total", COUNTER, "Peers that were given up as they read too slowly.",
        (), _one(lambda it: it.outside.events.get("peer.overflow", 0)),
    ),
    Family(
        "maitred_fd_rescues_total", COUNTER,
        "Messages that were found waiting though nothing would have woken the broker. More than 0 is a bug.",
        (), _one(lambda it: it.outside.rescues()),
    ),
    Family("maitred_events_total", COUNTER, "Events of the log, those that were left out of it included.",
           ("event",), _events),
)  # fmt: skip
"""Of the broker."""
