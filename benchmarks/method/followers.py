"""Callers that do as a refusal says: they come back when they were told to, and again, until they get in.

Each is a thread, as a place that a refusal promises belongs to the thread in which it was raised. Few, so that what they
add to the load is small.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from msgspec import Struct

from maitred.benchmarks.method.recorder import now_ns

__all__ = ["Followed", "Followers"]

REST_S = 0.5
"""Of a caller that was served, before it calls anew: who calls again at once would be a load of its own, and as each client
has its turn, one that the others wait for."""


class Followed(Struct, frozen=True):
    """One refusal that was followed.

    Attributes:
        told_s: seconds after which there would be room, as the first refusal said.
        tries: how often it came back.
        in_s: seconds from the first refusal until the sending that got in; None where the run was over before.
    """

    told_s: float
    tries: int
    in_s: float | None


class Followers:
    """Threads that call, and follow the refusals they meet, while the `with` lasts.

    Args:
        attempt: one request, in the calling thread: returns when it was served, raises when it was not.
        told: the seconds that a refusal names; None where it names none, or is no refusal.
        count: how many there are.

    Attributes:
        followed: all that came to an end.
        served_ns: when each request of theirs was served, by the clock of the measurements.
    """

    def __init__(
        self, attempt: Callable[[], object], told: Callable[[BaseException], float | None], count: int
    ) -> None:
        self.followed: list[Followed] = []
        self.served_ns: list[int] = []
        self._attempt, self._told = attempt, told
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            told_s = self._try()
            if told_s is not None:
                self.followed.append(self._follow(now_ns(), told_s))
            self._over.wait(REST_S)

    def _try(self) -> float | None:
        """Call once; the seconds after which to come back, None where there is nothing to come back for."""
        try:
            self._call()
        except Exception as error:
            return self._told(error)
        return None

    def _call(self) -> None:
        self._attempt()
        self.served_ns.append(now_ns())

    def _follow(self, refused_ns: int, told_s: float) -> Followed:
        tries, again_ns = 0, refused_ns + int(told_s * 1e9)
        while not self._over.wait(max(0, again_ns - now_ns()) / 1e9):
            tries, sent_ns = tries + 1, now_ns()
            try:
                self._call()
            except Exception as error:
                later_s = self._told(error)
                if later_s is None:
                    break
                again_ns = now_ns() + int(later_s * 1e9)
            else:
                return Followed(told_s, tries, (sent_ns - refused_ns) / 1e9)
        return Followed(told_s, tries, None)
