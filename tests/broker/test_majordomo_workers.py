"""Workers that speak Majordomo's protocol, by what RFC 7 and RFC 18 say of them: hand-made frames on the core's bench."""

from __future__ import annotations

import pytest
from broker_peers import details
from majordomo_peers import (
    ECHO,
    PACKED,
    RAW,
    MajordomoBench,
    answer,
    call,
    disconnect,
    heartbeat,
    partial,
    reply,
    worker,
)

from maitred.broker.core.effects import Peer, Side
from maitred.broker.core.policy import OPEN, Policy, Principal
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m
from maitred.protocol.body import decode_body, encode_body

VERSIONS = pytest.mark.parametrize("version", [1, 2])


def ask(bench: MajordomoBench, *body: bytes, version: int = 1) -> Peer:
    client = bench.peer(Side.CLIENTS)
    assert bench.put(client, *call(version, b"echo", *body)) == []
    return client


# --- opening and closing a connection ---


@VERSIONS
def test_ready_registers_a_worker_and_is_not_answered(version: int) -> None:
    bench = MajordomoBench()
    bench.old_worker(version)
    row = bench.row("workers")
    assert (row["pool"], row["state"]) == (ECHO, "idle")


@VERSIONS
@pytest.mark.parametrize("delimiter", [True, False])
def test_a_second_ready_is_answered_with_disconnect_in_the_form_that_the_worker_speaks(version, delimiter) -> None:
    bench = MajordomoBench()
    peer = bench.old_worker(version, delimiter=delimiter)
    ready = worker(version, b"\x01", b"echo", delimiter=delimiter)
    assert bench.put(peer, *ready) == [disconnect(version, delimiter=delimiter)]
    assert bench.core.table("workers", bench.now) == []
    assert bench.put(peer, *ready) == []  # it has begun anew


@VERSIONS
@pytest.mark.parametrize("service", [b"nobody", b"mmi.service", b"\xff\xfe", b"", b"x" * 600])
def test_ready_of_what_is_no_pool_is_answered_with_disconnect(version: int, service: bytes) -> None:
    bench = MajordomoBench()
    assert bench.put(bench.peer(Side.WORKERS), *worker(version, b"\x01", service)) == [disconnect(version)]
    assert bench.core.table("workers", bench.now) == []


@VERSIONS
def test_what_comes_before_ready_is_answered_with_disconnect(version: int) -> None:
    bench = MajordomoBench()
    assert bench.put(bench.peer(Side.WORKERS), *heartbeat(version)) == [disconnect(version)]
    assert bench.put(bench.peer(Side.WORKERS), *reply(version, b"1", [b"x"])) == [disconnect(version)]
    assert bench.put(bench.peer(Side.WORKERS), *disconnect(version)) == []  # "including before READY"


@VERSIONS
def test_a_worker_that_says_disconnect_is_told_nothing_more(version: int) -> None:
    bench = MajordomoBench()
    peer = bench.old_worker(version)
    assert bench.put(peer, *disconnect(version)) == []
    ask(bench, b"x")
    bench.advance(30)
    assert bench.got(peer) == []
    assert next(bench.events("worker.left"))


@VERSIONS
@pytest.mark.parametrize(
    "broken",
    [
        [b"\x09"],
        [],
        [b"\x01"],
        [b"\x02", b"1", b"", b"x"],
        [b"\x03", b"1"],
        [b"\x03", b"1", b"no", b"x"],
        [b"\x03", b"", b""],
        [b"\x03", b"a" * 256, b""],
        [b"\x01", b"echo", b"more"],
        [b"long"],
    ],
)
def test_a_broken_frame_ends_the_connection(version: int, broken: list[bytes]) -> None:
    bench = MajordomoBench()
    peer = bench.old_worker(version)
    assert bench.put(peer, b"", b"MDPW0%d" % version, *broken) == [disconnect(version)]
    assert bench.core.table("workers", bench.now) == []


