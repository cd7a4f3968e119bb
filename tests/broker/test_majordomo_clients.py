"""Clients that speak Majordomo's protocol: REQ and DEALER, both versions, workers of ours and theirs, errors, and MMI."""

from __future__ import annotations

import json

import msgpack
import pytest
from broker_peers import POOL
from majordomo_peers import ECHO, PACKED, RAW, MajordomoBench, answer, call, reply

from maitred.broker.core.effects import Forward, Peer, Side
from maitred.broker.core.majordomo_clients import WINDOW_PARTS
from maitred.broker.core.policy import Policy, Principal
from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m
from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.errors import Code

VERSIONS = pytest.mark.parametrize("version", [1, 2])


def our_worker(bench: MajordomoBench, *commands: str, **fields) -> Peer:
    peer = bench.worker(100, 1, *(m.CommandInfo(name) for name in commands or ("run",)), pool=ECHO, **fields)
    bench.take(peer)
    return peer


def order(bench: MajordomoBench, peer: Peer) -> tuple[m.Dispatch, list[bytes]]:
    ((message, body),) = bench.take(peer)
    assert isinstance(message, m.Dispatch)
    return message, list(body)


def end(bench: MajordomoBench, peer: Peer, given: m.Dispatch, *body: bytes) -> None:
    bench.tell(peer, m.WorkerReply(given.client, given.id, given.attempt), *body)


# --- workers of ours ---


@VERSIONS
@pytest.mark.parametrize("delimiter", [True, False])
@pytest.mark.parametrize("side", [Side.CLIENTS, Side.MAJORDOMO])
def test_a_request_to_a_worker_of_ours_by_msgpack(version: int, delimiter: bool, side: Side) -> None:
    bench = MajordomoBench(PACKED)
    ours = our_worker(bench, "add")
    client = bench.peer(side)
    arguments = msgpack.packb({"a": 1, "b": 2})
    assert bench.put(client, *call(version, b"echo", b"add", arguments, delimiter=delimiter)) == []
    given, body = order(bench, ours)
    assert (given.command, given.window, body) == ("add", WINDOW_PARTS if version == 2 else 0, [arguments])
    end(bench, ours, given, msgpack.packb(3), b"buffer")
    assert bench.got(client) == [answer(version, b"echo", msgpack.packb(3), b"buffer", delimiter=delimiter)]


@pytest.mark.parametrize("body", [[b"run"], [b"run", b""]])
def test_no_arguments_are_an_empty_map(body: list[bytes]) -> None:
    bench = MajordomoBench(PACKED)
    ours = our_worker(bench)
    bench.put(bench.peer(Side.CLIENTS), *call(1, b"echo", *body))
    assert decode_body(order(bench, ours)[1]) == {}


def test_a_pool_may_name_the_command_itself() -> None:
    bench = MajordomoBench(PoolSettings(ECHO, majordomo_command="add"))
    ours = our_worker(bench, "add")
    bench.put(bench.peer(Side.CLIENTS), *call(1, b"echo", b"\x81\xa1a\x01"))
    given, body = order(bench, ours)
    assert (given.command, body) == ("add", [b"\x81\xa1a\x01"])


@pytest.mark.parametrize("frames", [[], [b"one"], [b"a", b"", b"b" * 20_000, b"c" * 100_000, b"d" * 40_000]])
def test_raw_frames_are_an_argument_and_large_ones_are_not_copied(frames: list[bytes]) -> None:
    bench = MajordomoBench(RAW)
    ours = our_worker(bench)
    client = bench.peer(Side.CLIENTS)
    bench.put(client, *call(1, b"echo", *frames))
    given, body = order(bench, ours)
    assert decode_body(body) == {"body": frames}
    assert [frame for frame in frames if len(frame) > 32_768] == body[1:]
    assert all(any(one is other for other in frames) for one in body[1:])
    for result, back in ((frames, frames), (b"x", [b"x"])):
        end(bench, ours, given, *encode_body(result))
        assert bench.got(client) == [answer(1, b"echo", *back)]
        bench.put(client, *call(1, b"echo"))
        given, _ = order(bench, ours)


