"""How long does a call take when calls arrive at a given rate, whatever the answers do?

An open loop: each request is due at a time that is fixed beforehand, and is timed from then, so that a stall counts for
all who would have called meanwhile. How late the generator itself was is its lag; a block with more than a tenth of its
p99 is void.

Measured through the asynchronous client by default: of the synchronous one it is `submit`, whose background thread
receives. The thread that sends must get Python's lock from it when a request is due, which takes up to one switch
interval (5 ms): the faster the rate, the more of what is measured is that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from maitred.benchmarks.method.load import Load
from maitred.benchmarks.results import Result, Setting
from maitred.benchmarks.scenarios import common
from maitred.benchmarks.scenarios.common import Progress, Report, payload_of
from maitred.benchmarks.subjects.protocol import Caller, Setup, Subject

__all__ = ["LONG", "OURS", "Parameters", "run"]

OURS = "maitred-async"
"""See above."""


class Parameters(common.Parameters, frozen=True, kw_only=True):
    """See `common.Parameters`.

    Attributes:
        rates_per_s: requests that are due in a second, each of these.
        spacing: "poisson" as from independent callers, or "constant".
        workers: processes that do the task.
        payload_bytes: of each request, and of its answer.
        task_s: seconds that a task sleeps.
        outstanding: requests under way at most; what is due beyond it is sent late, and shows as lag.
        seconds: of a block.
    """

    rounds: int = 5
    rates_per_s: tuple[float, ...] = (100.0, 500.0, 1000.0)
    spacing: Literal["poisson", "constant"] = "poisson"
    workers: int = 2
    payload_bytes: int = 128
    task_s: float = 0.0
    outstanding: int = 1000
    seconds: float = 1.0


LONG: dict[str, Any] = {"rounds": 15, "rates_per_s": (100.0, 300.0, 1000.0, 2000.0, 3000.0, 5000.0), "seconds": 3.0}


def run(subjects: Sequence[Subject], parameters: Parameters, progress: Progress) -> Result:
    """Measure."""
    report = Report("rate", parameters, progress)
    warm_up = Load(payload=payload_of(parameters.payload_bytes), seconds=parameters.seconds)
    with report.callers(subjects, Setup(parameters.transport, parameters.workers), warm_up) as callers:
        for rate_per_s in parameters.rates_per_s:
            _measure(report, callers, rate_per_s, parameters)
    return report.result()


def _measure(report: Report, callers: Mapping[str, Caller], rate_per_s: float, parameters: Parameters) -> None:
    load = Load(
        payload=payload_of(parameters.payload_bytes),
        task_s=parameters.task_s,
        outstanding=parameters.outstanding,
        seconds=parameters.seconds,
        rate_per_s=rate_per_s,
        spacing=parameters.spacing,
    )
    setting: Setting = {
        "transport": parameters.transport,
        "payload_bytes": parameters.payload_bytes,
        "workers": parameters.workers,
        "spacing": parameters.spacing,
        "rate_per_s": rate_per_s,
        "task_s": parameters.task_s,
    }
    report.say(f"{rate_per_s:g} requests a second, {parameters.spacing}")
    report.compare_latency(report.take_turns(callers, load, setting), setting)
