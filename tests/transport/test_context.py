"""The context's I/O threads: scheduled as asked for."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import zmq

from maitred.transport.context import new_context


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has SCHED_BATCH")
def test_io_threads_do_not_push_their_senders_aside() -> None:
    before = set(os.listdir("/proc/self/task"))
    context = new_context(io_threads=2)
    try:
        context.socket(zmq.DEALER).close(linger=0)  # the first one starts the threads
        started = set(os.listdir("/proc/self/task")) - before
        names = {Path(f"/proc/self/task/{thread}/comm").read_text().strip(): int(thread) for thread in started}
        policies = [os.sched_getscheduler(thread) for name, thread in names.items() if "IO" in name]
        assert policies == [os.SCHED_BATCH] * 2
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
    finally:
        context.term()