@VERSIONS
def test_a_worker_on_the_clients_port_is_refused_and_so_is_ready_from_a_client(version: int) -> None:
    bench = MajordomoBench()
    assert bench.put(bench.peer(Side.CLIENTS), *worker(version, b"\x01", b"echo")) == [disconnect(version)]
    client = ask(bench, b"x", version=version)
    assert bench.put(client, *worker(version, b"\x01", b"echo")) == [disconnect(version)]
    both = bench.peer(Side.MAJORDOMO)
    bench.put(both, *call(1, b"echo", b"x"))
    assert bench.put(both, *worker(version, b"\x01", b"echo")) == [disconnect(version)]


def test_a_worker_that_asks_is_no_worker_any_more() -> None:
    bench = MajordomoBench()
    peer = bench.old_worker(2, Side.MAJORDOMO)
    assert bench.put(peer, *call(1, b"echo", b"x")) == [disconnect(2)]


def test_messages_of_ours_from_such_a_worker_end_its_connection() -> None:
    bench = MajordomoBench()
    peer = bench.old_worker()
    bench.tell(peer, m.Beat())
    assert bench.got(peer) == [disconnect(1)]


# --- requests and answers ---


@VERSIONS
@pytest.mark.parametrize("asking", [1, 2])
@pytest.mark.parametrize("body", [[b"x"], [], [b"", b"\x00\xff", b"z" * 100_000], [b"%d" % n for n in range(50)]])
def test_bodies_pass_byte_for_byte(version: int, asking: int, body: list[bytes]) -> None:
    bench = MajordomoBench(PACKED)
    peer = bench.old_worker(version)
    client = ask(bench, *body, version=asking)
    address, given = bench.order(peer)
    assert given == body
    assert 0 < len(address) <= 255
    bench.put(peer, *reply(version, address, body[::-1]))
    assert bench.got(client) == [answer(asking, b"echo", *body[::-1])]
    assert bench.row("workers")["state"] == "idle"


def test_one_request_at_a_time() -> None:
    bench = MajordomoBench()
    peer = bench.old_worker()
    ask(bench, b"1")
    ask(bench, b"2")
    first, body = bench.order(peer)
    assert body == [b"1"]
    bench.poke(peer, *reply(1, first, [b""]))
    second, body = bench.order(peer)
    assert (body, second != first) == ([b"2"], True)


def test_an_answer_to_another_request_than_the_one_it_has_is_dropped_and_counted() -> None:
    bench = MajordomoBench()
    peer = bench.old_worker()
    client = ask(bench, b"1")
    address, _ = bench.order(peer)
    assert bench.put(peer, *reply(1, b"other", [b"no"])) == []
    assert bench.got(client) == []
    bench.put(peer, *reply(1, address, [b"yes"]))
    bench.put(peer, *reply(1, address, [b"again"]))
    assert bench.got(client) == [answer(1, b"echo", b"yes")]
    assert len(list(bench.events("reply.unexpected"))) == 2


def test_parts_reach_a_client_of_the_same_version_as_they_come() -> None:
    bench = MajordomoBench()
    peer = bench.old_worker(2)
    client = ask(bench, b"x", version=2)
    address, _ = bench.order(peer)
    bench.put(peer, *partial(address, b"1", b"one"))
    assert bench.got(client) == [answer(2, b"echo", b"1", b"one", number=b"\x02")]
    bench.put(peer, *partial(address))
    bench.put(peer, *reply(2, address, [b"end"]))
    assert bench.got(client) == [answer(2, b"echo", number=b"\x02"), answer(2, b"echo", b"end")]


def test_parts_for_a_client_that_knows_none_stand_before_the_end() -> None:
    bench = MajordomoBench()
    peer = bench.old_worker(2)
    client = ask(bench, b"x", version=1)
    address, _ = bench.order(peer)
    bench.put(peer, *partial(address, b"1", b"one"))
    bench.put(peer, *partial(address, b"2"))
    assert bench.got(client) == []
    bench.put(peer, *reply(2, address, [b"end"]))
    assert bench.got(client) == [answer(1, b"echo", b"1", b"one", b"2", b"end")]


