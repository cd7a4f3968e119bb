"""A pool's waiting requests: three priorities, within each the clients take turns, within a client the order it sent.

    Queue ── a Band for each priority ── a Line for each client, and one of everybody by age

A client here is an account: all processes that have one key take their turns as one.

Putting in, taking out and removing cost the same at any depth: `OrderedDict`s, as the first key of a plain dict from which
the first ones were taken is found by walking over their places.

Ageing: where the oldest request of a lower band has waited AGEING_S longer, for each step between them, than that of the
highest, one turn in AGED_PART is its band's. So nothing starves, and a backlog of low ones never shuts high ones out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from maitred.broker.core.account import Owner
from maitred.broker.core.line import Line
from maitred.broker.core.model import Request
from maitred.protocol.messages import PRIORITIES

AGEING_S = 5.0
"""By so much longer must a request have waited to be given a turn before one of the next higher priority."""

AGED_PART = 4
"""One turn in so many is for those."""


class Band:
    """The requests of one priority. A client whose turn it is gives as many as its weight, then the next one's comes."""

    __slots__ = ("_left", "_lines", "everybody")

    def __init__(self) -> None:
        self.everybody = Line()
        self._lines: OrderedDict[Owner, Line] = OrderedDict()
        self._left = 0  # of the first line's turn; 0: it has not begun

    def __len__(self) -> int:
        return len(self.everybody)

    @property
    def clients(self) -> int:
        """How many have something waiting here."""
        return len(self._lines)

    def waiting(self, client: Owner) -> int:
        """How many requests of this client wait here."""
        line = self._lines.get(client)
        return 0 if line is None else len(line)

    def push(self, request: Request) -> None:
        """Put it at the end of its client's line."""
        self.everybody.push(request)
        self._line(request).push(request)

    def give_back(self, request: Request) -> None:
        """Put it back where it stood in its client's line."""
        self.everybody.give_back(request)
        self._line(request).give_back(request)

    def first(self) -> Request:
        """Whose turn it is."""
        return self._lines[next(iter(self._lines))].first()

    def pop(self) -> Request:
        """Take the one whose turn it is."""
        client = next(iter(self._lines))
        line = self._lines[client]
        request = line.first()
        line.remove(request)
        self.everybody.remove(request)
        self._left = (self._left or line.weight) - 1
        if not line:
            del self._lines[client]
            self._left = 0
        elif not self._left:
            self._lines.move_to_end(client)
        return request

    def remove(self, request: Request) -> None:
        """Take this one out, wherever it stands."""
        client = request.identity.account.id
        line = self._lines[client]
        line.remove(request)
        self.everybody.remove(request)
        if not line:
            if client == next(iter(self._lines)):
                self._left = 0
            del self._lines[client]

    def _line(self, request: Request) -> Line:
        account = request.identity.account
        line = self._lines.get(account.id)
        if line is None:
            line = self._lines[account.id] = Line(account.weight)
        return line

    def check(self) -> None:
        """Recompute what is derived; for tests."""
        lines = [request for line in self._lines.values() for request in line]
        assert sorted(request.admitted for request in lines) == [request.admitted for request in self.everybody]
        assert all(self._lines.values()), "an empty line keeps its turn"
        first = next(iter(self._lines.values()), None)
        assert 0 <= self._left < (first.weight if first else 1)


