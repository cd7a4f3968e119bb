"""How soon is the first part of a streamed answer there, how many follow in a second, and does a slow reader hold it back?

One caller, one stream at a time. A slow reader rests after each part; how old a part is when it is read tells how far
ahead the worker ran, and so how much lies in between: maitred's worker waits after 64 parts, plain ZeroMQ's never does.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, cast

from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.recorder import Durations, merged
from maitred.benchmarks.method.statistics import p50_us, p99_us
from maitred.benchmarks.method.streams import StreamFlow, StreamLoad
from maitred.benchmarks.results import Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report
from maitred.benchmarks.subjects.protocol import Setup, Streaming, Subject, has_streams

__all__ = ["LONG", "OURS", "Parameters", "run"]

OURS = "maitred,maitred-async"

MAX_STREAMS = 20
"""In a block, however short they are."""


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`.

    Attributes:
        parts: of a stream, each of these.
        part_bytes: of a part, each of these.
        workers: processes that do the task.
        block_parts: of all streams of a block together; one stream at least.
        slow_parts: of the stream with a slow reader, whose parts are of the first size; 0 leaves it out.
        pause_s: that the slow reader rests after each part.
    """

    rounds: int = 6
    parts: tuple[int, ...] = (10, 1000)
    part_bytes: tuple[int, ...] = (128, 65536)
    workers: int = 1
    block_parts: int = 2000
    slow_parts: int = 200
    pause_s: float = 0.001


LONG: dict[str, Any] = {
    "rounds": 15,
    "parts": (1, 10, 100, 1000, 10000),
    "part_bytes": (128, 4096, 65536, 1048576),
    "block_parts": 10000,
    "slow_parts": 1000,
}


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("stream", parameters, progress)
    for subject in subjects:
        if not has_streams(subject):
            report.skip(subject.name, "it has no streamed answers, or none that this suite asks for")
    able = [subject for subject in subjects if has_streams(subject)]
    with report.callers(able, Setup(parameters.transport, parameters.workers), Load(seconds=1.0)) as callers:
        streaming = {name: cast("Streaming", caller) for name, caller in callers.items()}
        for load in _loads(parameters):
            _measure(report, streaming, load, parameters)
    return report.result()


def _loads(parameters: Parameters) -> list[StreamLoad]:
    loads = [
        StreamLoad(
            parts=parts, part_bytes=part_bytes, streams=max(1, min(MAX_STREAMS, parameters.block_parts // parts))
        )
        for part_bytes, parts in itertools.product(parameters.part_bytes, parameters.parts)
    ]
    if parameters.slow_parts:
        slow = StreamLoad(parts=parameters.slow_parts, part_bytes=parameters.part_bytes[0], pause_s=parameters.pause_s)
        loads.append(slow)
    return loads


def _measure(report: Report, callers: Mapping[str, Streaming], load: StreamLoad, parameters: Parameters) -> None:
    setting: Setting = {
        "transport": parameters.transport,
        "workers": parameters.workers,
        "parts": load.parts,
        "part_bytes": load.part_bytes,
        "pause_s": load.pause_s,
    }
    report.say(f"{load.streams} streams of {load.parts:,} parts of {load.part_bytes:,} bytes from each")
    for caller in callers.values():
        caller.drive_streams(load)  # the warm-up: as much as a block
    blocks = {name: functools.partial(caller.drive_streams, load) for name, caller in callers.items()}
    rounds = report.take_turns_at(blocks, setting, _values)
    if load.pause_s:
        report.compare("part age", rounds, lambda flow: p50_us(_streams(flow).age), setting)
    else:
        report.compare("first part", rounds, lambda flow: p50_us(_streams(flow).first), setting)
        report.compare("part rate", rounds, _parts_per_s, setting)


def _values(flows: Sequence[Flow]) -> dict[str, float]:
    first, age = _all(flows, "first"), _all(flows, "age")
    return {
        "first_part_us": p50_us(first),
        "first_part_p99_us": p99_us(first),
        "parts_per_s": len(age) / sum(flow.took_s for flow in flows),
        "part_age_us": p50_us(age),
    }


def _all(flows: Sequence[Flow], what: str) -> Durations:
    return merged(getattr(flow, what) for flow in flows)


def _parts_per_s(flow: Flow) -> float:
    return len(_streams(flow).age) / flow.took_s


def _streams(flow: Flow) -> StreamFlow:
    assert isinstance(flow, StreamFlow)
    return flow