@pytest.mark.parametrize(("count", "size"), [(61, 1), (3, 400)])
def test_parts_that_no_single_answer_has_room_for_are_an_error_and_not_lost_in_silence(count: int, size: int) -> None:
    bench = MajordomoBench(max_message_bytes=1000)
    peer = bench.old_worker(2)
    client = ask(bench, b"x", version=1)
    address, _ = bench.order(peer)
    for _ in range(count):
        assert bench.put(peer, *partial(address, b"p" * size)) == []
    assert bench.row("workers")["state"] == "busy"
    bench.put(peer, *reply(2, address, [b"end"]))
    ((*_, mark, why),) = bench.got(client)
    assert mark == b"maitred.error"
    assert b'"payload_too_large"' in why
    assert bench.row("workers")["state"] == "idle"


def test_a_request_that_nobody_waits_for_is_abandoned_and_its_answer_dropped() -> None:
    bench = MajordomoBench()
    peer, client = bench.old_worker(), bench.client()
    bench.ask(client, 1, "run", *encode_body({"body": b"x"}), timeout=3.0)
    address, _ = bench.order(peer)
    bench.say(client, m.Cancel(1))
    assert bench.got(peer) == []  # there is no word for it
    bench.advance(3.0)
    assert details(bench.take(client)[0])[0] in ("cancelled", "deadline_exceeded")
    bench.ask(client, 2, "run", *encode_body({"body": b"y"}))
    assert [frames for frames in bench.got(peer) if frames != heartbeat(1)] == []
    bench.put(peer, *reply(1, address, [b"late"]))
    assert bench.take(client) == []
    assert bench.row("workers")["state"] == "busy"


def test_a_worker_that_outlives_the_pools_time_out_is_lost() -> None:
    bench = MajordomoBench()
    peer = bench.old_worker()
    client = ask(bench, b"x")
    bench.order(peer)
    bench.advance(9.9)
    assert set(map(tuple, bench.got(peer))) == {tuple(heartbeat(1))}
    bench.advance(2.0)
    assert disconnect(1) in bench.got(peer)
    assert b"deadline_exceeded" in bench.got(client)[0][-1]
    assert next(bench.events("worker.died")).fields["cause"] == "timeout"


def test_a_request_may_take_longer_than_the_pools_time_out_where_its_client_says_so() -> None:
    bench = MajordomoBench(client_silence_s=100.0)
    peer, client = bench.old_worker(), bench.client()
    bench.ask(client, 1, "run", *encode_body({"body": b"x"}), timeout=60.0)
    address, _ = bench.order(peer)
    bench.advance(50.0)
    bench.poke(peer, *reply(1, address, [b"y"]))
    ((message, body),) = bench.take(client)
    assert (message.id, decode_body(body)) == (1, b"y")


# --- heartbeats, and ends of connections ---


@VERSIONS
def test_it_is_told_every_interval_that_the_broker_lives_while_it_waits_and_while_it_is_busy(version: int) -> None:
    bench = MajordomoBench(majordomo_heartbeat_s=0.5)
    peer = bench.old_worker(version)
    bench.advance(0.5)
    assert bench.got(peer) == [heartbeat(version)]
    ask(bench, b"x")
    bench.order(peer)
    bench.advance(1.0)
    assert bench.got(peer) == [heartbeat(version)] * 2