def test_a_result_that_is_no_frames_is_an_error_in_a_raw_pool() -> None:
    bench = MajordomoBench(RAW)
    ours = our_worker(bench)
    client = bench.peer(Side.CLIENTS)
    for result in (1, "text", [b"x", 1], None, {"body": b"x"}):
        bench.put(client, *call(1, b"echo"))
        end(bench, ours, order(bench, ours)[0], *encode_body(result))
        ((*_, mark, why),) = bench.got(client)
        assert (mark, json.loads(why)["code"]) == (b"maitred.error", "application_error")


@pytest.mark.parametrize("body", [[b"run", b"\x80", b"more"], [b"\xff"], [], [b"x" * 200], [b"a\nb"]])
def test_a_body_that_workers_of_ours_cannot_read_is_refused_at_once(body: list[bytes]) -> None:
    bench = MajordomoBench(PACKED)
    ours = our_worker(bench)
    ((*_, mark, why),) = bench.put(bench.peer(Side.CLIENTS), *call(1, b"echo", *body))
    assert (mark, msgpack.unpackb(why)["code"]) == (b"maitred.error", "invalid_argument")
    assert bench.take(ours) == []


def test_a_body_that_nobody_can_read_when_a_worker_comes_is_an_error_then() -> None:
    bench = MajordomoBench(PACKED)
    clients = [bench.peer(Side.CLIENTS) for _ in range(50)]
    for client in clients:
        assert bench.put(client, *call(2, b"echo", b"\xff")) == []
    our_worker(bench)
    for client in clients:
        ((*_, mark, why),) = bench.got(client)
        assert (mark, msgpack.unpackb(why)["code"]) == (b"maitred.error", "invalid_argument")
    assert bench.row("workers")["state"] == "idle"


def test_streams_of_ours_become_partials_and_are_granted_as_they_go() -> None:
    bench = MajordomoBench(PACKED)
    ours = our_worker(bench)
    client = bench.peer(Side.CLIENTS)
    bench.put(client, *call(2, b"echo", b"run"))
    given, _ = order(bench, ours)
    room = given.window
    for number in range(300):
        assert room > 0
        bench.tell(ours, m.WorkerPart(given.client, given.id, given.attempt, number), msgpack.packb(number))
        room += sum(it.parts for it, _ in bench.take(ours) if isinstance(it, m.WorkerGrant)) - 1
    assert room <= WINDOW_PARTS
    end(bench, ours, given, msgpack.packb("end"))
    *parts, last = bench.got(client)
    assert parts == [answer(2, b"echo", msgpack.packb(n), number=b"\x02") for n in range(300)]
    assert last == answer(2, b"echo", msgpack.packb("end"))


def test_parts_that_were_delivered_are_not_said_again_by_another_attempt() -> None:
    bench = MajordomoBench(PACKED)
    first = bench.worker(100, 1, m.CommandInfo("run", idempotent=True), pool=ECHO)
    client = bench.peer(Side.CLIENTS)
    bench.put(client, *call(2, b"echo", b"run"))
    bench.take(first)
    given = next(iter(bench.core.state.requests.values()))
    bench.tell(first, m.WorkerPart(*given.key, 1, 0), msgpack.packb("a"))
    second = bench.worker(200, 1, m.CommandInfo("run", idempotent=True), pool=ECHO)
    bench.perform(bench.core.all_undeliverable(first, (), bench.now))
    for number, value in enumerate("ab"):
        bench.tell(second, m.WorkerPart(*given.key, 2, number), msgpack.packb(value))
    assert [frames[-1] for frames in bench.got(client)] == [msgpack.packb("a"), msgpack.packb("b")]


def test_parts_that_nobody_asked_for_are_no_answer() -> None:
    bench = MajordomoBench(PACKED)
    ours = our_worker(bench)
    client = bench.peer(Side.CLIENTS)
    bench.put(client, *call(1, b"echo", b"run"))
    given, _ = order(bench, ours)
    bench.tell(ours, m.WorkerPart(given.client, given.id, given.attempt, 0), b"\x01")
    assert bench.got(client) == []
    end(bench, ours, given, b"\x02")
    assert bench.got(client) == [answer(1, b"echo", b"\x02")]


