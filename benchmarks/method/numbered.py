"""How a load is carried out on a connection where one thread both sends and receives, and answers bear a number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from maitred.benchmarks.method.drivers import SPIN_NS, precise_sleeps
from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.pace import Pace
from maitred.benchmarks.method.recorder import now_ns

__all__ = ["Numbered", "drive_numbered"]


class Numbered(Protocol):
    """Such a connection."""

    def send(self, payload: Any, task_s: float) -> int:
        """Send a request, without waiting; returns its number."""
        ...

    def receive(self, wait_s: float) -> Iterable[int]:
        """The numbers of the answers that are there; where there are none, wait so long for the first. 0 only looks."""
        ...


def drive_numbered(connection: Numbered, load: Load) -> Flow:
    """Send what is due while there is room, take in what is there, and wait for either."""
    return _Drive(connection, load).run()


class _Drive:
    def __init__(self, connection: Numbered, load: Load) -> None:
        self._connection, self._load = connection, load
        self._sent: dict[int, int] = {}
        self._heard_ns = now_ns()
        self._pace = Pace(load)

    def run(self) -> Flow:
        precise_sleeps()
        while True:
            due = self._send_due()
            if due is None and not self._sent:
                return self._pace.end()
            self._take_in(self._connection.receive(self._wait_s(due)))
            if self._is_given_up():
                return self._give_up()

    def _send_due(self) -> int | None:
        """Send while something is due and there is room; returns when the next one is due, None after the last."""
        load, pace = self._load, self._pace
        while True:
            due = pace.next_due_ns()
            if due is None or due > now_ns() or len(self._sent) >= load.outstanding:
                return due
            began = pace.take(due)
            if not self._sent:
                self._heard_ns = now_ns()
            self._sent[self._connection.send(load.payload, load.task_s)] = began

    def _wait_s(self, due: int | None) -> float:
        """How long an answer may be waited for until something is to be sent; 0 from `SPIN_NS` before that on."""
        if due is None or len(self._sent) >= self._load.outstanding:
            return self._load.timeout_s
        return max(0.0, (due - now_ns() - SPIN_NS) / 1e9)

    def _take_in(self, answered: Iterable[int]) -> None:
        for number in answered:
            began = self._sent.pop(number, None)
            if began is not None:  # else it is of a load that was given up
                self._heard_ns = now_ns()
                self._pace.flow.latency.append(self._heard_ns - began)

    def _is_given_up(self) -> bool:
        return bool(self._sent) and now_ns() - self._heard_ns > self._load.timeout_s * 1e9

    def _give_up(self) -> Flow:
        flow = self._pace.end()
        for began in self._sent.values():
            flow.fail(TimeoutError(f"no answer within {self._load.timeout_s:g} s"), flow.ended_ns - began)
        return flow