def test_one_that_waits_must_be_heard_and_one_that_is_busy_need_not() -> None:
    bench = MajordomoBench(PoolSettings(ECHO, timeout_s=60.0))
    peer = bench.old_worker()
    for _ in range(10):
        bench.advance(5.0)
        assert disconnect(1) not in bench.put(peer, *heartbeat(1))
    client = ask(bench, b"x")
    address = next(frames for frames in bench.got(peer) if frames[2] == b"\x02")[3]
    bench.advance(30.0)
    bench.put(peer, *reply(1, address, [b"y"]))
    assert bench.got(client) == [answer(1, b"echo", b"y")]
    bench.advance(7.4)
    assert len(bench.core.state.workers) == 1
    bench.advance(1.5)
    assert bench.got(peer)[-1] == disconnect(1)
    assert next(bench.events("worker.died")).fields["cause"] == "heartbeat"


def test_a_broker_that_stood_still_does_not_blame_those_who_waited_for_it() -> None:
    bench = MajordomoBench()
    peer = bench.old_worker()
    bench.now += 100.0
    bench.perform(bench.core.tick(bench.now))
    assert disconnect(1) not in bench.got(peer)
    assert len(bench.core.state.workers) == 1


def test_the_end_of_its_connection_is_its_death_and_the_caller_is_told() -> None:
    bench = MajordomoBench()
    peer = bench.old_worker()
    client = ask(bench, b"x")
    bench.order(peer)
    bench.perform(bench.core.hung_up(peer, bench.now))
    ((*_, mark, why),) = bench.got(client)
    assert mark == b"maitred.error"
    assert b'"worker_lost"' in why
    assert b"its connection has ended" in why
    died = next(bench.events("worker.died"))
    assert (died.fields["cause"], died.fields["note"]) == ("heartbeat", "its connection has ended")


def test_a_request_that_may_run_again_does_after_the_death_of_its_worker() -> None:
    bench = MajordomoBench()
    first, client = bench.old_worker(), bench.client()
    bench.ask(client, 1, "run", *encode_body({"body": b"x"}), idempotent=True)
    old, _ = bench.order(first)
    second = bench.old_worker(2)
    bench.perform(bench.core.hung_up(first, bench.now))
    address, body = bench.order(second)
    assert (body, address != old) == ([b"x"], True)
    bench.put(second, *reply(2, address, [b"done"]))
    ((message, result),) = bench.take(client)
    assert (message.attempt, decode_body(result)) == (2, b"done")


def test_an_order_that_could_not_be_sent_goes_to_another() -> None:
    bench = MajordomoBench()
    first = bench.old_worker()
    client = bench.peer(Side.CLIENTS)
    (forward,) = bench.core.receive(client, call(1, b"echo", b"x"), bench.now)
    assert forward.peer == first
    bench.perform(bench.core.all_undeliverable(first, [forward.message], bench.now))
    second = bench.old_worker()
    assert bench.order(second)[1] == [b"x"]


def test_disconnect_with_a_request_in_hand_is_a_death() -> None:
    bench = MajordomoBench()
    peer = bench.old_worker()
    client = ask(bench, b"x")
    bench.order(peer)
    bench.put(peer, *disconnect(1))
    assert b"worker_lost" in bench.got(client)[0][-1]


# --- as one of ours ---


def operate(bench: MajordomoBench, verb: str, target: str) -> None:
    client = bench.client()
    ((answered, _),) = bench.say(client, m.Operate(1, verb, target))
    assert isinstance(answered, m.Reply)


def test_one_that_is_to_go_gets_disconnect_once_it_is_idle() -> None:
    bench = MajordomoBench()
    idle = bench.old_worker()
    operate(bench, "drain", bench.row("workers")["id"])
    assert bench.got(idle) == [disconnect(1)]
    busy = bench.old_worker()
    client = ask(bench, b"x")
    address, _ = bench.order(busy)
    operate(bench, "recycle", bench.row("workers")["id"])
    assert bench.got(busy) == []
    assert bench.put(busy, *reply(1, address, [b"y"])) == [disconnect(1)]
    assert bench.got(client) == [answer(1, b"echo", b"y")]
    assert bench.core.table("workers", bench.now) == []


