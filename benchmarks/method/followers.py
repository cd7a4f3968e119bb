"""Callers that do as a refusal says: they come back when they were told to, and again, until they get in.

Few, so that what they add to the load is small; a refusal that finds none of them free is not followed.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from msgspec import Struct

from maitred.benchmarks.method.recorder import now_ns

__all__ = ["Followed", "Followers"]


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
    """Threads that follow refusals, while the `with` lasts.

    Args:
        attempt: one request, in the calling thread: returns when it was served, raises when it was not.
        told: the seconds that a refusal names; None where it names none, or is no refusal.
        count: how many refusals are followed at a time.

    Attributes:
        followed: all that came to an end.
    """

    def __init__(
        self, attempt: Callable[[], object], told: Callable[[BaseException], float | None], count: int
    ) -> None:
        self.followed: list[Followed] = []
        self._attempt, self._told = attempt, told
        self._free = threading.Semaphore(count)
        self._over = threading.Event()
        self._refusals: queue.SimpleQueue[tuple[int, float] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        for _ in self._threads:
            self._refusals.put(None)
        for thread in self._threads:
            thread.join()

    def refused(self, error: BaseException, at_ns: int) -> None:
        """Follow this refusal, if it names a time and somebody is free. Does not block."""
        told_s = self._told(error)
        if told_s is not None and self._free.acquire(blocking=False):
            self._refusals.put((at_ns, told_s))

    def _run(self) -> None:
        while (refusal := self._refusals.get()) is not None:
            self.followed.append(self._follow(*refusal))
            self._free.release()

    def _follow(self, refused_ns: int, told_s: float) -> Followed:
        tries, again_ns = 0, refused_ns + int(told_s * 1e9)
        while not self._over.wait(max(0, again_ns - now_ns()) / 1e9):
            tries, sent_ns = tries + 1, now_ns()
            try:
                self._attempt()
            except Exception as error:
                later_s = self._told(error)
                if later_s is None:
                    break
                again_ns = now_ns() + int(later_s * 1e9)
            else:
                return Followed(told_s, tries, (sent_ns - refused_ns) / 1e9)
        return Followed(told_s, tries, None)
