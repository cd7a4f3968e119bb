"""How a load is carried out on the three kinds of client library: blocking calls, futures, and an event loop.

What a subject's users would do decides which is taken; sockets without a library have a driver of their own
(`maitred.benchmarks.subjects.zmq_client`).
"""

from __future__ import annotations

import ctypes
import functools
import queue
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any

import anyio

from maitred.benchmarks.method.load import Flow, Load
from maitred.benchmarks.method.pace import Pace
from maitred.benchmarks.method.recorder import now_ns

__all__ = ["drive_async", "drive_calls", "drive_futures", "drive_threads", "precise_sleeps", "sleep_until"]

SPIN_NS = 1_500_000
"""Before this is left, an event loop is not asked to sleep: epoll's clock ticks in milliseconds, and rounds up."""

PR_SET_TIMERSLACK = 29  # <linux/prctl.h>

_slack = threading.local()


def precise_sleeps() -> None:
    """Have this thread woken when it asked, not up to 50 µs later with others. Linux; elsewhere nothing changes."""
    if not getattr(_slack, "is_set", False):
        _slack.is_set = True
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)


def sleep_until(due: int) -> None:
    """Sleep until a time of the measurements' clock, to about 10 µs on Linux."""
    left = due - now_ns()
    if left > 0:
        precise_sleeps()
        time.sleep(left / 1e9)


def drive_calls(call: Callable[[], object], load: Load) -> Flow:
    """Blocking calls, one after the other, in this thread."""
    pace = Pace(load)
    flow = pace.flow
    while (due := pace.next_due_ns()) is not None:
        sleep_until(due)
        began = pace.take(due)
        try:
            call()
        except Exception as error:
            flow.fail(error, now_ns() - began)
        else:
            flow.latency.append(now_ns() - began)
    return pace.end()


def drive_threads(calls: Sequence[Callable[[], object]], load: Load) -> Flow:
    """Blocking calls in threads, each with a call of its own connection; as many outstanding as there are calls."""
    if len(calls) == 1:
        return drive_calls(calls[0], load)
    pace, lock = Pace(load), threading.Lock()

    def run(call: Callable[[], object]) -> None:
        while True:
            with lock:
                due = pace.next_due_ns()
                if due is None:
                    return
                sleep_until(due)
                began = pace.take(due)
            try:
                call()
            except Exception as error:
                pace.flow.fail(error, now_ns() - began)
            else:
                pace.flow.latency.append(now_ns() - began)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return pace.end()


def drive_futures(submit: Callable[[], Future[Any]], load: Load) -> Flow:
    """Requests that are submitted at once and answered by a future; this thread sends, the library's own receives."""
    pace = Pace(load)
    flow = pace.flow
    room: queue.SimpleQueue[None] = queue.SimpleQueue()
    for _ in range(load.outstanding):
        room.put(None)

    def ended(began: int, future: Future[Any]) -> None:
        took = now_ns() - began
        error = future.exception()
        if error is None:
            flow.latency.append(took)
        else:
            flow.fail(error, took)
        room.put(None)

    while True:
        room.get()
        due = pace.next_due_ns()
        if due is None:
            break
        sleep_until(due)
        began = pace.take(due)
        try:
            submit().add_done_callback(functools.partial(ended, began))
        except Exception as error:
            flow.fail(error, now_ns() - began)
            room.put(None)
    for _ in range(load.outstanding - 1):
        room.get()
    return pace.end()


async def drive_async(execute: Callable[[], Awaitable[object]], load: Load) -> Flow:
    """Awaited requests in one event loop, under trio or asyncio."""
    pace = Pace(load)
    if load.rate_per_s > 0:
        await _open_loop(execute, load, pace)
    elif load.outstanding == 1:
        await _keep_asking(execute, pace)
    else:
        async with anyio.create_task_group() as tasks:
            for _ in range(load.outstanding):
                tasks.start_soon(_keep_asking, execute, pace)
    return pace.end()


async def _keep_asking(execute: Callable[[], Awaitable[object]], pace: Pace) -> None:
    while (due := pace.next_due_ns()) is not None:
        await _ask(execute, pace.flow, pace.take(due))


async def _ask(execute: Callable[[], Awaitable[object]], flow: Flow, began: int) -> None:
    try:
        await execute()
    except Exception as error:
        flow.fail(error, now_ns() - began)
    else:
        flow.latency.append(now_ns() - began)


async def _open_loop(execute: Callable[[], Awaitable[object]], load: Load, pace: Pace) -> None:
    room = anyio.Semaphore(load.outstanding)

    async def ask(began: int) -> None:
        await _ask(execute, pace.flow, began)
        room.release()

    async with anyio.create_task_group() as tasks:
        while (due := pace.next_due_ns()) is not None:
            await room.acquire()
            while (left := due - now_ns()) > 0:  # noqa: ASYNC110 - what it waits for is the clock
                await anyio.sleep((left - SPIN_NS) / 1e9 if left > SPIN_NS else 0)
            tasks.start_soon(ask, pace.take(due))
