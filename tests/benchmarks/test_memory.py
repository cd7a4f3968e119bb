"""`memory`: what a process has and had, connections by the dozen, and a tiny run."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import zmq

from maitred.benchmarks.method.resident import forget_peak, peak_bytes, resident_bytes
from maitred.benchmarks.scenarios import memory
from maitred.benchmarks.scenarios.memory_of_connections import grow
from maitred.benchmarks.subjects.bare_router import bare_router
from maitred.benchmarks.subjects.connections import Connections, allow_descriptors
from maitred.benchmarks.subjects.protocol import Transport
from maitred.benchmarks.subjects.registry import chosen
from maitred.protocol import frames, messages
from maitred.protocol.bundles import first_of

MIB = 1024**2

GROW = """
import mmap, sys
print("small", flush=True)
sys.stdin.readline()
memory = mmap.mmap(-1, 64 << 20)
memory.write(bytes(64 << 20))
print("large", flush=True)
sys.stdin.readline()
memory.close()
print("small", flush=True)
sys.stdin.readline()
"""


@pytest.mark.slow
def test_a_process_is_looked_at_as_it_grows_and_shrinks() -> None:
    with subprocess.Popen([sys.executable, "-c", GROW], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        seen: list[int] = []
        for _ in range(3):
            process.stdout.readline()
            seen.append(resident_bytes(process.pid))
            if len(seen) == 1:
                forget_peak(process.pid)
            if len(seen) < 3:
                process.stdin.write(b"\n")
                process.stdin.flush()
        small, large, again = seen
        assert large - small >= 60 * MIB
        assert large - again >= 60 * MIB
        if sys.platform == "linux":
            assert peak_bytes(process.pid) - again >= 60 * MIB
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_a_bare_router_answers_every_connection_and_sees_them_go(transport: Transport) -> None:
    with bare_router(transport) as router:
        found = grow(router.pid, router.endpoint, (10, 30), 40, greets=False)
        assert [it.connections for it in found] == [10, 30]
        assert [it.used is None for it in found] == [True, False]
        assert all(0 < it.rss < 500 * MIB for it in found)
        again = Connections(router.endpoint, 5, greets=False)
        again.open_up_to(5)
        again.close()
        again.close()


def test_answers_that_come_bundled_are_counted_one_by_one() -> None:
    router: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    welcome = frames.encode(
        messages.Welcome(epoch=bytes(range(16)), interval=1.0, liveness=3, max_message=MIB, bundles=True)
    )

    def answer() -> None:
        peer, *_ = router.recv_multipart()
        router.send_multipart([peer, *welcome])
        for _ in range(3):
            router.recv_multipart()
        bundle, count = first_of([frames.encode(messages.Heartbeat())] * 3)
        assert count == 3
        router.send_multipart([peer, *bundle])

    answering = threading.Thread(target=answer)
    answering.start()
    connections = Connections(f"tcp://127.0.0.1:{port}", 1, greets=True)
    connections.open_up_to(1)
    connections.exchange(1, 3)
    answering.join()
    connections.close()
    router.close()


def test_descriptors_are_allowed_as_far_as_the_system_lets_them() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert allow_descriptors(1)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY:
            assert not allow_descriptors(hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
def test_a_run_has_connections_beside_the_floor_and_requests_that_waited() -> None:
    parameters = memory.Parameters(
        rounds=1, connections=(10, 100), exchanges=5, queued=300, payload_bytes=(10_240,), hold_s=3.0
    )
    found = memory.run(chosen("maitred", "zmq-direct"), parameters, lambda _: None)
    subjects = [(it.subject, it.setting.get("connections"), it.setting.get("queued")) for it in found.measurements]
    assert subjects == [
        ("maitred", 10, None), (memory.FLOOR, 10, None), ("maitred", 100, None), (memory.FLOOR, 100, None),
        ("maitred", None, 300),
    ]  # fmt: skip
    of_connections, floor, of_requests = (found.measurements[place].values for place in (2, 3, 4))
    assert 0 < of_connections["idle_connection_bytes"] < 200 * 1024
    assert 0 < floor["idle_connection_bytes"] < 200 * 1024
    assert of_requests["waiting_request_bytes"] > 10_240 * 0.8
    assert of_requests["peak_bytes"] >= of_requests["after_bytes"]
    assert [it.subject for it in found.skipped] == ["zmq-direct"]
    assert not any(it.void for it in found.measurements)


@pytest.mark.slow
def test_a_queue_that_was_not_full_in_time_is_void() -> None:
    parameters = memory.Parameters(rounds=1, connections=(1,), exchanges=1, queued=400, payload_bytes=(8,), hold_s=0.0)
    found = memory.run(chosen("maitred", "none"), parameters, lambda _: None)
    (last,) = [it for it in found.measurements if "queued" in it.setting]
    assert "hold_s" in last.void
