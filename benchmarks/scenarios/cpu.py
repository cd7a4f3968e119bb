"""What does a request cost each process, in processor time?

One caller, with one outstanding and with many. What the kernel counts for each thread, divided by the requests.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.processor import Used, is_known, used_by
from maitred.benchmarks.results import Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import BASELINE, Progress, Report, payload_of
from maitred.benchmarks.subjects.protocol import Caller, Running, Setup, Subject

__all__ = ["LONG", "Parameters", "run"]

CALLER, BROKER, WORKERS = "caller", "broker", "workers"


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`.

    Attributes:
        outstanding: requests under way, each of these.
        workers: processes that do the task.
        payload_bytes: of each request, and of its answer.
        requests: in a block.
    """

    rounds: int = 5
    outstanding: tuple[int, ...] = (1, 64)
    workers: int = 2
    payload_bytes: int = 128
    requests: int = 1000


LONG: dict[str, Any] = {"rounds": 20, "requests": 5000}


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("cpu", parameters, progress)
    if not is_known():
        for subject in subjects:
            report.skip(
                subject.name, "this kernel does not count processor time by thread (/proc/PID/task/*/schedstat)"
            )
        return report.result()
    payload = payload_of(parameters.payload_bytes)
    warm_up = Load(payload=payload, outstanding=max(parameters.outstanding), seconds=1.0)
    setup = Setup(parameters.transport, parameters.workers)
    with report.started(subjects, setup) as running, report.connected(running, warm_up) as callers:
        for outstanding in parameters.outstanding:
            progress(f"{outstanding} outstanding")
            load = Load(payload=payload, outstanding=outstanding, requests=parameters.requests)
            _measure(report, running, callers, load, parameters)
    return report.result()


def _measure(
    report: Report,
    running: Mapping[str, Running],
    callers: Mapping[str, Caller],
    load: Load,
    parameters: Parameters,
) -> None:
    blocks: dict[str, list[tuple[Flow, dict[str, Used]]]] = {name: [] for name in callers}
    parts = {name: _parts(it.processes) for name, it in running.items()}
    for _ in range(parameters.rounds):
        for name, caller in callers.items():
            blocks[name].append(_block(caller, parts[name], load))
    setting: Setting = {
        "transport": parameters.transport,
        "payload_bytes": parameters.payload_bytes,
        "workers": parameters.workers,
        "outstanding": load.outstanding,
    }
    for name, found in blocks.items():
        report.measured(name, setting, [flow for flow, _ in found]).values.update(_figures(found))
    _compare(report, blocks, setting)


def _parts(processes: Mapping[str, int]) -> dict[str, list[int]]:
    """Process ids by the part they have. A peer whose caller runs in a process of its own calls it "caller"."""
    parts: dict[str, list[int]] = {CALLER: [], BROKER: [], WORKERS: []}
    for role, pid in processes.items():
        part = WORKERS if role.startswith("worker") else CALLER if role == CALLER else BROKER
        parts[part].append(pid)
    parts[CALLER].append(os.getpid())
    return parts


def _block(caller: Caller, parts: Mapping[str, Sequence[int]], load: Load) -> tuple[Flow, dict[str, Used]]:
    pids = sorted({pid for some in parts.values() for pid in some})
    before = used_by(pids)
    flow = caller.drive(load)
    after = used_by(pids)
    return flow, {part: sum((after[pid] - before[pid] for pid in some), Used()) for part, some in parts.items()}


def _figures(blocks: Sequence[tuple[Flow, dict[str, Used]]]) -> dict[str, float]:
    done = sum(len(flow.latency) for flow, _ in blocks) or 1
    figures: dict[str, float] = {}
    total = Used()
    for part in (CALLER, BROKER, WORKERS):
        used = sum((found[part] for _, found in blocks), Used())
        total += used
        figures[f"{part}_us"] = used.own_ns / done / 1000
        figures[f"{part}_zmq_io_us"] = used.io_ns / done / 1000
    figures["all_us"] = (total.own_ns + total.io_ns) / done / 1000
    figures["switches"] = total.switches / done
    return {name: round(value, 2) for name, value in figures.items()}


def _compare(report: Report, blocks: Mapping[str, Sequence[tuple[Flow, dict[str, Used]]]], setting: Setting) -> None:
    """All of a request's processor time against the baseline's, block by block."""
    if BASELINE not in blocks:
        return
    below = [_all_us(block) for block in blocks[BASELINE]]
    for name, found in blocks.items():
        if name != BASELINE:
            report.compare_pairs("cpu", name, BASELINE, setting, list(zip(map(_all_us, found), below, strict=True)))


def _all_us(block: tuple[Flow, dict[str, Used]]) -> float:
    return _figures([block])["all_us"]
