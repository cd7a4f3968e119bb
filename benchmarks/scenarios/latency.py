"""How long does one call take when nothing else goes on?

One caller, one outstanding, the next is sent when the answer is there.

What it shows is the path itself: wake-ups of processes and the work of each. It says nothing of a loaded system (`rate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maitred.benchmarks.method.load import Load
from maitred.benchmarks.results import Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report, payload_of
from maitred.benchmarks.subjects.protocol import Setup, Subject
from maitred.benchmarks.subjects.registry import FLOOR

__all__ = ["LONG", "Parameters", "run"]


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`.

    Attributes:
        workers: processes that do the task.
        payload_bytes: of each request, and of its answer.
        requests: calls in a block.
    """

    rounds: int = 20
    workers: int = 1
    payload_bytes: int = 128
    requests: int = 300


LONG: dict[str, Any] = {"rounds": 60, "requests": 1000}


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("latency", parameters, progress)
    load = Load(payload=payload_of(parameters.payload_bytes), requests=parameters.requests)
    setup = Setup(parameters.transport, parameters.workers)
    setting: Setting = {
        "transport": parameters.transport,
        "payload_bytes": parameters.payload_bytes,
        "workers": parameters.workers,
    }
    with report.callers(subjects, setup, load) as callers:
        progress(f"{parameters.rounds} rounds of {parameters.requests} calls to each")
        rounds = report.take_turns(callers, load, setting)
    report.compare_latency(rounds, setting)
    others = [name for name in rounds.flows if name not in FLOOR]
    if "maitred" in others and len(others) > 1:
        report.compare_latency(rounds, setting, baseline="maitred", subjects=others)
    return report.result()
