"""Whole messages in and out: bounded, uncut, and without copies where they are large."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import zmq

from maitred.transport import frames
from maitred.transport.errors import HostUnreachable, SocketClosed, WouldBlock
from maitred.transport.frames import (
    DISCARD_FRAMES,
    KEEP_FRAME_BYTES,
    SEND_WITHOUT_COPY_BYTES,
    Inbox,
    TooManyFrames,
    send_message,
)
from maitred.transport.sockets import bind, connect, dealer, router

WITHIN_MS = 5000


def receive(inbox, socket):
    assert socket.poll(WITHIN_MS)
    return inbox.receive()


def test_small_frames_arrive_as_bytes(pair):
    send_message(pair.dealer, [b"head", b"", b"body"])
    assert receive(Inbox(pair.router), pair.router) == [pair.peer, b"head", b"", b"body"]


def test_an_empty_queue_says_again(pair):
    with pytest.raises(zmq.Again):
        Inbox(pair.router).receive()


def test_a_large_frame_stays_a_frame_and_goes_round_uncopied(pair):
    body = bytes(range(256)) * (KEEP_FRAME_BYTES // 256)
    send_message(pair.dealer, [b"head", body])
    peer, head, large = receive(Inbox(pair.router), pair.router)
    assert isinstance(large, zmq.Frame)
    send_message(pair.router, [peer, head, large])
    send_message(pair.router, [peer, large])  # a frame may be sent more than once
    assert pair.dealer.poll(WITHIN_MS)
    assert pair.dealer.recv_multipart() == [b"head", body]
    assert pair.dealer.recv_multipart() == [body]


@pytest.mark.parametrize(
    "size", [KEEP_FRAME_BYTES - 1, SEND_WITHOUT_COPY_BYTES - 1, SEND_WITHOUT_COPY_BYTES, 3_000_000]
)
def test_bytes_of_any_size_go_round(pair, size):
    body = b"\xa5" * size
    send_message(pair.dealer, [body])
    _, arrived = receive(Inbox(pair.router), pair.router)
    assert isinstance(arrived, bytes) == (size < KEEP_FRAME_BYTES)
    assert bytes(arrived) == body if isinstance(arrived, bytes) else arrived.bytes == body


def test_a_mutable_buffer_may_change_after_sending(pair):
    buffer = bytearray(b"a" * (SEND_WITHOUT_COPY_BYTES + 1))
    send_message(pair.dealer, [buffer])
    buffer[:] = b"b" * len(buffer)
    _, arrived = receive(Inbox(pair.router), pair.router)
    assert set(arrived.bytes) == {ord("a")}


def test_a_lent_array_is_sent_without_a_copy(pair):
    send_message(pair.dealer, [zmq.Frame(memoryview(b"x" * SEND_WITHOUT_COPY_BYTES), copy=False)])
    _, arrived = receive(Inbox(pair.router), pair.router)
    assert len(arrived) == SEND_WITHOUT_COPY_BYTES


def test_as_many_frames_as_allowed(pair):
    send_message(pair.dealer, [b"x"] * 7)
    assert len(receive(Inbox(pair.router, max_frames=8), pair.router)) == 8


def test_one_frame_too_many_and_the_next_message_is_whole(pair):
    send_message(pair.dealer, [b"x"] * 8)
    send_message(pair.dealer, [b"next"])
    inbox = Inbox(pair.router, max_frames=8)
    notice = receive(inbox, pair.router)
    assert isinstance(notice, TooManyFrames)
    assert (notice.first, notice.frames) == (pair.peer, 9)
    assert receive(inbox, pair.router) == [pair.peer, b"next"]


def test_a_message_without_end_is_thrown_away_in_portions(pair):
    count = 2 * DISCARD_FRAMES + 10
    send_message(pair.dealer, [b""] * count)
    send_message(pair.dealer, [b"next"])
    inbox = Inbox(pair.router, max_frames=4)
    answers = [receive(inbox, pair.router) for _ in range(3)]
    assert answers[:2] == [None, None]
    assert answers[2].frames == count + 1
    assert "frames=" in repr(answers[2])
    assert receive(inbox, pair.router) == [pair.peer, b"next"]


def test_max_frames_of_nothing_is_refused(pair):
    with pytest.raises(ValueError, match="max_frames"):
        Inbox(pair.router, max_frames=0)


def test_unknown_peer(pair):
    with pytest.raises(HostUnreachable):
        send_message(pair.router, [b"nobody", b"x"])
    send_message(pair.router, [pair.peer, b"still works"])
    assert pair.dealer.poll(WITHIN_MS)
    assert pair.dealer.recv_multipart() == [b"still works"]


def test_a_full_queue_would_block_and_loses_nothing(make_pair):
    pair = make_pair(hwm=4)
    body, sent, received = b"x" * 200_000, 0, 0
    with suppress(WouldBlock):
        while sent < 10_000:
            send_message(pair.router, [pair.peer, b"%d" % sent, body])
            sent += 1
    assert 4 <= sent < 10_000
    while pair.dealer.poll(200 if received == sent else WITHIN_MS):
        assert pair.dealer.recv_multipart() == [b"%d" % received, body]
        received += 1
    assert received == sent


def test_nobody_connected_would_block(context):
    socket = dealer(context)
    connect(socket, "ipc:///nonexistent/maitred")
    with pytest.raises(WouldBlock):
        send_message(socket, [b"x"])


class GoneAfterFirst(list[bytes]):
    """Frames whose peer disappears after the first one was taken, as seen by the I/O thread but not by the socket."""

    def __init__(self, frames, pair):
        super().__init__(frames)
        self._pair = pair
        self._passes = 0
        self._monitor = pair.dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)

    def __iter__(self) -> Iterator[bytes]:
        self._passes += 1
        for number, frame in enumerate(super().__iter__()):
            if (self._passes, number) == (2, 1):  # the first pass checks, the second sends
                self._pair.router.close(0)
                assert self._monitor.poll(WITHIN_MS)  # no call on the DEALER itself: it would notice
                time.sleep(0.01)  # libzmq looks for news from its thread once a millisecond when sending
            yield frame


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_peer_that_goes_amid_a_message_does_not_swallow_the_next(pair, context, count):
    with suppress(WouldBlock):  # it depends on how much of the news has reached the socket
        send_message(pair.dealer, GoneAfterFirst([b"lost"] * count, pair))
    again = router(context, zap_domain="maitred-test", handled=False)
    bind(again, pair.endpoint)
    assert pair.dealer.poll(WITHIN_MS, zmq.POLLOUT)
    send_message(pair.dealer, [b"next", b"message"])
    _, *arrived = receive(Inbox(again), again)
    assert arrived == [b"next", b"message"]


def test_room_that_was_made_a_moment_ago_is_found(context):
    """libzmq takes in the news of it only now and then while it sends; a refusal is not believed without a look."""
    reader, writer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    reader.setsockopt(zmq.RCVHWM, 1)
    writer.setsockopt(zmq.SNDHWM, 1)
    reader.bind("inproc://room")
    writer.connect("inproc://room")
    for _ in range(200):
        send_message(writer, [b"one"])
        send_message(writer, [b"two"])
        with pytest.raises(WouldBlock):
            send_message(writer, [b"three"])
        for _ in range(2):
            reader.recv_multipart()
        send_message(writer, [b"four"])
        reader.recv_multipart()


@pytest.mark.parametrize("refused", [0, 1, 3, 4])
def test_a_message_refused_amid_is_finished(pair, monkeypatch, refused):
    calls = []

    def send(socket, frame, flags, copy=True):
        calls.append((frame, flags))
        if len(calls) == refused + 1 or not refused:
            raise zmq.Again

    monkeypatch.setattr(frames, "_send", send)
    with pytest.raises(WouldBlock):
        send_message(pair.dealer, [b"x"] * 5)
    more = int(zmq.NOBLOCK | zmq.SNDMORE)
    finished = [(b"x" if number <= refused else b"", more if number < 4 else zmq.NOBLOCK) for number in range(5)]
    assert calls == (finished if refused else finished[:1] * 2)  # the first is tried again, after a look


@pytest.mark.parametrize("message", [[b"ok", "text"], [b"ok", None], [b"ok", 7]])
def test_a_frame_that_is_no_buffer_is_refused_before_anything_left(pair, message):
    with pytest.raises(TypeError, match="a frame is bytes"):
        send_message(pair.dealer, message)
    send_message(pair.dealer, [b"next"])
    assert receive(Inbox(pair.router), pair.router) == [pair.peer, b"next"]


def test_a_message_of_no_frames_is_refused(pair):
    with pytest.raises(ValueError, match="at least one frame"):
        send_message(pair.dealer, [])


def test_a_closed_socket(pair):
    pair.dealer.close()
    with pytest.raises(SocketClosed):
        send_message(pair.dealer, [b"x"])
    with pytest.raises(zmq.ZMQError) as caught:
        Inbox(pair.dealer).receive()
    assert caught.value.errno == errno.ENOTSOCK
