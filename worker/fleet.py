"""Which workers there are to be: the agent's decisions. Pure: told what happens, and when, it says what is to be done.

    a place     one for each worker of the pool's size; it waits after a death (`worker.backoff`), and is filled by a
                spare worker that has loaded, else by a new one
    a spare     has loaded and waits, in a place of its own, which is filled again when it is let through
    a turn      one worker that is being replaced: another one is started besides, takes its place when it is ready, and
                RETIRE is said of the old one; the next turn begins when that one is dead

Who is one too many is ended here where it is not ready yet, the newest first; of those that are ready the broker names one.
An ordered end is no failure: no pause, and no part of the budget. A pool that has spent its budget starts one worker at a
time, at the longest pause, until one of these serves.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator

from maitred.worker.agent_settings import AgentSettings
from maitred.worker.backoff import STEADY_S, Budget
from maitred.worker.roster import Effect, End, Kill, LetThrough, Member, Place, Retire, Start, Tell, Turn, Wish

__all__ = ["Fleet"]

LOOK_S = 0.02
"""How often a worker that is starting is looked at: so much later than it could be, the old one retires."""


class Fleet:
    """The workers of one pool on this host. Call `step` after whatever was told, and when `next_deadline` has come.

    Args:
        settings: the agent's.
        new_id: makes a worker's id.

    Attributes:
        size: how many workers there are to be.
    """

    def __init__(self, settings: AgentSettings, new_id: Callable[[], bytes] = lambda: os.urandom(16)) -> None:
        self.size = settings.size
        self._settings = settings
        self._new_id = new_id
        self._places: list[Place] = []
        self._spare_places = [Place(settings) for _ in range(settings.warm_spares)]
        self._members: dict[bytes, Member] = {}
        self._wishes: dict[bytes, Wish] = {}
        self._turn: Turn | None = None
        self._turn_place = Place(settings)  # where replacements that fail wait
        self._budget = Budget(settings.restart_budget, settings.restart_window_s)
        self._reason = ""
        self._reason_at = -math.inf
        self._started_at = -math.inf
        self._effects: list[Effect] = []

    # --- what is ordered ---

    def resize(self, size: int) -> None:
        """Keep so many. The size that it has already means that a person wants to see it tried again at once."""
        if size == self.size:
            self._forgive()
        self.size = size

    def dismiss(self, worker: bytes, cause: str) -> None:
        """The broker gives this one nothing more."""
        member = self._members.get(worker)
        if member is not None:
            self._end(member, cause)

    def recycle(self, workers: Iterable[bytes], cause: str, note: str = "", *, surge: bool = True) -> None:
        """Replace these, one after another; without `surge` each goes before its successor comes."""
        for worker in workers:
            member = self._members.get(worker)
            if member is not None and member.ready_at is not None and not member.going:
                self._wishes.setdefault(worker, Wish(cause, note, surge))

    def discard_unready(self, cause: str) -> None:
        """There is new code: whoever is not in service yet is started anew, and what failed is tried again at once."""
        self._forgive()
        for member in list(self._members.values()):
            if member.ready_at is None:
                self._end(member, cause)

    # --- what happens ---

    def spawned(self, worker: bytes, now: float) -> None:
        """There is a process."""
        self._members[worker].since = now

    def see(self, worker: bytes, now: float, *, loaded: bool, ready: bool, served: int) -> None:
        """How far a worker is."""
        member = self._members[worker]
        member.loaded, member.served = loaded, served
        if ready and member.ready_at is None:
            member.ready_at = now

    def died(self, worker: bytes, now: float, reason: str, *, ordered: bool = False) -> None:
        """A worker is dead, or could not even be started; `ordered`: it did not fail by itself."""
        member = self._members.pop(worker)
        self._wishes.pop(worker, None)
        turn = self._turn
        place = member.place or (self._turn_place if turn is not None and turn.new == worker else None)
        retired = turn is not None and turn.retired and turn.old == worker
        pause = 0.0
        if place is not None and not (ordered or retired or member.going):
            lived_s = now - member.since if member.since is not None else 0.0
            pause = place.backoff.died(lived_s, member.ready_at is not None, member.served)
            self._failed(member, place, now, reason)
        if place is not None:
            place.worker, place.empty_until = None, now + pause

    def _failed(self, member: Member, place: Place, now: float, reason: str) -> None:
        if not member.steady(now) and self._budget.died(now):
            count, window_s = self._settings.restart_budget, self._settings.restart_window_s
            self._tell(f"{count} workers died within {window_s:g} s, the last one of: {reason}", now)
        elif place.backoff.hopeless and self._budget.spent_at is None:
            self._tell(f"workers die before they are ready: {reason}", now)

    def ready_since(self, worker: bytes) -> float | None:
        """Since when it is in service; None where it is not yet, or is to go."""
        member = self._members[worker]
        return None if member.going else member.ready_at

    # --- what is to be done ---

    def step(self, now: float) -> list[Effect]:
        """Decide; returns what is to be done, in this order."""
        self._recover(now)
        self._limit_startup(now)
        self._set_places()
        self._turns(now)
        self._fill(now)
        effects, self._effects = self._effects, []
        return effects

    def next_deadline(self, now: float) -> float:
        """When `step` has something to do, if nothing happens before."""
        at = min(self._deadlines(now), default=math.inf)
        return max(at, now + LOOK_S)

    def _deadlines(self, now: float) -> Iterator[float]:
        if any(member.ready_at is None and not (member.spare and member.loaded) for member in self._members.values()):
            yield now
        if self._reason:
            yield now + STEADY_S / 10
        if self._turn is None and self._wishes:
            yield self._turn_place.empty_until
        for place in [*self._places, *self._spare_places]:
            if place.worker is None:
                yield max(place.empty_until, self._may_start_at())

    def _may_start_at(self) -> float:
        return -math.inf if self._budget.spent_at is None else self._started_at + self._settings.restart_backoff_max_s

    def _recover(self, now: float) -> None:
        if not self._reason:
            return
        spent_at = self._budget.spent_at
        for member in self._members.values():
            if spent_at is None:
                well = member.ready_at is not None and member.ready_at >= self._reason_at
            else:
                well = member.since is not None and member.since >= spent_at and member.steady(now)
            if well:
                self._forgive()
                return

    def _forgive(self) -> None:
        self._budget.forgive()
        for place in [*self._places, *self._spare_places, self._turn_place]:
            place.backoff.forgive()
            place.empty_until = -math.inf
        self._tell("", -math.inf)

    def _tell(self, reason: str, now: float) -> None:
        if reason != self._reason:
            self._reason = reason
            self._effects.append(Tell(reason))
        self._reason_at = now

    def _limit_startup(self, now: float) -> None:
        """One that has loaded waits for a broker that is away, or at its gate: another one would, too."""
        for member in self._members.values():
            late = member.since is not None and now >= member.since + self._settings.startup_timeout_s
            if late and not member.loaded:
                self._effects.append(Kill(member.worker))

    def _set_places(self) -> None:
        while len(self._places) < self.size:
            self._places.append(Place(self._settings))
        while len(self._places) > self.size and (place := self._superfluous()) is not None:
            self._places.remove(place)
            member = self._members.get(place.worker or b"")
            if member is not None:
                member.place = None
                self._end(member, "drain")

    def _superfluous(self) -> Place | None:
        """A place that nobody is in, or somebody who goes, or, the newest first, who is not ready."""
        for place in reversed(self._places):
            if place.worker is None or self._members[place.worker].going:
                return place
        unready = [one for one in self._members.values() if one.ready_at is None and one.place in self._places]
        newest = max(reversed(unready), key=lambda one: math.inf if one.since is None else one.since, default=None)
        return None if newest is None else newest.place

    def _end(self, member: Member, cause: str) -> None:
        if not member.going:
            self._effects.append(End(member.worker, cause))
        member.going = True

    # --- turns ---

    def _turns(self, now: float) -> None:
        if self._turn is not None:
            self._go_on(self._turn)
        if self._turn is None:
            self._begin_turn(now)

    def _go_on(self, turn: Turn) -> None:
        old, new = self._members.get(turn.old), self._members.get(turn.new or b"")
        if turn.retired:
            if old is None:
                self._turn = None
        elif old is None or old.place is None:  # it needs no successor any more, or one for whoever comes first
            self._turn = None
            if new is not None:
                self._house(new)
        elif new is None:  # it failed; the old one stays, and it is tried again
            self._turn = None
            self._wishes = {turn.old: turn.wish} | self._wishes
        elif new.ready_at is not None:
            new.place, old.place = old.place, None
            new.place.worker = new.worker
            self._turn_place.backoff.forgive()
            self._retire(turn, old)

    def _begin_turn(self, now: float) -> None:
        if self._budget.spent_at is not None or now < self._turn_place.empty_until:
            return
        while self._wishes:
            worker = next(iter(self._wishes))
            wish = self._wishes.pop(worker)
            old = self._members.get(worker)
            if old is None or old.going or old.place is None:
                continue
            self._turn = Turn(worker, wish)
            if wish.surge:
                self._turn.new = self._take(now).worker
            else:
                self._retire(self._turn, old)
            return

    def _retire(self, turn: Turn, old: Member) -> None:
        turn.retired = True
        self._effects.append(Retire(old.worker, turn.wish.cause, turn.wish.note))

    def _house(self, member: Member) -> None:
        for place in self._places:
            if place.worker is None:
                place.worker, member.place = member.worker, place
                return
        self._end(member, "drain")

    # --- filling ---

    def _fill(self, now: float) -> None:
        for place in self._places:
            if place.worker is None and now >= place.empty_until and self._may_start(now):
                member = self._take(now)
                place.worker, member.place = member.worker, place
        if self._budget.spent_at is not None:
            return
        for place in self._spare_places:
            if place.worker is None and now >= place.empty_until:
                place.worker = self._start(now, place, spare=True).worker

    def _may_start(self, now: float) -> bool:
        if self._budget.spent_at is None:
            return True
        starting = any(member.ready_at is None and not member.going for member in self._members.values())
        return not starting and now >= self._may_start_at()

    def _take(self, now: float) -> Member:
        """A spare one that has loaded, else a new one."""
        for member in self._members.values():
            if member.spare and member.loaded and not member.going and member.place is not None:
                member.place.worker = None
                member.place, member.spare = None, False
                self._effects.append(LetThrough(member.worker))
                return member
        return self._start(now, None, spare=False)

    def _start(self, now: float, place: Place | None, *, spare: bool) -> Member:
        member = Member(self._new_id(), place, spare)
        self._members[member.worker] = member
        self._started_at = now
        self._effects.append(Start(member.worker, spare))
        return member
