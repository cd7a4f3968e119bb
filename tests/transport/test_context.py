"""The context's I/O threads: scheduled as asked for, where that may be asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zmq

from maitred.transport.context import SCHEDULING, new_context


def is_io(thread: str) -> bool:
    try:
        return "/IO/" in Path(f"/proc/self/task/{thread}/comm").read_text()
    except OSError:  # it has ended since it was listed: absent before the file is opened, ESRCH when it is read
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has SCHED_BATCH")
def test_io_threads_do_not_push_their_senders_aside_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCHEDULING, "batch")
    before = set(os.listdir("/proc/self/task"))
    context = new_context(io_threads=2)
    try:
        context.socket(zmq.DEALER).close(linger=0)  # the first one starts the threads
        give_up = time.monotonic() + 5
        policies: list[int] = []
        while len(policies) < 2 and time.monotonic() < give_up:  # each names itself after it was scheduled
            started = [thread for thread in os.listdir("/proc/self/task") if thread not in before]
            policies = [os.sched_getscheduler(int(thread)) for thread in started if is_io(thread)]
        assert policies == [os.SCHED_BATCH] * 2
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
    finally:
        context.term()


REFUSED = """
import os, sys
import zmq
from maitred.transport import context as module

def refuse(*_):
    raise PermissionError

if sys.argv[1] == "refused":
    os.sched_setscheduler = refuse
elif sys.argv[1] == "idle":
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

def is_io(thread):
    try:
        return "/IO/" in open(f"/proc/self/task/{thread}/comm").read()
    except OSError:  # the one that tried the policy out has ended since it was listed
        return False

context = module.new_context()
context.socket(zmq.DEALER).close(linger=0)
while not (threads := [thread for thread in os.listdir("/proc/self/task") if is_io(thread)]):
    pass
for thread in threads:
    print(os.sched_getscheduler(int(thread)))
context.term()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has SCHED_BATCH")
@pytest.mark.parametrize(
    ("why", "policy"), [("refused", os.SCHED_OTHER), ("idle", os.SCHED_IDLE), ("default", os.SCHED_OTHER)]
)
def test_where_it_may_not_be_asked_for_the_policy_is_left_alone(why: str, policy: int) -> None:
    environment = {**os.environ, SCHEDULING: "normal" if why == "default" else "batch"}
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, why], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == [str(policy)]


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCHEDULING, "fast")
    with pytest.raises(ValueError, match="accepted: normal, batch"):
        new_context()
