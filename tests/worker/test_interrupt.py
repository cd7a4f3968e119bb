"""The window of the main thread: what is overdue is hit, wherever the application is; nothing else ever is."""

from __future__ import annotations

import _thread
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from maitred.worker import Context, interrupt
from maitred.worker.context import Cancelled
from maitred.worker.interrupt import Window

PATIENCE_S = 5.0


class Request:
    """Something to stop."""

    def __init__(self) -> None:
        self.overdue = False
        self.interrupted = 0

    def interrupt(self) -> Cancelled:
        self.interrupted += 1
        return Cancelled("cancelled")


@pytest.fixture
def window() -> Iterator[Window]:
    window = Window()
    window.open()
    yield window
    window.close()


def number_of(window: Window) -> int:
    found = window._number  # pyright: ignore[reportPrivateUsage]
    assert found is not None
    return found


def knocking(window: Window, request: Request, until: Callable[[], Any]) -> threading.Thread:
    """Do what the control thread does with a request that is overdue."""

    def knock() -> None:
        end = time.monotonic() + PATIENCE_S
        while not until() and time.monotonic() < end:
            request.overdue = True
            window.knock()
            time.sleep(0.001)

    thread = threading.Thread(target=knock)
    thread.start()
    return thread


def interrupted(window: Window, function: Callable[[], Any]) -> Request:
    """Run something that never ends, and have it interrupted."""
    request = Request()
    thread = knocking(window, request, lambda: request.interrupted)
    began = time.monotonic()
    with pytest.raises(Cancelled):
        window.call(request, function)
    thread.join()
    assert time.monotonic() - began < PATIENCE_S
    assert request.interrupted == 1
    return request


def for_ever() -> None:
    while True:
        pass


def receive() -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return ours.recv(1)


def acquire() -> None:
    lock = threading.Lock()
    with lock, lock:
        pass


@pytest.mark.parametrize("function", [for_ever, lambda: time.sleep(60), receive, acquire])
def test_out_of_a_loop_and_out_of_a_blocking_call(window: Window, function: Callable[[], Any]) -> None:
    interrupted(window, function)


def test_out_of_a_generator_whose_blocks_run_undisturbed(window: Window) -> None:
    log: list[str] = []
    request = Request()

    def parts() -> Iterator[int]:
        try:
            yield 1
            for_ever()
        finally:
            for _ in range(1000):
                window.knock()  # nobody asks for it any more
            log.append("closed")

    generator = parts()
    assert window.call(request, next, generator) == 1
    thread = knocking(window, request, lambda: request.interrupted)
    with pytest.raises(Cancelled):
        window.call(request, next, generator)
    thread.join()
    assert log == ["closed"]


def test_who_swallows_it_goes_on_and_is_not_asked_again(window: Window) -> None:
    request = Request()
    thread = knocking(window, request, lambda: request.interrupted)

    def stubborn() -> str:
        try:
            for_ever()
        except Cancelled:
            window.knock()
            signal.raise_signal(number_of(window))
        return "done all the same"

    assert window.call(request, stubborn) == "done all the same"
    thread.join()


def test_code_of_maitreds_that_the_function_calls_is_left_whole(window: Window) -> None:
    """It would be between taking a lock and giving it back, or amid a message."""
    request = Request()
    context = Context()
    left = threading.Event()

    def sleeps_in_ours() -> str:
        context.sleep(0.05)
        left.set()
        return "slept"

    thread = knocking(window, request, left.is_set)
    try:
        assert window.call(request, sleeps_in_ours) == "slept"
    except Cancelled:  # between the two, in its own frame, it may be hit
        assert left.is_set()
    thread.join()


def test_a_function_that_has_returned_is_answered(window: Window) -> None:
    """The signal is noticed after its last instruction and before the window is closed."""
    request = Request()
    request.overdue = True
    assert window.call(request, _thread.interrupt_main, number_of(window)) is None
    assert not request.interrupted


def test_the_next_request_is_not_hit_by_the_signal_for_the_last(window: Window) -> None:
    late, other = Request(), Request()
    late.overdue = True
    window.call(other, lambda: signal.raise_signal(number_of(window)))
    signal.raise_signal(number_of(window))  # nothing runs
    assert not late.interrupted + other.interrupted


def test_nobody_is_sent_a_signal_for_what_has_ended(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would break off a call of C code's, which may not know what to make of that."""
    request = Request()
    window.call(request, lambda: None)
    request.overdue = True
    monkeypatch.setattr(signal, "pthread_kill", lambda *_: pytest.fail("it has ended"))
    window.knock()


def test_a_window_that_is_closed_sends_nothing_and_a_late_signal_is_harmless(window: Window) -> None:
    number = number_of(window)
    request = Request()
    request.overdue = True
    window.close()
    window.close()
    window.call(request, window.knock)
    signal.raise_signal(number)
    assert signal.getsignal(number) == signal.SIG_IGN


def test_a_handler_that_the_application_has_set_since_is_not_called(window: Window) -> None:
    number = number_of(window)
    called: list[int] = []
    before = signal.signal(number, lambda *_: called.append(1))
    request = Request()
    request.overdue = True
    window.call(request, window.knock)
    window.close()
    assert not called
    assert signal.getsignal(number) is not signal.SIG_IGN, "it was not ours to take away"
    signal.signal(number, before)
    signal.signal(number, signal.SIG_IGN)


def test_two_windows_take_two_signals(window: Window) -> None:
    other = Window()
    other.open()
    assert number_of(other) != number_of(window)
    other.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_signal_that_is_handled_behind_pythons_back_is_taken() -> None:
    import faulthandler

    wanted = signal.SIGRTMAX - 1
    faulthandler.register(wanted)
    try:
        assert signal.getsignal(wanted) in (signal.SIG_DFL, signal.SIG_IGN)
        window = Window()
        window.open()
        assert number_of(window) != wanted
        window.close()
    finally:
        faulthandler.unregister(wanted)


def test_where_no_signal_is_free_nothing_is_interrupted_and_a_notice_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(interrupt, "_candidates", list)
    window = Window()
    window.open()
    assert "cannot be interrupted" in capfd.readouterr().err
    request = Request()
    request.overdue = True
    assert window.call(request, window.knock) is None
    window.close()


@pytest.mark.slow
def test_only_what_is_overdue_is_hit_and_only_before_it_has_ended(window: Window) -> None:
    """Thousands of short requests, and somebody who knocks at any moment for the last, this or the next one."""
    near = [Request(), Request(), Request()]
    over = threading.Event()
    choose = random.Random(1)
    ended = 0

    def short(number: int) -> int:
        nonlocal ended
        total = 0
        for n in range(number % 400):
            total += n
        ended = number
        return number

    def knock() -> None:
        while not over.is_set():
            choose.choice(near).overdue = True
            window.knock()

    thread = threading.Thread(target=knock)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    number = hit = 0
    give_up = time.monotonic() + 4 * PATIENCE_S
    try:
        while (number < 5000 or hit < 20) and time.monotonic() < give_up:
            number += 1
            request = near[1]
            try:
                assert window.call(request, short, number) == number
                assert not request.interrupted
            except Cancelled:
                hit += 1
                assert request.overdue
                assert request.interrupted == 1
                assert ended != number, "it had ended: its result was lost"
            near[:] = [request, near[2], Request()]
    finally:
        over.set()
        sys.setswitchinterval(interval)
        thread.join()
    assert hit, "it was never hit: this run shows nothing"
