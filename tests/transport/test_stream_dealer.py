"""The two DEALERs of `dealers` beside each other, against libzmq's ROUTER; and what only the one without a thread does."""

from __future__ import annotations

import contextlib
import os
import signal
import socket as stdlib_socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from maitred.transport import dealers, stream_dealer
from maitred.transport.dealers import READABLE, ROOM, WOKEN, Dealer, StreamDealer, ZmqDealer, open_dealer
from maitred.transport.endpoints import bind
from maitred.transport.errors import ConnectError, SocketClosed, WouldBlock
from maitred.transport.frames import TooManyFrames
from maitred.transport.sockets import router
from maitred.transport.wake import Wake

WITHIN_S = 5.0


@pytest.fixture(params=["direct", "libzmq"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(dealers.TRANSPORT, request.param)
    return request.param


@pytest.fixture(params=["tcp", "ipc"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    return "tcp://127.0.0.1:0" if request.param == "tcp" else f"ipc://{tmp_path}/it.ipc"


class Broker:
    """One ROUTER."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, **options: int) -> None:
        self.socket = router(context, zap_domain="maitred-test", handled=False, linger_ms=0)
        for name, value in options.items():
            self.socket.setsockopt(getattr(zmq, name), value)
        self.endpoint = bind(self.socket, endpoint)
        self.peer = b""

    def receive(self) -> list[bytes]:
        assert self.socket.poll(WITHIN_S * 1000), "nothing came"
        self.peer, *frames = self.socket.recv_multipart()
        return frames

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart([self.peer, *frames])

    def echo(self) -> None:
        self.send(*self.receive())


def wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(0.001)


def send(dealer: Dealer, *frames: Any) -> None:
    give_up = time.monotonic() + WITHIN_S
    while True:
        try:
            return dealer.send(frames)
        except WouldBlock:
            assert time.monotonic() < give_up, "there is no room"
            dealer.wait(0.1, for_room=True)


def receive(dealer: Dealer) -> Any:
    give_up = time.monotonic() + WITHIN_S
    while (message := dealer.receive()) is None:
        assert time.monotonic() < give_up, "nothing came"
        dealer.wait(0.1)
    if isinstance(message, TooManyFrames):
        return message
    return [frame if isinstance(frame, bytes) else bytes(memoryview(frame)) for frame in message]


@pytest.fixture
def make(context: zmq.Context[Any], kind: str) -> Iterator[Callable[..., Dealer]]:
    with contextlib.ExitStack() as stack:

        def make(endpoint: str, wakes: list[int] | None = None) -> Dealer:
            dealer = open_dealer(endpoint, lambda: context, wakes or [])
            assert isinstance(dealer, StreamDealer if kind == "direct" else ZmqDealer)
            stack.callback(dealer.close)
            return dealer

        yield make


def test_messages_of_all_sizes_come_and_go_whole(context, make, endpoint):
    broker = Broker(context, endpoint)
    dealer = make(broker.endpoint)
    for size in (0, 1, 255, 256, 8191, 8192, 65_536, 3_000_000):
        body = os.urandom(size)
        send(dealer, b"head", body, b"", body)
        broker_at_work = threading.Thread(target=broker.echo)  # a large one needs both ends at work
        broker_at_work.start()
        assert receive(dealer) == [b"head", body, b"", body]
        broker_at_work.join()


def test_a_wait_ends_by_a_message_by_a_wake_or_by_its_time(context, make, endpoint):
    broker, wake, other = Broker(context, endpoint), Wake(), Wake()
    dealer = make(broker.endpoint, [wake.fileno()])
    dealer.also_wake(other.fileno())
    send(dealer, b"hello")
    broker.receive()
    began = time.monotonic()
    assert dealer.wait(0.05) == 0
    assert time.monotonic() - began >= 0.049
    for each in (wake, other):
        each.set()
        assert dealer.wait(None) == WOKEN
        each.clear()
    broker.send(b"x")
    assert dealer.wait(None) == READABLE
    assert dealer.has_message()
    assert receive(dealer) == [b"x"]
    assert not dealer.has_message()
    assert dealer.wait(None, for_room=True) & ROOM


def test_nobody_there_is_no_room_and_who_comes_later_is_found(context, make, endpoint, tmp_path):
    if endpoint.startswith("tcp"):
        with stdlib_socket.create_server(("127.0.0.1", 0)) as free:
            endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dealer = make(endpoint)
    with pytest.raises(WouldBlock):
        dealer.send([b"x"])
    assert dealer.wait(0.02, for_room=True) == 0
    broker = Broker(context, endpoint)
    send(dealer, b"now")
    assert broker.receive() == [b"now"]


def test_another_broker_at_the_same_place_is_found(context, make, endpoint):
    broker = Broker(context, endpoint)
    dealer = make(broker.endpoint)
    for turn in range(3):
        send(dealer, b"%d" % turn)
        assert broker.receive() == [b"%d" % turn]
        broker.socket.close(0)
        wait_for(lambda: dealer.wait(0.01) == 0 or dealer.receive())  # the end is heard
        broker.socket = router(context, zap_domain="maitred-test", handled=False, linger_ms=0)
        wait_for(lambda: rebound(broker))


def rebound(broker: Broker) -> bool:
    try:
        bind(broker.socket, broker.endpoint, holds_lock=True)
    except OSError:  # the old one is closed by another thread
        return False
    return True


def test_who_does_not_read_is_not_sent_more_and_loses_nothing(context, make, endpoint):
    broker = Broker(context, endpoint, RCVHWM=2)
    dealer = make(broker.endpoint)
    send(dealer, b"first")
    broker.receive()
    count = 0
    with contextlib.suppress(WouldBlock):
        while count < 10_000:
            dealer.send([b"%d" % count, bytes(100_000)])
            count += 1
    assert 2 < count < 10_000
    got = 0
    while got < count:
        dealer.wait(0.001, for_room=True)
        if broker.socket.poll(0):
            assert broker.receive() == [b"%d" % got, bytes(100_000)]
            got += 1
    send(dealer, b"after")
    assert broker.receive() == [b"after"]


def test_what_is_under_way_when_it_is_closed_still_leaves(context, make, endpoint):
    broker = Broker(context, endpoint)
    dealer = make(broker.endpoint)
    send(dealer, b"hello")
    broker.receive()
    send(dealer, b"bye")
    dealer.close(1.0)
    dealer.close(1.0)
    assert broker.receive() == [b"bye"]
    if isinstance(dealer, StreamDealer):
        with pytest.raises(SocketClosed):
            dealer.send([b"x"])


def test_a_message_of_too_many_frames_is_told_of_and_not_kept(context, make, endpoint):
    broker = Broker(context, endpoint)
    dealer = make(broker.endpoint)
    send(dealer, b"hello")
    broker.receive()
    broker.send(b"first", *[b"x"] * 99)
    broker.send(b"second")
    overlong = receive(dealer)
    assert (overlong.first, overlong.frames) == (b"first", 100)
    assert receive(dealer) == [b"second"]


@pytest.mark.parametrize(
    "wrong", ["tcp://127.0.0.1", "tcp://127.0.0.1:0", "tcp://127.0.0.1:70000", f"ipc://{'x' * 200}"]
)
def test_what_is_no_endpoint_is_refused_at_once(make, wrong):
    with pytest.raises(ConnectError):
        make(wrong)


def test_the_variable_takes_two_words(monkeypatch):
    monkeypatch.setenv(dealers.TRANSPORT, "pigeon")
    with pytest.raises(ValueError, match="'pigeon'; accepted: direct, libzmq"):
        open_dealer("tcp://127.0.0.1:1", zmq.Context)


# --- without a thread ---


def test_a_ping_is_answered_and_who_waits_is_not_cut(context, endpoint):
    broker = Broker(context, endpoint, HEARTBEAT_IVL=20, HEARTBEAT_TIMEOUT=100)
    dealer = StreamDealer(broker.endpoint)
    send(dealer, b"hello")
    broker.receive()
    assert dealer.wait(0.3) & READABLE  # pings: its owner looks, and finds no message
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        assert dealer.receive() is None
        dealer.wait(end - time.monotonic())
    broker.send(b"still here")
    assert receive(dealer) == [b"still here"]
    dealer.close()


def test_who_runs_a_function_and_reads_nothing_is_not_cut_by_our_router(context, endpoint):
    broker = Broker(context, endpoint)
    assert broker.socket.get(zmq.HEARTBEAT_IVL) == 0


def test_what_came_before_the_end_is_still_handed_on(context, endpoint):
    broker = Broker(context, endpoint)
    dealer = StreamDealer(broker.endpoint)
    send(dealer, b"hello")
    broker.receive()
    for number in range(3):
        broker.send(b"%d" % number)
    broker.socket.close(1000)
    assert [receive(dealer) for _ in range(3)] == [[b"0"], [b"1"], [b"2"]]
    wait_for(lambda: dealer.receive() is None and not dealer.connected)
    dealer.close()


def test_a_frame_too_large_ends_the_connection(context, endpoint):
    broker = Broker(context, endpoint)
    dealer = StreamDealer(broker.endpoint, max_frame_bytes=1000)
    send(dealer, b"hello")
    broker.receive()
    broker.send(bytes(1001))
    wait_for(lambda: dealer.receive() is None and not dealer.connected)
    send(dealer, b"again")
    assert broker.receive() == [b"again"]
    dealer.close()


def test_who_asks_for_a_key_is_told_apart_from_who_is_not_there(context):
    public, secret = zmq.curve_keypair()
    socket = context.socket(zmq.ROUTER)
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_SECRETKEY, secret)
    dealer = StreamDealer(bind(socket, "tcp://127.0.0.1:0"))
    dealer.wait(0.2, for_room=True)
    assert dealer.refused == "mechanism"
    dealer.close()
    assert public


@pytest.mark.parametrize("where", ["recv", "sendmsg", "send"])
def test_a_call_that_was_cut_in_its_middle_ends_the_connection_and_not_its_messages(
    context, endpoint, where, monkeypatch
):
    broker = Broker(context, endpoint)
    dealer = StreamDealer(broker.endpoint)
    send(dealer, b"hello")
    broker.receive()
    stream = dealer._socket
    assert stream is not None

    class Cut:
        """Does what it is asked, and is interrupted then."""

        def __getattr__(self, name: str) -> Any:
            call = getattr(stream, name)
            if name != where:
                return call

            def cut(*arguments: Any) -> Any:
                call(*arguments)
                raise KeyboardInterrupt

            return cut

    dealer._socket = Cut()  # type: ignore[assignment]
    broker.send(b"lost")
    time.sleep(0.02)
    with pytest.raises(KeyboardInterrupt):
        receive_and_send(dealer, [b"x", bytes(10_000)] if where == "sendmsg" else [b"x"])
    assert dealer.wait(WITHIN_S, for_room=True) == ROOM
    send(dealer, b"whole")
    while (said := broker.receive()) != [b"whole"]:
        assert said in ([b"x"], [b"x", bytes(10_000)])
    broker.send(b"answer")
    assert receive(dealer) == [b"answer"]
    dealer.close()


def receive_and_send(dealer: Dealer, message: list[bytes]) -> None:
    dealer.receive()
    dealer.send(message)


def test_a_signal_ends_a_wait_by_raising(context, endpoint):
    broker = Broker(context, endpoint)
    dealer = StreamDealer(broker.endpoint)
    send(dealer, b"hello")
    broker.receive()

    class Told(Exception):
        pass

    def raise_it(_number: int, _frame: object) -> None:
        raise Told

    before = signal.signal(signal.SIGUSR1, raise_it)
    try:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        with pytest.raises(Told):
            dealer.wait(WITHIN_S)
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    broker.send(b"x")
    assert receive(dealer) == [b"x"]
    dealer.close()


def test_pauses_double_and_are_drawn(monkeypatch):
    slept: list[float] = []
    clock = [100.0]
    monkeypatch.setattr(stream_dealer.time, "monotonic", lambda: clock[0])
    with stdlib_socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    dealer = StreamDealer(f"tcp://127.0.0.1:{port}")
    for _ in range(9):
        while True:
            _, due = dealer.mend()
            if dealer.fileno() >= 0:
                dealer.progress(4)
            if dealer.fileno() < 0:
                break
        _, due = dealer.mend()
        slept.append(due - clock[0])
        clock[0] = due
    first, limit = stream_dealer.RECONNECT_FIRST_MS, stream_dealer.RECONNECT_LIMIT_MS
    assert first[0] / 1000 <= slept[0] <= first[1] / 1000
    assert slept[1] == pytest.approx(2 * slept[0])
    assert limit[0] / 1000 <= slept[-1] <= limit[1] / 1000
    dealer.close()
    assert len({StreamDealer(f"tcp://127.0.0.1:{port}")._first_pause_s for _ in range(12)}) > 1