def test_one_whose_time_to_go_is_over_may_still_answer_and_gets_disconnect_then() -> None:
    bench = MajordomoBench(PoolSettings(ECHO, timeout_s=60.0, drain_timeout_s=2.0))
    peer = bench.old_worker()
    client = ask(bench, b"x")
    address, _ = bench.order(peer)
    operate(bench, "recycle", bench.row("workers")["id"])
    bench.advance(10.0)
    assert disconnect(1) not in bench.got(peer)
    assert bench.put(peer, *reply(1, address, [b"y"])) == [disconnect(1)]
    assert bench.got(client) == [answer(1, b"echo", b"y")]


def test_a_check_of_its_health_is_answered_for_it() -> None:
    bench = MajordomoBench(PoolSettings(ECHO, health_check_interval_s=1.0))
    peer = bench.old_worker()
    for _ in range(20):
        bench.advance(1.0)
        assert disconnect(1) not in bench.put(peer, *heartbeat(1))
    assert bench.row("workers")["state"] == "idle"
    assert not list(bench.events("worker.suspect"))


def test_it_is_never_given_a_session() -> None:
    bench = MajordomoBench()
    bench.old_worker()
    client = bench.client()
    assert bench.say(client, m.Open(1, b"s" * 16, ECHO), b"\x80") == []
    ours = bench.worker(pool=ECHO)
    assert [type(message) for message, _ in bench.take(ours)] == [m.Welcome, m.SessionOpen]
    assert [type(message) for message, _ in bench.take(client)] == [m.Reply]


def test_it_is_never_given_a_batch() -> None:
    bench = MajordomoBench(PACKED)
    ours = bench.worker(100, 1, m.CommandInfo("many", batch=8), pool=ECHO)
    client = bench.client()
    bench.take(ours)
    for number in range(6):
        bench.ask(client, number, "many", b"\x80")
    old = bench.old_worker()
    assert bench.order(old)[1] == [b"many", b"\x80"]
    assert bench.core.state.workers[bench.core.state.parties[old].id].load == 1


# --- who may ---


def registers(policy: Policy, user: str) -> bool:
    bench = MajordomoBench(policy=policy)
    frames = bench.put(bench.peer(Side.MAJORDOMO), *worker(1, b"\x01", b"echo"), user=user)
    refused = list(bench.events("auth.refused"))
    assert (frames == [disconnect(1)]) == bool(refused)
    return not refused


def test_who_may_serve() -> None:
    named = {"K" * 40: Principal("w", serve=("ec*",)), "C" * 40: Principal("c", call=(("*", "*"),))}
    assert not registers(Policy(secret="s"), "open:127.0.0.1")
    assert not registers(Policy(secret="s"), "user:0:1")
    assert registers(Policy(secret="s", majordomo=True), "open:127.0.0.1")
    assert registers(Policy(secret="s", majordomo=True), "user:0:1")
    assert registers(Policy(keys=named), "key:" + "K" * 40)
    assert not registers(Policy(keys=named, majordomo=True), "key:" + "C" * 40)
    assert not registers(Policy(keys=named, majordomo=True), "key:" + "U" * 40)
    assert not registers(Policy(keys=named, open=None, majordomo=True), "open:10.0.0.1")
    assert OPEN.serve == ()


