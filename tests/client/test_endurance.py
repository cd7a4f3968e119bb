"""What a client lives through: forks, Ctrl-C, brokers that restart, threads that come and go, being closed amid a call."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest
from broker_peers import POOL

from maitred.client import Client
from maitred.client.errors import RequestCancelled, Unavailable

WITHIN_S = 5.0


# --- fork ---


def in_child(work: Callable[[], bool]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_forked_child_calls_with_a_client_of_its_own(client: Client) -> None:
    future = client.submit(POOL, "later")
    stream = client.stream(POOL, "parts", {"n": 2})
    assert next(stream) == 0

    def child() -> bool:
        one = client.execute(POOL, "maybe", {"x": 1}, timeout=WITHIN_S) == {"x": 1}
        two = client.submit(POOL, "maybe", {"x": 2}).result(WITHIN_S) == {"x": 2}
        future.cancel()  # the parent's: of no effect there
        with pytest.raises(RuntimeError, match="not after a fork"):
            next(stream)
        client.close()
        return one and two

    in_child(child)
    assert list(stream) == [1, "done"]
    client.execute(POOL, "echo")
    assert future.result(WITHIN_S) == "late"


def test_a_child_may_close_what_it_inherited(client: Client) -> None:
    client.execute(POOL, "echo")
    client.submit(POOL, "echo").result(WITHIN_S)

    def child() -> bool:
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.execute(POOL, "echo")
        gc.collect()
        return True

    in_child(child)
    assert client.execute(POOL, "echo", {"n": 1}) == {"n": 1}
    assert client.submit(POOL, "echo", {"n": 2}).result(WITHIN_S) == {"n": 2}


# --- Ctrl-C ---

INTERRUPTED = """
import signal, sys
from maitred.client import Client

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests themselves run in the background

with Client(sys.argv[1]) as client:
    client.execute("general", "echo")
    for _ in range(2):
        try:
            print("ready", flush=True)
            client.execute("general", "hang")
        except KeyboardInterrupt:
            print(client.execute("general", "echo", {"still": "usable"}), flush=True)
