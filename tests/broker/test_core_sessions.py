"""Sessions in the core: a lease on a worker, its end, and the end of its owner."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from broker_peers import POOL, Bench, details, id128

from maitred.broker.core.effects import Peer, Side
from maitred.broker.core.sessions import MAX_ASKERS
from maitred.broker.core.settings import ClientSettings, PoolSettings
from maitred.protocol import messages as m

CLIENT = id128(7)
SESSION = id128(50)


def sticky(n: int, session: bytes = SESSION, command: str = "echo", **fields: Any) -> m.Request:
    return m.Request(n, POOL, command, session=session, **fields)


class House:
    """A client, an agent, workers."""

    def __init__(self, workers: int = 2, slots: int = 1, started_ago_s: float = 100.0, **pool: Any) -> None:
        self.bench = Bench(pools=[PoolSettings(POOL, **pool), PoolSettings("other")])
        self.bench.now += started_ago_s  # the time in which a new broker supposes sessions is over
        self.bench.perform(self.bench.core.tick(self.bench.now))
        self.client = self.bench.client()
        self.agent = self.bench.agent()
        self.workers: dict[int, Peer] = {}
        for n in range(workers):
            self.worker(100 + 10 * n, slots)

    def worker(self, number: int, slots: int = 1) -> Peer:
        self.bench.tell(self.agent, m.Spawned(id128(number), number))
        self.workers[number] = self.bench.worker(number, slots)
        return self.workers[number]

    def open(self, session: bytes = SESSION, request_id: int = 1000, **fields: Any) -> dict[str, Any]:
        answers = self.bench.say(self.client, m.Open(request_id, session, POOL, **fields), b"\x80")
        (reply, body) = answers[-1]
        assert isinstance(reply, m.Reply), details((reply, body))
        return msgpack.unpackb(body[0])

    def orders(self) -> dict[int, list[Any]]:
        """What each worker was sent about sessions and requests."""
        kinds = m.SessionOpen | m.SessionClose | m.Dispatch | m.WorkerCancel
        return {
            number: [message for message, _ in self.bench.take(peer) if isinstance(message, kinds)]
            for number, peer in self.workers.items()
        }

    def owner(self) -> int:
        (owner,) = [n for n, orders in self.orders().items() if any(isinstance(one, m.SessionOpen) for one in orders)]
        return owner

    def answer(self, worker: int, *numbers: int, attempt: int = 1) -> None:
        for number in numbers:
            self.bench.tell(self.workers[worker], m.WorkerReply(CLIENT, number, attempt, 0.01), b"r")

    def kill(self, worker: int, *started: int, cause: str = "signal") -> None:
        died = m.Died(id128(worker), m.Certificate(cause), [(CLIENT, n) for n in started])
        del self.workers[worker]
        self.bench.tell(self.agent, died)

    def said(self) -> list[Any]:
        return [message for message, _ in self.bench.take(self.client) if not isinstance(message, m.Heartbeat)]

    def wait(self, seconds: float) -> None:
        end = self.bench.now + seconds
        while self.bench.now < end:
            self.bench.advance(min(0.5, end - self.bench.now))
            for peer in (self.client, self.agent, *self.workers.values()):
                self.bench.tell(peer, m.Heartbeat())


def test_the_owner_is_told_before_anything_runs_and_runs_all_of_it() -> None:
    house = House()
    shown = house.open(ttl=60.0)
    assert (shown["pool"], shown["epoch"], shown["ttl"]) == (POOL, 1, 60.0)
    house.bench.tell(house.client, sticky(1), b"")
    orders = house.orders()
    ((owner, (opened, order)),) = [(n, found) for n, found in orders.items() if found]
    assert opened == m.SessionOpen(SESSION, CLIENT, 1, 60.0)
    assert (order.id, order.session) == (1, SESSION)
    assert shown["owner"] == id128(owner).hex()
    house.answer(owner, 1)
    ((reply, _),) = house.bench.take(house.client)
    assert reply == m.Reply(1, 1, m.LEVEL_OK, 1)
    for n in range(2, 30):
        house.bench.tell(house.client, m.Request(100 + n, POOL, "echo"), b"")  # others keep the workers busy
        house.bench.tell(house.client, sticky(n), b"")
    seen: list[int] = []
    for _ in range(200):
        for worker, found in house.orders().items():
            for one in found:
                if one.session is not None:
                    assert worker == owner
                    seen.append(one.id)
                house.answer(worker, one.id)
    assert seen == list(range(2, 30))


def test_one_at_a_time_although_its_owner_runs_several() -> None:
    house = House(workers=1, slots=4)
    house.open()
    for n in (1, 2, 3):
        house.bench.tell(house.client, sticky(n), b"")
    house.bench.tell(house.client, m.Request(9, POOL, "echo"), b"")
    assert [one.id for one in house.orders()[100] if isinstance(one, m.Dispatch)] == [1, 9]
    house.answer(100, 1)
    assert [one.id for one in house.orders()[100]] == [2]


def test_new_sessions_go_where_there_are_fewest() -> None:
    house = House(workers=3)
    for n in range(9):
        house.open(id128(200 + n), 1000 + n)
    opened = {n: sum(isinstance(one, m.SessionOpen) for one in found) for n, found in house.orders().items()}
    assert opened == {100: 3, 110: 3, 120: 3}


def test_it_waits_for_its_owner_and_holds_up_nobody() -> None:
    house = House()
    house.open()
    owner = house.owner()
    other = 210 - owner
    house.bench.tell(house.client, sticky(1), b"")
    house.bench.tell(house.client, sticky(2), b"")
    house.bench.tell(house.client, m.Request(3, POOL, "echo"), b"")
    orders = house.orders()
    assert [one.id for one in orders[owner]] == [1]
    assert [one.id for one in orders[other]] == [3]
    house.answer(other, 3)
    assert house.orders()[other] == []
    assert house.bench.core.table("pools", house.bench.now)[0]["queued"] == 1


def test_who_came_first_is_served_first_whether_of_a_session_or_not() -> None:
    house = House(workers=1)
    house.open()
    house.bench.tell(house.client, m.Request(1, POOL, "echo"), b"")
    for n in range(2, 8):
        house.bench.now += 0.01
        request = sticky(n, id128(60)) if n == 3 else sticky(n) if n % 2 else m.Request(n, POOL, "echo")
        if n == 3:
            house.open(id128(60), 1001)
        house.bench.tell(house.client, request, b"")
    served: list[int] = []
    for _ in range(7):
        for one in house.orders()[100]:
            if isinstance(one, m.Dispatch):
                served.append(one.id)
                house.answer(100, one.id)
    assert served == [1, 2, 3, 4, 5, 6, 7]


def test_who_says_nothing_of_affinity_gets_the_pool_s() -> None:
    house = House(affinity=m.FAIL_FAST)
    assert house.open()["affinity"] == "fail_fast"
    assert house.open(id128(51), 1001, affinity=m.STRICT)["affinity"] == "strict"
    (opened, *_) = [one for orders in house.orders().values() for one in orders if one.session == SESSION]
    assert opened.affinity == m.FAIL_FAST
    for n in (1, 2):
        house.bench.tell(house.client, sticky(n), b"")
    (refused,) = house.said()
    assert (refused.id, refused.code) == (2, "resource_exhausted")


@pytest.mark.parametrize("override", [False, True])
def test_fail_fast_is_refused_where_the_owner_is_busy(override: bool) -> None:
    house = House()
    house.open(affinity=m.STRICT if override else m.FAIL_FAST)
    house.bench.tell(house.client, sticky(1), b"")
    asked = sticky(2, affinity=m.FAIL_FAST if override else None)
    code, said = details(house.bench.say(house.client, asked, b"")[-1])
    assert (code, said["reason"]) == ("resource_exhausted", "session_busy")
    house.bench.tell(house.client, sticky(3, affinity=m.STRICT), b"")
    assert house.said() == []


def test_prefer_goes_elsewhere_and_says_so() -> None:
    house = House()
    house.open(affinity=m.PREFER)
    owner = house.owner()
    other = 210 - owner
    house.bench.tell(house.client, sticky(1), b"")
    house.bench.tell(house.client, sticky(2), b"")
    (order,) = house.orders()[other]
    assert (order.id, order.session) == (2, None)
    house.answer(other, 2)
    assert house.said() == [m.Reply(2, 1, m.LEVEL_OK, 0)]
    house.bench.tell(house.client, m.Request(3, POOL, "echo"), b"")
    house.bench.tell(house.client, sticky(4), b"")  # nobody is idle: it waits for its owner
    house.answer(owner, 1)
    assert [one.session for one in house.orders()[owner]] == [SESSION]


def test_ttl_counts_from_the_last_reply_and_the_owner_is_told_of_the_end() -> None:
    house = House()
    house.open(ttl=1.0)
    owner = house.owner()
    house.wait(0.6)
    house.bench.tell(house.client, sticky(1), b"")
    house.wait(5.0)  # it runs for longer than that
    house.answer(owner, 1)
    house.wait(0.9)
    house.bench.tell(house.client, sticky(2), b"")
    house.answer(owner, 2)
    house.said()
    house.orders()
    house.wait(1.05)
    assert house.orders()[owner] == [m.SessionClose(SESSION, "expired")]
    assert [one.reason for one in house.said()] == ["expired"]
    assert details(house.bench.say(house.client, sticky(3), b"")[0])[0] == "session_not_found"


def test_its_time_is_looked_at_by_access_too() -> None:
    house = House()
    house.open(ttl=1.0)
    house.bench.now += 1.5  # nobody ticked
    assert details(house.bench.say(house.client, sticky(1), b"")[-1])[0] == "session_not_found"


def test_renew_and_attach() -> None:
    house = House()
    house.open(ttl=1.0)
    another = house.bench.client(8)
    for n in range(4):
        house.wait(0.7)
        verb = "attach" if n % 2 else "renew"
        ((reply, _),) = house.bench.say(another, m.Session(n, SESSION, verb))
        assert isinstance(reply, m.Reply)
    house.bench.tell(house.client, m.Session(50, SESSION, "close"))
    assert [message for message, _ in house.bench.take(another)] == [m.SessionEnded(SESSION, "closed")]
    code, said = details(house.bench.say(another, m.Session(9, SESSION, "renew"))[0])
    assert (code, said["session"]) == ("session_not_found", SESSION.hex())
    assert details(house.bench.say(another, m.Session(9, SESSION, "stop"))[0])[0] == "invalid_argument"


def test_closing_ends_what_waits_and_stops_what_runs_and_then_tells_the_owner() -> None:
    house = House()
    house.open()
    owner = house.owner()
    for n in (1, 2, 3):
        house.bench.tell(house.client, sticky(n), b"")
    house.orders()
    house.said()
    house.bench.tell(house.client, m.Session(50, SESSION, "close"))
    said = house.said()
    assert [one.id for one in said if isinstance(one, m.Error)] == [2, 3]
    assert house.orders()[owner] == [m.WorkerCancel(CLIENT, 1, "cancelled")]
    house.answer(owner, 1)
    assert house.orders()[owner] == [m.SessionClose(SESSION, "closed")]
    assert house.bench.core.table("sessions", house.bench.now) == []


def test_without_a_snapshot_its_owners_death_is_told_at_once_and_to_whoever_asks_again() -> None:
    house = House(workers=3)
    house.open(ttl=60.0)
    owner = house.owner()
    for n in (1, 2, 3):
        house.bench.tell(house.client, sticky(n, command="safe"), b"")
    house.said()
    house.kill(owner, 1, cause="oom")
    answers = house.bench.take(house.client)
    errors = {message.id: details((message, body)) for message, body in answers if isinstance(message, m.Error)}
    assert set(errors) == {1, 2, 3}
    for code, said in errors.values():
        assert (code, said["certificate"]["cause"]) == ("session_lost", "oom")
    (ended,) = [(message, body) for message, body in answers if isinstance(message, m.SessionEnded)]
    assert ended[0] == m.SessionEnded(SESSION, "lost")
    assert msgpack.unpackb(ended[1][0])["certificate"]["cause"] == "oom"
    assert details(house.bench.say(house.client, sticky(4), b"")[0])[0] == "session_lost"
    assert all(not found for found in house.orders().values()), "a fresh worker in silence"
    assert details(house.bench.say(house.client, m.Session(5, SESSION, "attach"))[0])[0] == "session_lost"
    house.wait(61.0)
    assert details(house.bench.say(house.client, sticky(6), b"")[-1])[0] == "session_not_found"
    assert house.open(id128(51), 2000)["epoch"] == 1


def test_with_a_snapshot_it_moves_and_says_so() -> None:
    house = House(workers=3)
    house.open()
    owner = house.owner()
    house.bench.tell(house.client, sticky(9), b"")
    house.answer(owner, 9)
    house.bench.tell(house.workers[owner], m.Snapshot(SESSION, 1, 1), b"state", b"buffer")
    house.bench.tell(house.client, sticky(8), b"")
    house.answer(owner, 8)
    for n, command in ((1, "echo"), (2, "safe"), (3, "echo")):
        house.bench.tell(house.client, sticky(n, command=command), b"")
    house.orders()
    house.said()
    house.kill(owner, 1)
    orders = house.orders()
    ((heir, found),) = [(n, found) for n, found in orders.items() if found]
    assert [type(one) for one in found] == [m.SessionOpen, m.Dispatch]
    assert (found[0].epoch, found[0].restore, found[1].id) == (2, True, 2)
    said = house.said()
    assert m.SessionMoved(SESSION, 2, answered=2, kept=1) in said
    (lost,) = [one for one in said if isinstance(one, m.Error)]
    assert (lost.id, lost.code) == (1, "worker_lost")
    house.answer(heir, 2, 3)
    assert [one.epoch for one in house.said() if isinstance(one, m.Reply)] == [2, 2]


def test_an_idempotent_one_that_ran_runs_again_first() -> None:
    house = House()
    house.open()
    owner = house.owner()
    house.bench.tell(house.workers[owner], m.Snapshot(SESSION, 1), b"state")
    for n in (1, 2):
        house.bench.tell(house.client, sticky(n, command="safe"), b"")
    house.kill(owner, 1)
    (heir,) = house.workers
    (opened, order) = house.orders()[heir]
    assert isinstance(opened, m.SessionOpen)
    assert (order.id, order.attempt) == (1, 2)


def test_a_session_that_moves_waits_for_a_worker() -> None:
    house = House(workers=1)
    house.open()
    house.bench.tell(house.workers[100], m.Snapshot(SESSION, 1), b"state")
    house.kill(100)
    house.bench.tell(house.client, sticky(1), b"")
    assert all(not isinstance(one, m.Error) for one in house.said())
    house.worker(200)
    assert [type(one) for one in house.orders()[200]] == [m.SessionOpen, m.Dispatch]


def test_opening_waits_for_a_worker_too_but_not_for_ever() -> None:
    house = House(workers=0, timeout_s=2.0)
    house.bench.tell(house.client, m.Open(1, SESSION, POOL), b"\x80")
    house.wait(1.0)
    assert house.said() == []
    house.worker(100)
    assert [type(one) for one in house.said()] == [m.Reply]
    house.kill(100)
    house.said()
    house.bench.tell(house.client, m.Open(2, id128(51), POOL), b"\x80")
    house.wait(2.2)
    (error,) = house.said()
    assert (error.id, error.code) == (2, "unavailable")


def test_a_worker_that_leaves_hands_its_sessions_on_or_ends_them() -> None:
    house = House(workers=1)
    house.open()
    house.open(id128(51), 1001)
    house.bench.tell(house.workers[100], m.Snapshot(SESSION, 1), b"state")
    house.worker(200)
    house.orders()
    house.bench.tell(house.workers[100], m.Leave())
    (opened,) = house.orders()[200]
    assert (opened.session, opened.epoch) == (SESSION, 2)
    said = house.said()
    assert m.SessionEnded(id128(51), "drain") in said
    assert m.SessionMoved(SESSION, 2) in said
    code, lost = details(house.bench.say(house.client, sticky(1, id128(51)), b"")[0])
    assert (code, lost["certificate"]["cause"]) == ("session_lost", "drain")


def test_a_session_whose_hook_raised_is_lost() -> None:
    house = House()
    house.open()
    owner = house.owner()
    house.bench.tell(house.client, sticky(1), b"")
    house.bench.tell(house.workers[owner], m.SessionFailed(SESSION, 1, "ValueError: no such model"), b"\x80")
    assert m.SessionEnded(SESSION, "failed") in house.said()
    code, said = details(house.bench.say(house.client, sticky(2), b"")[0])
    assert (code, said["reason"]) == ("session_lost", "failed")


def test_a_snapshot_that_is_too_large_or_not_its_owners_is_not_kept() -> None:
    house = House(max_snapshot_bytes=10)
    house.open()
    owner = house.owner()
    (other,) = set(house.workers) - {owner}
    house.bench.tell(house.workers[owner], m.Snapshot(SESSION, 1), b"x" * 5)
    house.bench.tell(house.workers[owner], m.Snapshot(SESSION, 7), b"y" * 6)
    house.bench.tell(house.workers[other], m.Snapshot(SESSION, 1), b"z" * 6)
    (row,) = house.bench.core.table("sessions", house.bench.now)
    assert row["snapshot_bytes"] == 5
    house.bench.tell(house.workers[owner], m.Snapshot(SESSION, 1), b"x" * 11)
    (row,) = house.bench.core.table("sessions", house.bench.now)
    assert row["snapshot_bytes"] is None
    assert list(house.bench.events("session.snapshot_too_large"))


def test_another_pools_command_is_refused_and_no_pool_means_the_sessions() -> None:
    house = House()
    house.open()
    code, said = details(house.bench.say(house.client, m.Request(1, "other", "echo", session=SESSION), b"")[-1])
    assert (code, said["pool"]) == ("session_pool_mismatch", POOL)
    house.bench.tell(house.client, m.Request(2, None, "echo", session=SESSION), b"")
    assert [one.id for found in house.orders().values() for one in found if isinstance(one, m.Dispatch)] == [2]


def test_sessions_are_bounded_for_the_pool_and_for_a_client() -> None:
    house = House(max_sessions=5)
    for n in range(5):
        house.open(id128(200 + n), 1000 + n)
    code, said = details(house.bench.say(house.client, m.Open(2000, SESSION, POOL), b"\x80")[-1])
    assert (code, said["reason"]) == ("resource_exhausted", "max_sessions")
    assert list(house.bench.events("pool.sessions"))
    bench = Bench(client=lambda _: ClientSettings(max_sessions=1))
    client = bench.client()
    bench.worker()
    assert isinstance(bench.say(client, m.Open(1, id128(60), POOL), b"\x80")[-1][0], m.Reply)
    code, said = details(bench.say(client, m.Open(2, id128(61), POOL), b"\x80")[-1])
    assert (code, said["reason"]) == ("resource_exhausted", "client_sessions")
    bench.say(client, m.Session(3, id128(60), "close"))
    assert isinstance(bench.say(client, m.Open(4, id128(62), POOL), b"\x80")[-1][0], m.Reply)


def test_metadata_is_bounded_and_an_id_is_used_once() -> None:
    house = House()
    code, _ = details(house.bench.say(house.client, m.Open(1, SESSION, POOL), b"x" * 20_000)[-1])
    assert code == "payload_too_large"
    house.open()
    code, said = details(house.bench.say(house.client, m.Open(2, SESSION, POOL), b"\x80")[-1])
    assert (code, said["argument"]) == ("invalid_argument", "session")


# --- a broker that was restarted ---


def test_a_new_broker_learns_of_sessions_from_their_workers_and_asks_nobody_to_call_again() -> None:
    house = House(workers=1, started_ago_s=0.0)
    house.bench.tell(house.client, m.Session(1, SESSION, "attach"))
    house.bench.tell(house.client, sticky(2), b"")
    assert house.said() == []
    held = m.SessionHeld(SESSION, CLIENT, 3, 60.0, 20.0, served=5)
    house.bench.tell(house.workers[100], held, b"\x81\xa1a\x01")
    (order,) = [one for one in house.orders()[100] if isinstance(one, m.Dispatch)]
    assert (order.id, order.session) == (2, SESSION)
    house.answer(100, 2)
    said = house.said()
    assert [type(one) for one in said] == [m.Reply, m.Reply]
    assert said[1].epoch == 3
    (row,) = house.bench.core.table("sessions", house.bench.now)
    assert (row["epoch"], row["ttl"], row["metadata"], row["requests"]) == (3, 60.0, {"a": 1}, 6)


def test_what_is_left_of_its_time_survives_the_restart() -> None:
    house = House(workers=1, started_ago_s=0.0)
    house.bench.tell(house.workers[100], m.SessionHeld(SESSION, CLIENT, 1, 60.0, 2.0), b"\x80")
    house.wait(2.2)
    assert house.orders()[100][-1] == m.SessionClose(SESSION, "expired")


def test_what_no_worker_speaks_of_within_the_settling_time_is_not_there() -> None:
    house = House(workers=1, started_ago_s=0.0)
    house.bench.tell(house.client, sticky(1), b"")
    house.bench.tell(house.client, m.Session(2, SESSION, "attach"))
    house.wait(5.5)
    assert house.said() == []
    house.wait(1.0)
    assert {(one.id, one.code) for one in house.said()} == {(1, "session_not_found"), (2, "session_not_found")}
    assert not house.bench.core.state.sessions


def test_a_worker_that_holds_what_another_owns_by_now_is_told_to_free_it() -> None:
    house = House()
    house.open()
    owner = house.owner()
    (other,) = set(house.workers) - {owner}
    house.bench.tell(house.workers[other], m.SessionHeld(SESSION, CLIENT, 1, 60.0, 20.0), b"\x80")
    assert house.orders()[other] == [m.SessionClose(SESSION, "lost")]


def test_ten_thousand_sessions_are_small_and_their_sweep_is_short() -> None:
    import time
    import tracemalloc

    house = House(workers=4)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    check, house.bench.core.check = house.bench.core.check, lambda: None  # type: ignore[method-assign]
    for n in range(10_000):
        house.open(id128(10_000 + n), 1000 + n, ttl=50.0)
        if not n % 100:
            house.orders()
            house.bench.notes.clear()
    house.orders()
    house.bench.notes.clear()
    each = (tracemalloc.get_traced_memory()[0] - before) / 10_000
    tracemalloc.stop()
    assert each <= 2048, each
    house.bench.now += 49.0
    began = time.perf_counter()
    house.bench.core.tick(house.bench.now)
    assert time.perf_counter() - began < 0.005
    check()
    assert house.bench.peer(Side.CLIENTS)


def test_a_session_that_found_only_a_suspect_worker_has_an_owner_soon_after_it_is_heard_of() -> None:
    bench = Bench()
    client, agent, worker = bench.client(), bench.agent(), bench.worker()
    bench.tell(agent, m.Spawned(id128(100), 1))
    for _ in range(8):
        bench.advance(0.5)
        bench.tell(agent, m.Vouch([]))
    assert bench.row("workers")["state"] == "suspect"
    bench.take(worker)
    bench.tell(client, m.Open(1, id128(900), POOL, 60.0), b"\x80")
    bench.tell(worker, m.Heartbeat())
    bench.advance(1.1)
    assert any(isinstance(message, m.SessionOpen) for message, _ in bench.take(worker))


def test_nothing_is_sent_ahead_to_a_worker_at_which_a_session_waits() -> None:
    bench = Bench()
    worker = bench.worker(100, 1, prefetch=1)
    clients = [bench.client(number) for number in (7, 8, 9)]
    for number, client in enumerate(clients[:2]):
        bench.tell(client, m.Open(1, id128(50 + number), POOL), b"\x80")
        bench.tell(client, m.Request(2, POOL, "echo", session=id128(50 + number)), b"x")
    assert len(bench.core.state.pools[POOL].ready) == 0
    bench.tell(clients[1], m.Cancel(2))
    assert len(bench.core.state.pools[POOL].ready) == 1
    assert len(bench.orders(worker)) == 1


def test_no_more_than_so_many_questions_wait_for_an_owner() -> None:
    house = House(workers=0)
    assert house.bench.say(house.client, m.Open(1, SESSION, POOL), b"\x80") == []
    for n in range(2, MAX_ASKERS + 1):
        assert house.bench.say(house.client, m.Session(n, SESSION, ("attach", "renew")[n % 2])) == []
    code, known = details(house.bench.say(house.client, m.Session(9999, SESSION, "renew"))[0])
    assert (code, known["reason"], known["capacity"]) == ("resource_exhausted", "session_askers", MAX_ASKERS)
    assert len(house.bench.core.state.sessions[SESSION].askers) == MAX_ASKERS
    house.worker(100)
    assert len(house.bench.take(house.client)) == MAX_ASKERS


def test_a_new_broker_supposes_no_more_sessions_than_may_be_open() -> None:
    bench = Bench(pools=[PoolSettings(POOL, max_sessions=3)])
    client = bench.client()
    for number in range(5):
        bench.say(client, m.Session(number, id128(900 + number), "attach"))
    assert len(bench.core.state.sessions) == 3
