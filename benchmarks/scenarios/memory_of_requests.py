"""The scenario `memory`, its second half: by how much the broker grows with requests that wait, and what it keeps after."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait

from msgspec import Struct

from maitred.benchmarks.method.resident import forget_peak, peak_bytes, resident_bytes
from maitred.benchmarks.results import Measurement, Setting
from maitred.benchmarks.scenarios.common import Report
from maitred.benchmarks.subjects.maitred_ import POOL
from maitred.client import Client

__all__ = ["Filled", "fill", "record_requests"]

WARM_REQUESTS = 100
"""Done one after the other before growth counts, so that what a broker needs once is not divided among requests."""

FILL_TIMEOUT_S = 60.0
"""Within this all requests have to be with the broker."""

POLL_S = 0.002


class Filled(Struct, frozen=True):
    """What the broker had around one burst. Bytes of the whole process.

    Attributes:
        requests: how many waited.
        before: with none.
        full: with all of them.
        peak: the most, their answers included.
        after: when all are answered.
        void: why it must not be quoted, "" where it may.
    """

    requests: int
    before: int
    full: int
    peak: int
    after: int
    void: str = ""


def fill(pid: int, endpoint: str, payload: bytes, requests: int, hold_s: float) -> Filled:
    """Keep the only worker busy, have requests wait behind it, then have all of them answered.

    Raises:
        TimeoutError: not all of them reached the broker.
    """
    arguments = {"payload": payload}
    with Client(endpoint) as client:
        for _ in range(WARM_REQUESTS):
            client.execute(POOL, "echo", arguments)
        before = resident_bytes(pid)
        forget_peak(pid)
        held = client.submit(POOL, "echo", {"payload": b"", "task_s": hold_s})
        _await(lambda: held.done() or client.pools()[0]["busy"] == 1)
        futures = [client.submit(POOL, "echo", arguments) for _ in range(requests)]
        _await(lambda: held.done() or client.broker()["requests"] > requests)
        full = resident_bytes(pid)
        void = f"the queue was not full within hold_s, {hold_s:g} s: give it more" if held.done() else ""
        wait([held, *futures])
        for future in futures:
            future.result()
        return Filled(requests, before, full, peak_bytes(pid), resident_bytes(pid), void)


def _await(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + FILL_TIMEOUT_S
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError(f"the requests did not reach the broker within {FILL_TIMEOUT_S:g} s")
        time.sleep(POLL_S)


def record_requests(report: Report, filled: Sequence[Filled], subject: str, setting: Setting) -> None:
    """Put into the report what came of all rounds: medians of those that count."""
    good = [it for it in filled if not it.void]
    values = _values(good) if good else {}
    void = "" if good else filled[0].void
    report.measurements.append(Measurement(subject=subject, setting=setting, values=values, void=void))


def _values(filled: Sequence[Filled]) -> dict[str, float]:
    back = [(it.peak - it.after) / (it.peak - it.before) for it in filled if it.peak > it.before]
    return {
        "rss_bytes": statistics.median(it.full for it in filled),
        "waiting_request_bytes": statistics.median((it.full - it.before) / it.requests for it in filled),
        "before_bytes": statistics.median(it.before for it in filled),
        "peak_bytes": statistics.median(it.peak for it in filled),
        "after_bytes": statistics.median(it.after for it in filled),
        **({"given_back_share": statistics.median(back)} if back else {}),
    }
