"""What does the size of a payload cost, as bytes and as a NumPy array?

One caller, one outstanding: the payload there and back. From about 1 MiB on it is copies, page faults and system calls
that are measured, and the C library's allocator decides over much of it: see `method.allocator`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from maitred.benchmarks.method.allocator import tuned
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.statistics import p50_us
from maitred.benchmarks.results import Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report, payload_of
from maitred.benchmarks.subjects.protocol import Caller, Payload, Setup, Subject

__all__ = ["LONG", "Parameters", "run"]

Kind = Literal["bytes", "array"]

DIRECT = "zmq-direct"
"""What large payloads are compared with besides: how much a broker adds."""

KIB, MIB = 1024, 1024**2

MIN_REQUESTS = 4
"""In a block, of the largest payloads."""


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`.

    Attributes:
        payload_bytes: of a request and of its answer, each of these.
        kinds: "bytes", "array" (NumPy, for subjects that carry arrays).
        workers: processes that do the task.
        requests: calls in a block, while all of them carry less than `block_bytes`.
        block_bytes: of a block, one way.
        malloc: "tuned" has every process keep large blocks of memory, "default" leaves the allocator as it is.
    """

    rounds: int = 7
    payload_bytes: tuple[int, ...] = (128, 64 * KIB, MIB, 16 * MIB)
    kinds: tuple[Kind, ...] = ("bytes", "array")
    workers: int = 1
    requests: int = 100
    block_bytes: int = 64 * MIB
    malloc: Literal["tuned", "default"] = "tuned"


LONG: dict[str, Any] = {
    "rounds": 20,
    "payload_bytes": (128, KIB, 8 * KIB, 32 * KIB, 128 * KIB, 512 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB),
}


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("payload", parameters, progress)
    with tuned(parameters.malloc == "tuned") as is_tuned:
        if parameters.malloc == "tuned" and not is_tuned:
            report.notes.append("The allocator of this system cannot be tuned; every process has it as it is.")
        for kind in parameters.kinds:
            _measure_kind(report, subjects, kind, parameters)
    return report.result()


def _measure_kind(report: Report, subjects: Sequence[Subject], kind: Kind, parameters: Parameters) -> None:
    if kind == "array":
        for name in (subject.name for subject in subjects if not subject.carries_arrays):
            report.notes.append(f"{name} carries no arrays: measured with bytes only.")
        subjects = [subject for subject in subjects if subject.carries_arrays]
    warm_up = Load(payload=_payload(kind, max(parameters.payload_bytes)), requests=MIN_REQUESTS)
    with report.callers(subjects, Setup(parameters.transport, parameters.workers), warm_up) as callers:
        for size in parameters.payload_bytes:
            _measure(report, callers, kind, size, parameters)


def _measure(report: Report, callers: Mapping[str, Caller], kind: Kind, size: int, parameters: Parameters) -> None:
    requests = max(MIN_REQUESTS, min(parameters.requests, parameters.block_bytes // size))
    setting: Setting = {
        "transport": parameters.transport,
        "kind": kind,
        "payload_bytes": size,
        "workers": parameters.workers,
        "malloc": parameters.malloc,
    }
    report.say(f"{requests} calls of {size:,} bytes to each, as {kind}")
    load = Load(payload=_payload(kind, size), requests=requests)
    rounds = report.take_turns(callers, load, setting, lambda flows: {"moved_bytes_per_s": _moved_per_s(flows, size)})
    for baseline in (None, DIRECT):  # a block has too few requests for a p99
        report.compare("p50", rounds, lambda flow: p50_us(flow.latency), setting, baseline=baseline)


def _moved_per_s(flows: Sequence[Flow], size: int) -> float:
    """Bytes of payload in a second, those of requests and of answers."""
    return 2 * size * sum(len(flow.latency) for flow in flows) / sum(flow.took_s for flow in flows)


def _payload(kind: Kind, size: int) -> Payload:
    numpy: Any = importlib.import_module("numpy") if kind == "array" else None
    return payload_of(size) if numpy is None else numpy.frombuffer(payload_of(size), dtype=numpy.uint8)
