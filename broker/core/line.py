"""Requests in the order of their admission: one client's in a queue, one session's, or a whole band's."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator

from maitred.broker.core.model import Request


class Line:
    """Requests by their number of admission. One that is given back stands where its number belongs."""

    __slots__ = ("_fresh", "_order", "_returned", "weight")

    def __init__(self, weight: int = 1) -> None:
        self.weight = weight
        self._fresh: OrderedDict[int, Request] = OrderedDict()
        self._returned: dict[int, Request] = {}
        self._order: list[int] = []  # a heap of the returned ones' numbers; those that left since are passed over

    def __len__(self) -> int:
        return len(self._fresh) + len(self._returned)

    def __iter__(self) -> Iterator[Request]:
        returned = [self._returned[number] for number in sorted(self._returned)]
        return heapq.merge(returned, self._fresh.values(), key=lambda request: request.admitted)

    def __contains__(self, request: Request) -> bool:
        return request.admitted in self._fresh or request.admitted in self._returned

    def push(self, request: Request) -> None:
        """Append a newly admitted request; its number is higher than any before."""
        self._fresh[request.admitted] = request

    def give_back(self, request: Request) -> None:
        """Put a request back where its number belongs."""
        self._returned[request.admitted] = request
        heapq.heappush(self._order, request.admitted)

    def first(self) -> Request:
        """The one with the lowest number."""
        if self._returned:
            while self._order[0] not in self._returned:
                heapq.heappop(self._order)
            fresh = next(iter(self._fresh), None)
            if fresh is None or self._order[0] < fresh:
                return self._returned[self._order[0]]
        return self._fresh[next(iter(self._fresh))]

    def remove(self, request: Request) -> None:
        """Take this one out, wherever it stands."""
        if self._fresh.pop(request.admitted, None) is None:
            del self._returned[request.admitted]
            if not self._returned:
                self._order.clear()