def test_who_takes_the_name_of_a_connection_that_has_ended_speaks_for_nobody() -> None:
    """As in test_core_principals: a peer may choose its name, and the broker hears late that a connection has ended."""
    keys = {
        "W" * 40: Principal("work", serve=("echo",), keyed=True),
        "C" * 40: Principal("alice", call=(("echo", "*"),), keyed=True),
        "M" * 40: Principal("mallory", call=(("other", "*"),), keyed=True),
    }
    bench = MajordomoBench(policy=Policy(keys=keys, unnamed=None, open=None))
    old, client = bench.peer(Side.MAJORDOMO), bench.peer(Side.MAJORDOMO)
    bench.put(old, *worker(1, b"\x01", b"echo"), user="key:" + "W" * 40)
    bench.put(client, *call(1, b"echo", b"x"), user="key:" + "C" * 40)
    address, body = bench.order(old)
    assert body == [b"x"]
    mallory = "key:" + "M" * 40
    assert bench.put(old, *reply(1, address, [b"lie"]), user=mallory) == []
    assert bench.put(client, *call(1, b"echo", b"hers"), user=mallory) == []
    assert [note.fields["user"] for note in bench.notes if note.event == "auth.refused"] == ["key:MMMMMMMM…"] * 2
    assert len(bench.core.state.requests) == 1
    bench.put(old, *reply(1, address, [b"y"]), user="key:" + "W" * 40)
    assert bench.got(client) == [answer(1, b"echo", b"y")]


# --- our clients ---


def test_a_client_of_ours_in_a_raw_pool() -> None:
    bench = MajordomoBench(RAW)
    peer, client = bench.old_worker(), bench.client()
    large = b"l" * 100_000
    for number, (sent, frames, back, result) in enumerate(
        (
            (b"one", [b"one"], [b"r"], b"r"),
            ([b"a", b"b"], [b"a", b"b"], [b"r", b"s"], [b"r", b"s"]),
            ([], [], [], []),
            (large, [large], [large, b"x"], [large, b"x"]),
        )
    ):
        bench.ask(client, number, "run", *encode_body({"body": sent}))
        address, body = bench.order(peer)
        assert body == frames
        bench.put(peer, *reply(1, address, back))
        ((message, got),) = bench.take(client)
        assert isinstance(message, m.Reply)
        assert decode_body(got) == result


@pytest.mark.parametrize("args", [{"body": "text"}, {"body": [1]}, {"other": b"x"}, {"body": [b""] * 65}, [1], None])
def test_arguments_that_are_no_frames_are_refused_and_the_worker_is_told_nothing(args) -> None:
    bench = MajordomoBench(RAW)
    peer, client = bench.old_worker(), bench.client()
    ((error, body),) = bench.ask(client, 1, "run", *encode_body(args))
    assert details((error, body))[0] == "invalid_argument"
    assert bench.got(peer) == []
    assert bench.row("workers")["state"] == "idle"


def test_a_queue_of_unfit_requests_is_refused_one_after_another() -> None:
    bench = MajordomoBench(RAW)
    client = bench.client()
    for number in range(100):
        bench.ask(client, number, "run", *encode_body({"body": number}))
    peer = bench.old_worker()
    assert [details(it)[0] for it in bench.take(client)] == ["invalid_argument"] * 100
    assert bench.got(peer) == []


def test_another_command_than_the_pools_is_refused() -> None:
    bench = MajordomoBench(RAW)
    bench.old_worker()
    client = bench.client()
    (error,) = bench.ask(client, 1, "walk", *encode_body({"body": b"x"}))
    assert details(error)[0] == "unknown_command"


def test_a_client_of_ours_in_a_pool_of_msgpack() -> None:
    bench = MajordomoBench(PACKED)
    peer, client = bench.old_worker(2), bench.client()
    bench.ask(client, 1, "add", *encode_body({"a": 1}), window=4)
    address, body = bench.order(peer)
    assert body == [b"add", *encode_body({"a": 1})]
    bench.put(peer, *partial(address, *encode_body("part")))
    bench.put(peer, *reply(2, address, encode_body(2)))
    (part, first), (end, last) = bench.take(client)
    assert (part, decode_body(first)) == (m.Part(1, 1, 0), "part")
    assert (end, decode_body(last)) == (m.Reply(1, 1), 2)
    bench.ask(client, 2, "add", *encode_body({}))
    address, _ = bench.order(peer)
    bench.put(peer, *partial(address, *encode_body("nobody asked")))
    bench.put(peer, *reply(2, address, []))
    ((_, last),) = bench.take(client)
    assert decode_body(last) is None