def test_a_part_that_is_no_frames_fails_the_request_at_its_end() -> None:
    bench = MajordomoBench(RAW)
    ours = our_worker(bench)
    client = bench.peer(Side.CLIENTS)
    bench.put(client, *call(2, b"echo"))
    given, _ = order(bench, ours)
    bench.tell(ours, m.WorkerPart(given.client, given.id, given.attempt, 0), *encode_body("no frame"))
    end(bench, ours, given, *encode_body(b"end"))
    ((*_, mark, why),) = bench.got(client)
    assert (mark, json.loads(why)["code"]) == (b"maitred.error", "application_error")


# --- errors ---


@VERSIONS
def test_an_unknown_pool_is_an_error_in_json(version: int) -> None:
    bench = MajordomoBench()
    client = bench.peer(Side.CLIENTS)
    ((*opening, mark, why),) = bench.put(client, *call(version, b"ecko", b"x"))
    assert [*opening] == answer(version, b"ecko")
    table = json.loads(why)
    assert (mark, table["code"], table["nearest"], table["pools"]) == (
        b"maitred.error",
        "unknown_pool",
        "echo",
        ["echo"],
    )


def test_errors_of_a_worker_keep_their_details_and_cannot_shadow_the_code() -> None:
    for pool, read in ((PACKED, msgpack.unpackb), (RAW, json.loads)):
        bench = MajordomoBench(pool)
        ours = our_worker(bench)
        client = bench.peer(Side.CLIENTS)
        for body in (
            encode_body({"type": "ValueError", "code": "other", "extra": [1, {"a": b"b"}]}),
            [b"\xc1garbage"],
            [b"\x91\x01"],
            [b"\x81\xa1a\xa9" + b"x" * 100_000],
        ):
            bench.put(client, *call(1, b"echo", b"run"))
            given, _ = order(bench, ours)
            error = m.WorkerError(given.client, given.id, given.attempt, "application_error", "it broke")
            bench.tell(ours, error, *body)
            ((*_, mark, why),) = bench.got(client)
            table = read(why)
            assert (mark, table["code"], table["message"]) == (b"maitred.error", "application_error", "it broke")
            assert table.get("type", "ValueError") == "ValueError"


def test_deadlines_and_full_queues_are_told() -> None:
    bench = MajordomoBench(PoolSettings(ECHO, timeout_s=1.0, max_queue=1, majordomo_body="raw"))
    first, second = bench.peer(Side.CLIENTS), bench.peer(Side.CLIENTS)
    assert bench.put(first, *call(1, b"echo", b"x")) == []
    assert json.loads(bench.put(second, *call(2, b"echo", b"x"))[0][-1])["code"] == "resource_exhausted"
    bench.advance(1.1)
    assert json.loads(bench.got(first)[0][-1])["code"] == "deadline_exceeded"


def test_too_many_clients_are_told_so_and_not_remembered() -> None:
    bench = MajordomoBench(max_clients=1)
    bench.client()
    ((*_, mark, why),) = bench.put(bench.peer(Side.CLIENTS), *call(1, b"echo", b"x"))
    assert (mark, json.loads(why)["code"]) == (b"maitred.error", "unavailable")
    assert bench.core.state.majordomo == {}


def test_a_broken_request_is_answered_where_it_can_be_seen_whose_it_is() -> None:
    bench = MajordomoBench()
    for frames in ([b"", b"MDPC01"], [b"", b"MDPC01", b""], [b"MDPC02", b"\x09", b"echo"], [b"", b"MDPC01", b"\xff"]):
        ((*_, mark, why),) = bench.put(bench.peer(Side.CLIENTS), *frames)
        assert (mark, json.loads(why)["code"]) == (b"maitred.error", "protocol_error")
    assert bench.put(bench.peer(Side.CLIENTS), b"", b"MDPX01", b"x") == []
    assert len(list(bench.events("protocol.error"))) == 5


def test_a_request_on_the_workers_port_is_refused() -> None:
    bench = MajordomoBench()
    ((*_, why),) = bench.put(bench.peer(Side.WORKERS), *call(1, b"echo", b"x"))
    assert json.loads(why)["code"] == "protocol_error"
    assert bench.core.state.requests == {}