class Queue:
    """See the module's docstring."""

    __slots__ = ("_bands", "_by_age", "_passed_over", "_size", "by_command", "emptied")

    def __bool__(self) -> bool:
        return self._size > 0

    def __init__(self) -> None:
        self._bands = tuple(Band() for _ in PRIORITIES)
        self._size = 0
        self._passed_over: int = 0  # turns that the highest band had although a lower one has waited long enough
        self._by_age: dict[str, Line] = {}
        self.by_command: dict[str, int] = {}
        """How many of each command wait."""
        self.emptied: int = 0
        """How often nothing waited any more."""

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Request]:
        """All of them: the highest priority first, by age in each."""
        for band in reversed(self._bands):
            yield from band.everybody

    def __contains__(self, request: Request) -> bool:
        return request in self._bands[request.priority].everybody

    def push(self, request: Request) -> None:
        """Append a newly admitted request."""
        self._bands[request.priority].push(request)
        self._count(request, 1)

    def give_back(self, request: Request) -> None:
        """Put a request back where it stood."""
        self._bands[request.priority].give_back(request)
        self._count(request, 1)

    def first(self) -> Request:
        """The next to be served."""
        if self._passed_over >= AGED_PART - 1 and (aged := self._aged_band()) is not None:
            return aged.first()
        return self._highest().first()

    def pop(self) -> Request:
        """Take the next to be served."""
        aged = self._aged_band()
        if aged is None:
            band = self._highest()
        else:
            band = aged if self._passed_over >= AGED_PART - 1 else self._highest()
            self._passed_over = 0 if band is aged else self._passed_over + 1
        request = band.pop()
        self._count(request, -1)
        return request

    def take(self, command: str) -> Request | None:
        """Take the oldest of a command that is run in batches, whosever turn it is; None where there is none."""
        line = self._by_age.get(command)
        if line is None:
            return None
        request = line.first()
        self._bands[request.priority].remove(request)
        self._count(request, -1)
        return request

    def remove(self, request: Request) -> None:
        """Take this one out, wherever it stands."""
        self._bands[request.priority].remove(request)
        self._count(request, -1)

    def oldest(self) -> Request | None:
        """The one that has waited longest."""
        firsts = [band.everybody.first() for band in self._bands if band]
        return min(firsts, key=lambda request: request.received_at, default=None)

    def ahead_of(self, client: Owner, priority: int) -> int:
        """How many are served before the next request of this client and priority would be, at most.

        Those of higher priorities, and of its own as many as come round before its turn.
        """
        band = self._bands[priority]
        own = band.waiting(client)
        others = band.clients - (own > 0)
        ahead = min(len(band), own + others * (own + 1))
        ahead += sum(len(higher) for higher in self._bands[priority + 1 :])
        return ahead + min(sum(len(lower) for lower in self._bands[:priority]), ahead // (AGED_PART - 1))

    def _highest(self) -> Band:
        for band in reversed(self._bands):
            if band.everybody:
                return band
        raise AssertionError("an empty queue")

    def _aged_band(self) -> Band | None:
        """A band whose oldest request has waited so much longer than the highest's that a turn is due to it."""
        highest: float | None = None
        aged: Band | None = None
        came = 0.0
        for priority in range(len(self._bands) - 1, -1, -1):
            band = self._bands[priority]
            if not band.everybody:
                continue
            if highest is None and len(band.everybody) == self._size:  # nearly always
                return None
            counts_as = band.everybody.first().received_at - priority * AGEING_S
            if highest is None:
                highest = came = counts_as
            elif counts_as < came:
                aged, came = band, counts_as
        return aged

    def _count(self, request: Request, by: int) -> None:
        self._size += by
        count = self.by_command.get(request.command, 0) + by
        if count:
            self.by_command[request.command] = count
        else:
            del self.by_command[request.command]
        if not self._size:
            self.emptied += 1
            self._passed_over = 0
        if request.in_batches:
            self._index(request, by)

    def _index(self, request: Request, by: int) -> None:
        line = self._by_age.get(request.command)
        if line is None:
            line = self._by_age[request.command] = Line()
        if by < 0:
            line.remove(request)
            if not line:
                del self._by_age[request.command]
        else:
            line.give_back(request)  # whether it is new or comes back: its number says where it stands

    def check(self) -> None:
        """Recompute what is derived; for tests."""
        for band in self._bands:
            band.check()
        assert self._size == sum(len(band) for band in self._bands)
        commands = [request.command for request in self]
        assert self.by_command == {command: commands.count(command) for command in set(commands)}
        batched = [request.command for request in self if request.in_batches]
        assert {command: len(line) for command, line in self._by_age.items()} == {
            command: batched.count(command) for command in set(batched)
        }
