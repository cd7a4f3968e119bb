"""The handler of handshakes, over real sockets: who is asked about, what the answers do, and that nothing breaks it."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import zmq
from handshakes import CUT, IN, new_key, outcome
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from zmq.utils import z85

from maitred.transport.frames import Inbox
from maitred.transport.host import Host
from maitred.transport.pump import Pump
from maitred.transport.sockets import bind, connect, dealer, router, secure
from maitred.transport.zap import ZAP_ENDPOINT, Verdict, ZapHandler, bind_zap

Question = tuple[str, str, str, Sequence[bytes]]
PATIENCE_MS = 5000


class Answering:
    """A handler that remembers what it is asked, and answers what it is told to."""

    def __init__(self, context: zmq.Context[Any], make_pump: Any = Pump) -> None:
        self.verdict = Verdict(200, "somebody")
        self.asked: list[Question] = []
        self.socket = bind_zap(context)
        self.handler = ZapHandler(self.socket, self.decide, make_pump)

    def decide(self, domain: str, address: str, mechanism: str, credentials: Sequence[bytes]) -> Verdict:
        self.asked.append((domain, address, mechanism, list(credentials)))
        return self.verdict


@asynccontextmanager
async def answering(context: zmq.Context[Any]) -> AsyncIterator[Answering]:
    it = Answering(context)
    async with trio.open_nursery() as nursery:
        await nursery.start(it.handler.run)
        yield it
        nursery.cancel_scope.cancel()
    it.handler.close()


async def tried(*arguments: Any, **options: Any) -> str | int:
    return await trio.to_thread.run_sync(partial(outcome, *arguments, **options))


async def test_a_peer_of_this_host_is_told_by_the_kernel(context: zmq.Context[Any], tmp_path: Path) -> None:
    async with answering(context) as it:
        endpoint = bind(router(context, zap_domain="clients"), f"ipc://{tmp_path}/c")
        assert await tried(endpoint) == IN
        address = f"localhost:{os.getuid()}:{os.getgid()}:{os.getpid()}"
        assert it.asked == [("clients", address, "NULL", [])]


async def test_a_peer_over_tcp_has_an_address(context: zmq.Context[Any]) -> None:
    async with answering(context) as it:
        endpoint = bind(router(context, zap_domain="workers"), "tcp://127.0.0.1:0")
        assert await tried(endpoint) == IN
        assert it.asked == [("workers", "127.0.0.1", "NULL", [])]


async def test_a_key_that_was_shown_is_told(context: zmq.Context[Any]) -> None:
    async with answering(context) as it:
        bound, server = router(context, zap_domain="clients"), new_key()
        secure(bound, server)
        endpoint = bind(bound, "tcp://127.0.0.1:0")
        key = new_key(server.public)
        assert await tried(endpoint, key) == IN
        assert it.asked == [("clients", "127.0.0.1", "CURVE", [z85.decode(key.public)])]
        assert await tried(endpoint) == CUT  # without a key nobody gets as far as the handler
        assert await tried(endpoint, new_key(new_key().public), patience_s=0.5) != IN  # nor does one for another broker
        assert len(it.asked) == 1


async def test_one_router_asks_for_keys_over_tcp_and_not_over_ipc(context: zmq.Context[Any], tmp_path: Path) -> None:
    async with answering(context) as it:
        bound, server = router(context, zap_domain="clients"), new_key()
        local = bind(bound, f"ipc://{tmp_path}/c")
        secure(bound, server)
        remote = bind(bound, "tcp://127.0.0.1:0")
        assert await tried(local) == IN
        assert await tried(remote) == CUT
        assert await tried(remote, new_key(server.public)) == IN
        assert [mechanism for _, _, mechanism, _ in it.asked] == ["NULL", "CURVE"]


async def test_a_password_is_told(context: zmq.Context[Any]) -> None:
    async with answering(context) as it:
        bound = router(context, zap_domain="clients")
        bound.plain_server = True
        endpoint = bind(bound, "tcp://127.0.0.1:0")
        it.verdict = Verdict(400)
        assert await tried(endpoint, plain_username=b"me", plain_password=b"word") == 400
        assert it.asked[0][2:] == ("PLAIN", [b"me", b"word"])


async def test_the_user_id_is_on_the_messages(context: zmq.Context[Any]) -> None:
    async with answering(context):
        bound = router(context, zap_domain="clients")
        inbox, socket = Inbox(bound), dealer(context, linger_ms=0)
        connect(socket, bind(bound, "tcp://127.0.0.1:0"))
        assert await trio.to_thread.run_sync(socket.poll, PATIENCE_MS, zmq.POLLOUT)
        socket.send(b"hello")
        assert await trio.to_thread.run_sync(bound.poll, PATIENCE_MS)
        inbox.receive()
        assert inbox.user == "somebody"


async def test_a_refusal_is_told_and_counted(context: zmq.Context[Any]) -> None:
    async with answering(context) as it:
        endpoint = bind(router(context, zap_domain="clients"), "tcp://127.0.0.1:0")
        it.verdict = Verdict(400, text="go away")
        assert await tried(endpoint) == 400
        statistics = it.handler.statistics()
        assert (statistics.asked, statistics.refused, statistics.let_in) == (1, 1, 0)


@pytest.mark.slow
async def test_who_is_put_off_is_cut_when_the_handshake_has_taken_too_long(context: zmq.Context[Any]) -> None:
    async with answering(context) as it:
        bound = router(context, zap_domain="clients")
        bound.setsockopt(zmq.HANDSHAKE_IVL, 300)
        it.verdict = Verdict(300, text="full")
        assert await tried(bind(bound, "tcp://127.0.0.1:0")) == CUT
        assert it.handler.statistics().put_off == 1


async def test_without_a_handler_nobody_gets_in(context: zmq.Context[Any]) -> None:
    endpoint = bind(router(context, zap_domain="clients"), "tcp://127.0.0.1:0")
    assert await tried(endpoint, patience_s=0.2) != IN
    unasked = router(context, zap_domain="clients", handled=False)
    assert await tried(bind(unasked, "tcp://127.0.0.1:0")) == IN


async def test_a_handler_that_has_ended_lets_nobody_in(context: zmq.Context[Any]) -> None:
    async with answering(context):
        endpoint = bind(router(context, zap_domain="clients"), "tcp://127.0.0.1:0")
        assert await tried(endpoint) == IN
    assert await tried(endpoint, patience_s=0.2) != IN


async def test_a_decision_that_fails_refuses(context: zmq.Context[Any], caplog: pytest.LogCaptureFixture) -> None:
    async with answering(context) as it:
        endpoint = bind(router(context, zap_domain="clients"), "tcp://127.0.0.1:0")
        for verdict in (None, Verdict(200, ""), Verdict(0, "me"), Verdict(200, "\udcff")):
            it.verdict = verdict  # type: ignore[assignment]
            assert await tried(endpoint) == 500
        assert it.handler.statistics().failed == 4
        assert all(record.levelno == logging.ERROR for record in caplog.records)
        it.verdict = Verdict(200, "me")
        assert await tried(endpoint) == IN


async def test_questions_wait_while_the_process_is_busy(context: zmq.Context[Any]) -> None:
    it = Answering(context)
    endpoint = bind(router(context, zap_domain="clients"), "tcp://127.0.0.1:0")
    async with trio.open_nursery() as nursery:
        results: list[str | int] = []

        async def come() -> None:
            results.append(await tried(endpoint))
            nursery.cancel_scope.cancel()

        nursery.start_soon(come)
        assert await trio.to_thread.run_sync(it.socket.poll, PATIENCE_MS)
        assert not results
        await it.handler.run()
    it.handler.close()
    assert results == [IN]


def test_it_is_served_by_a_host_too(context: zmq.Context[Any]) -> None:
    host = Host()
    it = Answering(context, host.pump)
    endpoint = bind(router(context, zap_domain="clients"), "tcp://127.0.0.1:0")

    async def main() -> str | int:
        async with trio.open_nursery() as nursery:
            await nursery.start(it.handler.run)
            found = await tried(endpoint)
            nursery.cancel_scope.cancel()
        it.handler.close()
        return found

    assert host.run(main) == IN


def test_a_context_has_one_handler(context: zmq.Context[Any]) -> None:
    bind_zap(context)
    with pytest.raises(zmq.ZMQError):
        bind_zap(context)


@pytest.mark.parametrize(("place", "frame", "answered"), [
    (1, b"2.0", True), (1, b"", True), (3, b"\xff", True),
    (4, b"x" * 257, False), (0, b"x", False), (2, b"x" * 9000, False),
])  # fmt: skip
async def test_what_is_no_question_is_refused_or_has_nobody_to_answer(
    context: zmq.Context[Any], place: int, frame: bytes, answered: bool
) -> None:
    async with answering(context) as it:
        peer = context.socket(zmq.DEALER)
        peer.connect(ZAP_ENDPOINT)
        peer.send_multipart([*WHOLE[:place], frame, *WHOLE[place + 1 :]])
        peer.send_multipart([*WHOLE[:2], b"the last", *WHOLE[3:]])
        codes: dict[bytes, bytes] = {}
        while b"the last" not in codes:
            assert await trio.to_thread.run_sync(peer.poll, PATIENCE_MS)
            answer = peer.recv_multipart()
            codes[answer[2]] = answer[3]
        assert codes == {b"the last": b"200", **({WHOLE[2]: b"500"} if answered else {})}
        assert len(it.asked) == it.handler.statistics().broken == 1


WHOLE = [b"", b"1.0", b"7", b"clients", b"127.0.0.1", b"", b"NULL"]
frame = some.one_of(some.sampled_from([*WHOLE, b"\xff", b"x" * 300, b"y" * 9000]), some.binary(max_size=300))
broken = some.one_of(
    some.lists(frame, min_size=1, max_size=24),
    some.tuples(some.integers(0, len(WHOLE) - 1), frame).map(
        lambda change: [*WHOLE[: change[0]], change[1], *WHOLE[change[0] + 1 :]]
    ),
    some.integers(1, len(WHOLE)).map(lambda length: WHOLE[:length]),
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=some.lists(broken, max_size=20))
def test_whatever_is_asked_it_answers_on(asked: list[list[bytes]]) -> None:
    async def main() -> None:
        context: zmq.Context[Any] = zmq.Context()
        try:
            async with answering(context) as it:
                peer = context.socket(zmq.DEALER)
                peer.connect(ZAP_ENDPOINT)
                for question in asked:
                    peer.send_multipart(question)
                peer.send_multipart([*WHOLE[:2], b"the last", *WHOLE[3:]])
                answer = [b""] * 7
                while answer[2] != b"the last":
                    assert await trio.to_thread.run_sync(peer.poll, PATIENCE_MS)
                    answer = peer.recv_multipart()
                    assert len(answer) == 7
                    assert answer[3] in (b"200", b"500")
                assert answer[:6] == [b"", b"1.0", b"the last", b"200", b"", b"somebody"]
                statistics = it.handler.statistics()
                assert statistics.asked == len(asked) + 1 == statistics.let_in + statistics.broken
        finally:
            context.destroy(linger=0)

    trio.run(main)
