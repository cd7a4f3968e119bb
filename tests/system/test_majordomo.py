"""Peers that know nothing of maitred at a real broker: hand-made ones of both versions, and majortomo's, unchanged."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
from majortomo.client import Client as MajortomoClient
from user_shell import ANY_PORT, Shell, ready

from maitred.client import Client
from maitred.testing import House, Pool, running

HERE = Path(__file__).parent
RAW = {"majordomo_command": "run", "majordomo_body": "raw"}
BROKER = {"majordomo": "tcp://127.0.0.1:0", "majordomo_heartbeat_s": 0.5}
PATIENCE_MS = 20_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@contextmanager
def old_worker(kind: str, endpoint: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, str(HERE / "old_peers.py"), kind, endpoint, "general"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            yield process
        finally:
            process.kill()


@contextmanager
def socket(endpoint: str, kind: int) -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        it = context.socket(kind)
        it.setsockopt(zmq.LINGER, 0)
        it.setsockopt(zmq.RCVTIMEO, PATIENCE_MS)
        it.connect(endpoint)
        yield it
    finally:
        context.destroy(linger=0)


@contextmanager
def majortomo(endpoint: str) -> Iterator[MajortomoClient]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        with MajortomoClient(endpoint, context) as client:
            yield client
    finally:
        context.destroy(linger=0)


def workers(house: House, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while len(house.client.workers()) != count:
        assert time.monotonic() < deadline, house.client.workers()
        time.sleep(0.005)


# --- one request after another, in each way ---

Calling = Callable[[list[bytes]], list[bytes]]


@contextmanager
def by_req(endpoint: str) -> Iterator[Calling]:
    def call(body: list[bytes]) -> list[bytes]:
        it.send_multipart([b"MDPC01", b"general", *body])
        opening, name, *answer = it.recv_multipart()
        assert (opening, name) == (b"MDPC01", b"general")
        return answer

    with socket(endpoint, zmq.REQ) as it:
        yield call


@contextmanager
def by_dealer(endpoint: str) -> Iterator[Calling]:
    def call(body: list[bytes]) -> list[bytes]:
        it.send_multipart([b"MDPC02", b"\x01", b"general", *body])
        found: list[bytes] = []
        while True:
            opening, number, name, *frames = it.recv_multipart()
            assert (opening, name) == (b"MDPC02", b"general")
            found += frames
            if number == b"\x03":
                return found

    with socket(endpoint, zmq.DEALER) as it:
        yield call


@contextmanager
def by_majortomo(endpoint: str) -> Iterator[Calling]:
    def call(body: list[bytes]) -> list[bytes]:
        client.send("general", *body)
        return client.recv_all_as_list(timeout=PATIENCE_MS / 1000)

    with majortomo(endpoint) as client:
        yield call


@contextmanager
def by_ours(endpoint: str) -> Iterator[Calling]:
    def call(body: list[bytes]) -> list[bytes]:
        found = client.execute("general", "run", {"body": body})
        assert isinstance(found, list)
        return found

    with Client(endpoint) as client:
        yield call


def old_pool(**limits: Any) -> Pool:
    """A pool for old workers alone."""
    return Pool(f"{HERE / 'majordomo_app.py'}:service", size=0, limits=RAW | limits)


def calls(number: int, kind: Callable[[str], AbstractContextManager[Calling]], endpoint: str) -> int:
    with kind(endpoint) as call:
        for n in range(2000):
            body = [b"%d" % number, b"%d" % n * (1 if n % 100 else 5000)]
            assert call(body) == body
    return 2000


def test_ten_thousand_requests_of_all_kinds_of_clients_to_all_kinds_of_workers() -> None:
    with running(Pool(f"{HERE / 'majordomo_app.py'}:service", limits=RAW), broker=BROKER) as house:
        kinds = [
            (by_req, house.clients), (by_req, house.majordomo), (by_dealer, house.clients_tcp),
            (by_majortomo, house.majordomo), (by_ours, house.clients),
        ]  # fmt: skip
        with (
            old_worker("1", house.majordomo),
            old_worker("2", house.workers),
            old_worker("majortomo", house.workers_tcp),
            ThreadPoolExecutor() as threads,
        ):
            workers(house, 4)
            futures = [threads.submit(calls, number, *kind) for number, kind in enumerate(kinds)]
            assert sum(future.result() for future in futures) == 10_000
            row = house.client.pools()[0]
            assert (row["completed"], row["failed"]) == (10_000, 0)
        workers(house, 1)
        served = [row["served"] for row in house.client.deaths()]
        assert len(served) == 3
        assert all(count > 500 for count in served), served


@pytest.mark.parametrize("kind", ["1", "2", "majortomo"])
def test_partials_and_whole_answers_of_each_kind_of_worker(kind: str) -> None:
    with running(old_pool(), broker=BROKER) as house, old_worker(kind, house.majordomo):
        for make in (by_req, by_dealer, by_majortomo, by_ours):
            with make(house.clients) as call:
                assert call([b"a", b"b", b"c" * 100_000]) == [b"a", b"b", b"c" * 100_000]


def test_values_and_streams_of_native_workers() -> None:
    with running(Pool(f"{HERE / 'majordomo_app.py'}:service"), broker=BROKER) as house:
        with socket(house.clients, zmq.REQ) as it:
            it.send_multipart([b"MDPC01", b"general", b"add", msgpack.packb({"a": 1, "b": 2})])
            assert msgpack.unpackb(it.recv_multipart()[-1]) == 3
            it.send_multipart([b"MDPC01", b"general", b"sub", b"\x80"])
            *_, mark, why = it.recv_multipart()
            assert (mark, msgpack.unpackb(why)["code"]) == (b"maitred.error", "unknown_command")
            it.send_multipart([b"MDPC01", b"mmi.service", b"general"])
            assert it.recv_multipart() == [b"MDPC01", b"mmi.service", b"200"]
        with majortomo(house.majordomo) as client:
            client.send("general", b"count", msgpack.packb({"to": 500}))
            parts = [msgpack.unpackb(frame) for (frame,) in client.recv_all(timeout=20)]
            assert parts[:500] == list(range(500))


@pytest.mark.parametrize("kind", ["1", "2"])
def test_an_old_worker_that_is_killed_amid_a_request(kind: str) -> None:
    with running(old_pool(), broker=BROKER) as house:
        with old_worker(kind, house.majordomo) as process, socket(house.clients, zmq.REQ) as it:
            it.send_multipart([b"MDPC01", b"general", b"sleep"])
            assert process.stdout is not None
            assert process.stdout.readline() == "asleep\n"
            killed_at = time.monotonic()
            os.kill(process.pid, signal.SIGKILL)
            *_, mark, why = it.recv_multipart()
            took_s = time.monotonic() - killed_at
            table = json.loads(why)
            assert (mark, table["code"]) == (b"maitred.error", "worker_lost")
            assert table["certificate"]["note"] == "its connection has ended"
            assert took_s < 2.0
        with old_worker("1", house.workers), by_req(house.clients) as call:  # the pool goes on
            assert call([b"x"]) == [b"x"]


def test_a_stopped_old_worker_is_found_out_by_its_silence_and_comes_back_by_itself() -> None:
    with running(old_pool(), broker=BROKER) as house, old_worker("1", house.majordomo) as process:
        workers(house, 1)
        before = house.client.workers()[0]["id"]
        os.kill(process.pid, signal.SIGSTOP)
        workers(house, 0)
        os.kill(process.pid, signal.SIGCONT)
        workers(house, 1)
        assert house.client.workers()[0]["id"] != before


def test_the_page_shows_what_works(tmp_path: Path) -> None:
    page = (HERE.parents[1] / "docs" / "majordomo.md").read_text()
    endpoint = f"ipc://{tmp_path}/majordomo"

    def block(language: str, place: int) -> str:
        found = re.findall(rf"^```{language}\n(.*?)^```", page, re.S | re.M)[place]
        return found.replace("tcp://127.0.0.1:5755", endpoint)

    (tmp_path / "maitred.toml").write_text(block("toml", 0))
    (tmp_path / "worker.py").write_text(block("python", 0))
    (tmp_path / "client.py").write_text(block("python", 1))
    user = Shell(tmp_path)
    with subprocess.Popen([sys.executable, str(tmp_path / "worker.py")]) as worker:
        try:
            assert ready(user.start(*ANY_PORT, "broker"))
            script = [sys.executable, str(tmp_path / "client.py")]
            done = subprocess.run(script, env=user.environment, capture_output=True, text=True, timeout=50)
            assert done.stdout == "[b'MDPC01', b'echo', b'hello', b'world']\n[b'hello', b'world']\n", done.stderr
        finally:
            worker.kill()
            user.end()