def test_messages_of_ours_are_refused_at_the_port_that_is_majordomos() -> None:
    bench = MajordomoBench()
    peer = bench.peer(Side.MAJORDOMO)
    ((error, _),) = bench.say(peer, m.Register(b"w" * 16, b"t" * 16, ECHO, 1, []))
    assert (error.id, error.code) == (-1, "protocol_error")
    assert bench.core.state.parties == {}


# --- staying and going ---


def test_it_lives_as_long_as_it_waits_and_is_forgotten_when_it_is_idle() -> None:
    bench = MajordomoBench(PoolSettings(ECHO, timeout_s=600.0), client_silence_s=1.0, idle_client_s=5.0)
    client = bench.peer(Side.CLIENTS)
    bench.put(client, *call(1, b"echo", b"x"))
    bench.advance(100.0)
    old = bench.old_worker()
    address, _ = bench.order(old)
    bench.poke(old, *reply(1, address, [b"y"]))
    assert bench.got(client) == [answer(1, b"echo", b"y")]
    bench.advance(20.0)
    assert bench.core.state.parties.get(client) is None
    assert client not in bench.core.state.majordomo
    bench.put(client, *call(1, b"echo", b"again"))
    assert len(bench.core.state.requests) == 1


def test_the_end_of_its_connection_ends_its_requests() -> None:
    bench = MajordomoBench()
    client = bench.peer(Side.CLIENTS)
    bench.put(client, *call(1, b"echo", b"x"))
    bench.perform(bench.core.hung_up(client, bench.now))
    assert bench.core.state.requests == {}
    assert bench.core.state.majordomo == {}


def test_several_requests_of_one_connection_are_answered_each() -> None:
    bench = MajordomoBench(PoolSettings("one"), PoolSettings("two"))
    client = bench.peer(Side.CLIENTS)
    ones = bench.worker(100, 1, m.CommandInfo("run"), pool="one")
    twos = bench.worker(200, 1, m.CommandInfo("run"), pool="two")
    bench.take(ones), bench.take(twos)
    bench.put(client, *call(1, b"one", b"run"))
    bench.put(client, *call(2, b"two", b"run"))
    for worker, service, version in ((twos, b"two", 2), (ones, b"one", 1)):
        end(bench, worker, order(bench, worker)[0], b"\xc3")
        assert bench.got(client) == [answer(version, service, b"\xc3")]


def test_ids_are_of_this_life_and_not_to_be_guessed_from_what_the_broker_says_of_itself() -> None:
    def identity(**changes) -> bytes:
        bench = MajordomoBench(**changes)
        bench.put(bench.peer(Side.CLIENTS), *call(1, b"echo", b"x"))
        (request,) = bench.core.state.requests.values()
        return request.key[0]

    assert identity() == identity()
    assert identity(policy=Policy(secret="one")) != identity(policy=Policy(secret="two"))


def test_an_error_that_speaks_of_the_connection_ends_all_that_it_waits_for() -> None:
    bench = MajordomoBench()
    client = bench.peer(Side.CLIENTS)
    bench.put(client, *call(1, b"echo", b"x"))
    bench.put(client, *call(1, b"echo", b"y"))
    bench.core.state.refuse(client, -1, Code.UNAUTHENTICATED, "no longer authorised")  # as `adopt` does
    party = bench.core.state.parties[client]
    bench.core._clients.lose(party, "", bench.now)
    bench.perform(bench.core.tick(bench.now))
    assert len(bench.got(client)) == 2


# --- clients that number their commands as workers do ---


def test_a_client_with_the_numbers_of_a_worker_is_answered_with_them() -> None:
    bench = MajordomoBench(PACKED)
    old = bench.old_worker(2)
    client = bench.peer(Side.CLIENTS)
    bench.put(client, b"", b"MDPC02", b"\x02", b"echo", b"a", b"b")
    address, body = bench.order(old)
    assert body == [b"a", b"b"]
    bench.put(old, b"", b"MDPW02", b"\x03", address, b"", b"part")
    bench.put(old, *reply(2, address, [b"end"]))
    assert bench.got(client) == [[b"", b"MDPC02", b"\x03", b"part"], [b"", b"MDPC02", b"\x04", b"end"]]


