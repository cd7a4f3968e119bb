"""The scenario `memory`, its first half: by how much a process grows with connections, idle and used."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

import psutil
from msgspec import Struct

from maitred.benchmarks.method.resident import resident_bytes
from maitred.benchmarks.method.statistics import compare
from maitred.benchmarks.results import Measurement, Setting
from maitred.benchmarks.scenarios.common import Report
from maitred.benchmarks.subjects.connections import Connections

__all__ = ["Grown", "grow", "record_connections"]

WARM_CONNECTIONS = 20
"""Open before growth counts, so that what a process needs once is not divided among connections."""

CLOSE_TIMEOUT_S = 5.0
"""Within this the other end has closed its side of the connections."""

POLL_S = 0.01


class Grown(Struct, frozen=True):
    """What one process had with so many connections. Bytes, and all but `rss` of one connection.

    Attributes:
        connections: how many.
        rss: of the whole process.
        idle: of a connection that was greeted and said nothing since.
        used: of one that has exchanged messages; with the last number of connections only.
        kept: when all are closed again; with the last number only.
    """

    connections: int
    rss: int
    idle: float
    used: float | None = None
    kept: float | None = None


def grow(pid: int, endpoint: str, counts: Sequence[int], exchanges: int, *, greets: bool) -> list[Grown]:
    """Look at one process from its first connection to the last, and after.

    Args:
        pid: whose memory.
        endpoint: where it listens.
        counts: connections, ascending; the first of these many exchange messages at the end.
        exchanges: messages each way.
        greets: as `Connections`.

    Raises:
        StartError: a connection was not answered.
    """
    process = psutil.Process(pid)
    descriptors = _descriptors(process)
    connections = Connections(endpoint, WARM_CONNECTIONS + counts[-1], greets=greets)
    try:
        connections.open_up_to(WARM_CONNECTIONS)
        base = resident_bytes(pid)
        found: list[Grown] = []
        for count in counts:
            connections.open_up_to(WARM_CONNECTIONS + count)
            rss = resident_bytes(pid)
            found.append(Grown(count, rss, (rss - base) / count))
        connections.exchange(counts[0], exchanges)
        last = found.pop()
        used = last.idle + (resident_bytes(pid) - last.rss) / counts[0]
    finally:
        connections.close()
    _await_closed(process, descriptors)
    kept = (resident_bytes(pid) - base) / last.connections
    return [*found, Grown(last.connections, last.rss, last.idle, used, kept)]


def record_connections(
    report: Report, grown: Mapping[str, Sequence[Sequence[Grown]]], ours: str, floor: str, setting: Setting
) -> None:
    """Put into the report what came of all rounds.

    Args:
        report: takes it.
        grown: by subject, for each round, what `grow` found.
        ours: the subject that is compared.
        floor: the one it is compared with.
        setting: beside the number of connections.
    """
    for place, first in enumerate(grown[ours][0]):
        here: Setting = {**setting, "connections": first.connections}
        rows = {name: [rounds[place] for rounds in all_rounds] for name, all_rounds in grown.items()}
        for name, of_name in rows.items():
            report.measurements.append(Measurement(subject=name, setting=here, values=_values(of_name)))
        pairs = [(above.idle, below.idle) for above, below in zip(rows[ours], rows[floor], strict=True)]
        found = compare("idle connection", ours, floor, here, pairs)
        report.comparisons += [] if found is None else [found]


def _values(rows: Sequence[Grown]) -> dict[str, float]:
    """The medians of all rounds."""
    used = [row.used for row in rows if row.used is not None]
    kept = [row.kept for row in rows if row.kept is not None]
    return {
        "rss_bytes": statistics.median(row.rss for row in rows),
        "idle_connection_bytes": statistics.median(row.idle for row in rows),
        **({"used_connection_bytes": statistics.median(used)} if used else {}),
        **({"kept_of_each_bytes": statistics.median(kept)} if kept else {}),
    }


def _await_closed(process: psutil.Process, descriptors: int) -> None:
    until = time.monotonic() + CLOSE_TIMEOUT_S
    while _descriptors(process) > descriptors and time.monotonic() < until:
        time.sleep(POLL_S)


def _descriptors(process: psutil.Process) -> int:
    return process.num_fds()
