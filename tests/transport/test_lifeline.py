"""A child never outlives its parent: real processes, and a parent killed by SIGKILL."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time

import pytest
import trio

from maitred.transport import lifeline
from maitred.transport.lifeline import EXIT_PARENT_GONE, Lifeline, die_with_parent, open_lifeline

GONE_WITHIN_S = 2.0
STARTS_WITHIN_S = 10.0

PDEATHSIG_CHILD = """
import os, sys, time
from maitred.transport.lifeline import die_with_parent
assert die_with_parent(int(sys.argv[1]))
os.write(1, b"ready %d\\n" % os.getpid())
while True: time.sleep(60)
"""

LIFELINE_CHILD = """
import os, sys, time
from maitred.transport.lifeline import Lifeline
Lifeline(int(sys.argv[1])).watch()
os.write(1, b"ready %d\\n" % os.getpid())
while True: time.sleep(60)
"""

# The parent: starts the child as told, and waits to be killed.
PARENT = """
import os, subprocess, sys, time
from maitred.transport.lifeline import open_lifeline
way, script = sys.argv[1:]
give, hold = open_lifeline()
argument = str(os.getpid() if way == "pdeathsig" else give)
child = subprocess.Popen([sys.executable, "-c", script, argument], pass_fds=(give,) if way == "lifeline" else ())
time.sleep(60)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")  # nobody may be there to reap it
    except FileNotFoundError:
        return False


def await_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], STARTS_WITHIN_S)[0], "the child did not start"
    return process.stdout.readline()


@linux
@pytest.mark.slow
@pytest.mark.parametrize(("way", "script"), [("pdeathsig", PDEATHSIG_CHILD), ("lifeline", LIFELINE_CHILD)])
def test_a_child_is_gone_soon_after_its_parent_was_killed(way, script):
    with subprocess.Popen([sys.executable, "-c", PARENT, way, script], stdout=subprocess.PIPE) as parent:
        child = int(await_line(parent).split()[1])
        assert is_running(child)
        parent.kill()
        deadline = time.monotonic() + GONE_WITHIN_S
        while is_running(child):
            assert time.monotonic() < deadline, "the child outlived its parent"
            time.sleep(0.002)


@linux
def test_a_child_whose_parent_was_gone_already_ends_at_once():
    not_our_parent = 1 if os.getppid() != 1 else os.getpid() + 1
    done = subprocess.run([sys.executable, "-c", PDEATHSIG_CHILD, str(not_our_parent)], timeout=STARTS_WITHIN_S)
    assert done.returncode == EXIT_PARENT_GONE


@linux
@pytest.mark.slow
def test_the_signal_fires_when_the_starting_thread_ends():
    """The trap that the module warns of; should it ever vanish, the warning may go too."""
    started: list[subprocess.Popen[bytes]] = []

    def start():
        started.append(
            subprocess.Popen([sys.executable, "-c", PDEATHSIG_CHILD, str(os.getpid())], stdout=subprocess.PIPE)
        )
        await_line(started[0])

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    with started[0] as child:
        assert child.wait(GONE_WITHIN_S) == -signal.SIGKILL


def test_elsewhere_it_is_a_notice(monkeypatch, caplog):
    monkeypatch.setattr(lifeline.sys, "platform", "darwin")
    with caplog.at_level(logging.INFO):
        assert die_with_parent(os.getppid()) is False
    assert "life-line" in caplog.text


def test_a_watched_life_line_calls_once_when_the_parent_is_gone():
    give, hold = open_lifeline()
    line, gone = Lifeline(give), threading.Event()
    line.watch(gone.set)
    os.write(hold, b"bytes mean nothing")
    assert not gone.wait(0.02)
    os.close(hold)
    assert gone.wait(GONE_WITHIN_S)
    assert line.is_gone()
    line.close()
    line.close()


def test_a_life_line_closed_in_time_calls_nobody():
    give, hold = open_lifeline()
    line, gone = Lifeline(give), threading.Event()
    line.watch(gone.set)
    with pytest.raises(RuntimeError, match="watched already"):
        line.watch(gone.set)
    assert not line.is_gone()
    line.close()
    os.close(hold)
    assert not gone.is_set()
    assert "lifeline" not in {thread.name for thread in threading.enumerate()}


def test_a_life_line_may_be_closed_by_the_one_it_called():
    give, hold = open_lifeline()
    line, closed = Lifeline(give), threading.Event()

    def close():
        line.close()
        closed.set()

    line.watch(close)
    os.close(hold)
    assert closed.wait(GONE_WITHIN_S)


def test_neither_end_is_inherited():
    give, hold = open_lifeline()
    line = Lifeline(give)
    assert not os.get_inheritable(give)
    assert not os.get_inheritable(hold)
    line.close()
    os.close(hold)


async def test_under_trio(nursery):
    give, hold = open_lifeline()
    line, gone = Lifeline(give), trio.Event()

    async def wait():
        await line.wait_gone()
        gone.set()

    nursery.start_soon(wait)
    os.write(hold, b"bytes mean nothing")
    await trio.testing.wait_all_tasks_blocked()
    assert not gone.is_set()
    os.close(hold)
    with trio.fail_after(GONE_WITHIN_S):
        await gone.wait()
    line.close()


async def test_under_trio_cancelled():
    give, hold = open_lifeline()
    line = Lifeline(give)
    with trio.move_on_after(0.01) as scope:
        await line.wait_gone()
    assert scope.cancelled_caught
    assert not line.is_gone()
    line.close()
    os.close(hold)