# --- MMI (RFC 8) ---


@VERSIONS
@pytest.mark.parametrize("delimiter", [True, False])
def test_mmi(version: int, delimiter: bool) -> None:
    bench = MajordomoBench(RAW, PoolSettings(POOL))
    client = bench.peer(Side.CLIENTS)

    def code(service: bytes, *body: bytes) -> bytes:
        (frames,) = bench.put(client, *call(version, service, *body, delimiter=delimiter))
        assert frames[:-1] == answer(version, service, delimiter=delimiter)
        return frames[-1]

    assert code(b"mmi.service", b"echo") == b"404"
    bench.old_worker()
    assert code(b"mmi.service", b"echo") == b"200"
    assert code(b"mmi.service", b"nobody") == b"404"
    assert code(b"mmi.service", b"\xff") == b"404"
    assert code(b"mmi.service") == b"404"
    assert code(b"mmi.echo", b"echo") == b"501"
    assert code(b"mmi.", b"echo") == b"501"
    bench.agent(pool=POOL, least=0, most=2)
    assert code(b"mmi.service", POOL.encode()) == b"200"
    assert client not in bench.core.state.parties


def test_mmi_tells_nothing_of_pools_that_one_may_not_call() -> None:
    keys = {"K" * 40: Principal("k", call=(("other", "*"),))}
    bench = MajordomoBench(policy=Policy(keys=keys))
    bench.old_worker()
    for user, code in (("key:" + "K" * 40, b"404"), ("key:" + "U" * 40, b"404"), ("", b"200")):
        assert bench.put(bench.peer(Side.CLIENTS), *call(1, b"mmi.service", b"echo"), user=user)[0][-1] == code


def test_what_is_forwarded_comes_with_what_it_says_in_our_words() -> None:
    bench = MajordomoBench(RAW)
    old, client = bench.old_worker(), bench.peer(Side.CLIENTS)
    (forward,) = bench.core.receive(client, call(1, b"echo", b"x"), bench.now)
    assert isinstance(forward, Forward)
    assert (forward.peer, type(forward.message)) == (old, m.Dispatch)


def test_whose_connection_it_is_goes_with_what_it_says() -> None:
    bench = MajordomoBench(policy=Policy(secret="s", unnamed=None, majordomo=True))
    old, client, stranger = bench.peer(Side.MAJORDOMO), bench.peer(Side.CLIENTS), bench.peer(Side.CLIENTS)
    bench.put(old, b"", b"MDPW01", b"\x01", b"echo", user="open:127.0.0.1")
    assert bench.put(client, *call(1, b"echo", b"x"), user="user:0:1") == []
    assert bench.order(old)[1] == [b"x"]
    ((*_, mark, why),) = bench.put(stranger, *call(1, b"echo", b"x"))
    assert (mark, json.loads(why)["code"]) == (b"maitred.error", "unauthenticated")
    assert stranger not in bench.core.state.majordomo


def test_who_is_authorised_no_more_is_told_and_his_worker_gets_disconnect() -> None:
    keys = {
        "C" * 40: Principal("c", call=(("*", "*"),), keyed=True),
        "W" * 40: Principal("w", serve=("*",), keyed=True),
    }
    bench = MajordomoBench(policy=Policy(keys=keys, unnamed=None, open=None))
    old, client = bench.peer(Side.MAJORDOMO), bench.peer(Side.MAJORDOMO)
    bench.put(old, b"MDPW02", b"\x01", b"echo", user="key:" + "W" * 40)
    bench.put(client, *call(1, b"echo", b"x"), user="key:" + "C" * 40)
    assert len(bench.got(old)) == 1
    bench.perform(bench.core.adopt(Policy(unnamed=None, open=None), bench.now))
    bench.advance(2.0)
    assert bench.got(old)[-1] == [b"MDPW02", b"\x06"]
    ((*_, mark, why),) = bench.got(client)
    assert (mark, json.loads(why)["code"]) == (b"maitred.error", "unauthenticated")
    bench.core.check()
    assert bench.core.state.majordomo == {}
