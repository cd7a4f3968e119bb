"""How fast a pool completes requests, for the waits that callers are told.

Two estimates of the time between two completions, as each is wrong where the other is right:

    measured   between completions that left others waiting: what the pool really does, the broker and the network
               included; but of the work that it did until now, and soon forgotten where nothing waits
    by work    what waits, by command, times what each command took of late, by the slots there are: right at once, also
               where the mix of commands changes; but blind to all that is not the workers' own time

A caller is refused for its deadline only by the shorter of them. The wait that it is told is by the measure, which is the
steadier: places are a completion apart; but by work where that takes longer by far, as other work is about to come.
"""

from __future__ import annotations

from collections import deque

from maitred.broker.core.queue import Queue

WINDOW_S = 1.0
"""The measured interval is renewed after so much time in which something waited."""

LONGEST_WINDOW_S = 10.0
"""A pool that has not completed enough by then is too slow to be measured: its work is known better than its rate."""

MIN_COMPLETED = 8
"""Fewer completions than this say nothing."""

FRESH_S = 5.0
"""A measure counts for so long after the last completion that left others waiting."""

NEWEST_WEIGHT = 0.5
"""Of the newest window; one that differs by more than SHIFT takes the place of what was known: the work is another."""

SHIFT = 2.0

REMEMBERED = 64
RECENT = 8
"""Times of a command whose mean counts, and of those the newest ones: where the two differ it is changing."""

OUTLIER = 4.0
"""The longest is left out where it is so many times the others' mean: a first call that loads a model says nothing of the
next."""


class Times:
    """What the last requests of one command took, in seconds of a worker's time."""

    __slots__ = ("_last", "_means")

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=REMEMBERED)
        self._means: tuple[float, float] | None = None

    def add(self, took_s: float) -> None:
        """One more."""
        self._last.append(took_s)
        self._means = None

    @property
    def means_s(self) -> tuple[float, float]:
        """The mean of the newest, and of all that are remembered."""
        if self._means is None:
            last = list(self._last)
            self._means = _mean(last[-RECENT:]), _mean(last)
        return self._means


def _mean(times: list[float]) -> float:
    longest, total = max(times), sum(times)
    rest = (total - longest) / max(len(times) - 1, 1)
    return rest if rest and longest > OUTLIER * rest else total / len(times)


class Pace:
    """The pace of one pool.

    Attributes:
        slots: requests that its workers run at a time.
        busy_s: what all that was ever done took of the workers' time.
        last_at: when the last request was answered by a worker.
    """

    __slots__ = (
        "_completed",
        "_counted_at",
        "_emptied",
        "_left_others",
        "_measured_s",
        "_queue",
        "_times",
        "_waited_s",
        "busy_s",
        "last_at",
        "slots",
    )

    def __init__(self, queue: Queue) -> None:
        self.slots = 0
        self.busy_s = 0.0
        self._queue = queue
        self._times: dict[str, Times] = {}
        self._measured_s: float | None = None
        self._waited_s = 0.0
        self._completed = 0
        self.last_at = 0.0
        self._left_others = False  # whether the last completion did
        self._emptied: int = 0
        self._counted_at = 0.0

    def staffed(self, slots: int) -> None:
        """So many slots there are now; with others than before the rate is another."""
        if slots != self.slots:
            self.slots = slots
            self._measured_s = None
            self._begin()

    def completed(self, command: str, took_s: float, now: float) -> None:
        """A request was answered, after so many seconds of its worker's time. The pool's commands bound the entries."""
        times = self._times.get(command)
        if times is None:
            times = self._times[command] = Times()
        times.add(took_s)
        self.busy_s += took_s
        queue = self._queue
        if self._left_others and queue.emptied == self._emptied:
            self._count(now - self.last_at, now)
        self._left_others = bool(queue)
        self._emptied = queue.emptied
        self.last_at = now

    def _count(self, interval_s: float, now: float) -> None:
        self._completed += 1
        self._waited_s += interval_s
        self._counted_at = now
        if self._waited_s >= WINDOW_S and self._completed >= MIN_COMPLETED:
            self._renew(self._waited_s / self._completed)
            self._begin()
        elif self._waited_s > LONGEST_WINDOW_S:
            self._measured_s = None
            self._begin()

    def _begin(self) -> None:
        self._waited_s = 0.0
        self._completed = 0

    def _renew(self, interval_s: float) -> None:
        before = self._measured_s
        if before is None or not 1 / SHIFT <= interval_s / before <= SHIFT:
            self._measured_s = interval_s
        else:
            self._measured_s = before + NEWEST_WEIGHT * (interval_s - before)

    def measured_s(self, now: float) -> float | None:
        """Seconds between two completions, as measured of late; None where that is not known."""
        return self._measured_s if now - self._counted_at <= FRESH_S else None

    @property
    def means_s(self) -> tuple[float, float] | None:
        """Seconds that a request takes a worker, of late and for longer: of what waits, else of what was done."""
        counts = self._queue.by_command
        waiting = [(counts[command], self._times[command]) for command in counts if command in self._times]
        weighed = waiting or [(1, times) for times in self._times.values()]
        total = sum(count for count, _ in weighed)
        if not total:
            return None
        recent_s = sum(count * times.means_s[0] for count, times in weighed) / total
        return recent_s, sum(count * times.means_s[1] for count, times in weighed) / total

    def interval_s(self, now: float) -> tuple[float, float] | None:
        """Seconds between two completions, at the least, and as to be told; None where nothing is known."""
        measured_s, means_s = self.measured_s(now), self.means_s
        if means_s is None or not self.slots:
            return None if measured_s is None else (measured_s, measured_s)
        recent_s, longer_s = (mean_s / self.slots for mean_s in means_s)
        if measured_s is None:
            return min(recent_s, longer_s), longer_s
        return min(measured_s, recent_s, longer_s), recent_s if recent_s > SHIFT * measured_s else measured_s

    def rate(self, now: float) -> float | None:
        """Requests per second, for tables: as measured, else by work."""
        measured_s, means_s = self.measured_s(now), self.means_s
        if measured_s:
            return 1 / measured_s
        return self.slots / means_s[1] if means_s and means_s[1] and self.slots else None