"""


@pytest.mark.slow
def test_ctrl_c_ends_the_wait_and_the_work_and_leaves_the_client_usable(site: Any) -> None:
    before = len(hanging(site))
    command = [sys.executable, "-c", INTERRUPTED, site.clients]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for turn in range(2):
                assert process.stdout.readline() == "ready\n"
                site.wait(lambda turn=turn: len(hanging(site)) > before + turn)
                process.send_signal(signal.SIGINT)
                assert process.stdout.readline() == "{'still': 'usable'}\n"
                site.wait(lambda turn=turn: hanging(site)[before + turn] in site.cancelled)
            assert process.wait(WITHIN_S) == 0
        finally:
            process.kill()


def hanging(site: Any) -> list[int]:
    return [number for command, number in site.started if command == "hang"]


class Interrupt(BaseException):
    pass


def test_an_interrupt_amid_a_message_costs_the_connection_and_nothing_else(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.execute(POOL, "echo")
    before = client._local.channel

    def interrupted(*_: object) -> None:
        raise Interrupt

    monkeypatch.setattr(before.exchange, "receive", interrupted)
    with pytest.raises(Interrupt):
        client.execute(POOL, "echo")
    assert client.execute(POOL, "echo", {"n": 1}) == {"n": 1}
    assert client._local.channel is not before


# --- the broker ---


@pytest.mark.slow
def test_a_broker_that_restarts_amid_a_request_is_told_and_then_forgotten(make_site: Callable[..., Any]) -> None:
    site = make_site()
    with Client(site.clients) as client:
        errors: list[BaseException | None] = []
        future = client.submit(POOL, "hang")

        def call() -> None:
            with pytest.raises(Unavailable) as caught:
                client.execute(POOL, "hang")
            errors.append(caught.value)
            assert client.execute(POOL, "echo", {"n": 1}, timeout=WITHIN_S) == {"n": 1}

        thread = threading.Thread(target=call)
        thread.start()
        site.wait(lambda: len(site.started) == 2)
        site.stop_broker()
        site.start_broker()
        errors.append(future.exception(10))
        thread.join(10)
        assert not thread.is_alive()
        for error in errors:
            assert isinstance(error, Unavailable)
            assert error.reason == "lost"
            assert "restarted; the request may have run" in str(error)
        assert client.submit(POOL, "echo", {"n": 2}).result(WITHIN_S) == {"n": 2}


@pytest.mark.slow
def test_a_broker_that_restarts_meanwhile_is_not_noticed(make_site: Callable[..., Any]) -> None:
    site = make_site()
    with Client(site.clients) as client:
        client.execute(POOL, "echo")
        client.submit(POOL, "echo").result(WITHIN_S)
        site.stop_broker()
        site.start_broker()
        assert client.execute(POOL, "echo", {"n": 1}) == {"n": 1}
        futures = [client.submit(POOL, "echo", {"n": n}) for n in range(20)]
        assert [future.result(WITHIN_S)["n"] for future in futures] == list(range(20))


@pytest.mark.slow
def test_a_broker_that_is_gone_is_said_to_be_and_nothing_was_sent(make_site: Callable[..., Any]) -> None:
    site = make_site()
    with Client(site.clients, connect_timeout=0.3) as client:
        client.execute(POOL, "echo")
        client.submit(POOL, "echo").result(WITHIN_S)
        site.stop_broker()
        connection = client._local.channel._dealer
        site.wait(lambda: connection.receive() or not connection.connected)  # else it is lost, and not refused
        with pytest.raises(Unavailable, match="is not there") as caught:
            client.execute(POOL, "echo")
        assert (caught.value.reason, caught.value.address) == ("no_broker", site.clients)
        with pytest.raises(Unavailable, match="is not there"):
            client.submit(POOL, "echo").result(WITHIN_S)
        with pytest.raises(Unavailable, match="is not there"):
            list(client.map(POOL, "echo", [{}]))
        site.start_broker()
        before = len(site.started)
        client.connect_timeout = WITHIN_S  # sockets that found nobody some times come back after seconds
        assert client.execute(POOL, "echo", {"n": 1}) == {"n": 1}
        assert len(site.started) == before + 1
        site.wait(lambda: not client.submit(POOL, "echo", {"n": 2}).exception(WITHIN_S))


# --- threads ---


def test_threads_that_end_take_their_connections_along(site: Any, client: Client) -> None:
    client.execute(POOL, "echo")
    before = site.shell.core.state.clients
    for _ in range(5):
        thread = threading.Thread(target=client.execute, args=(POOL, "echo"))
        thread.start()
        thread.join(WITHIN_S)
    assert len(client._channels) == 1
    site.wait(lambda: site.shell.core.state.clients <= before)


def test_closing_from_another_thread_ends_every_wait_at_once(site: Any) -> None:
    client = Client(site.clients)
    outcomes: list[object] = []
    started = len(site.started)

    def call() -> None:
        with pytest.raises(RequestCancelled) as caught:
            client.execute(POOL, "hang")
        outcomes.append(caught.value.outcome)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    site.wait(lambda: len(site.started) == started + 3)
    client.close()
    for thread in threads:
        thread.join(WITHIN_S)
    assert outcomes == ["client_closed"] * 3
    site.wait(lambda: {number for _, number in site.started[started:]} <= set(site.cancelled))
    client.close()
    for call_ in (client.execute, client.submit):
        with pytest.raises(RuntimeError, match="this client is closed"):
            call_(POOL, "echo")


def test_a_stream_belongs_to_its_thread_and_is_stopped_from_any(site: Any, client: Client) -> None:
    stream: Generator[Any, None, None] | None = client.stream(POOL, "parts", {"n": 3})
    assert stream is not None
    assert next(stream) == 0
    errors: list[object] = []

    def read(stream: Generator[Any, None, None]) -> None:
        with pytest.raises(RuntimeError, match="by the thread that began it"):
            next(stream)
        errors.append(stream)

    thread = threading.Thread(target=read, args=(stream,))
    thread.start()
    thread.join(WITHIN_S)
    assert errors == [stream]
    assert client.execute(POOL, "echo", {"n": 1}) == {"n": 1}
    assert not client._local.channel.exchange.waiting
