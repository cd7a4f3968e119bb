"""The probes of a running broker, as a supervisor asks them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from user_shell import ANY_PORT, Shell, ended, ready, wait_for

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
APP = f'adapter = "{HERE / "app.py"}:service"\n'
BROKEN = f'adapter = "{HERE / "app.py"}:broken"\n'


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.end()


def get(address: str, path: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, json.loads(text) if text.startswith("{") else text
    finally:
        connection.close()


def address_in(line: str) -> str:
    return line.partition("http://")[2].split(",")[0]


def test_ready_is_who_can_serve_and_who_cannot_says_why(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text("[pools.app]\n" + APP + "[pools.ill]\n" + BROKEN)
    house = shell.start(*ANY_PORT, "up")
    address = address_in(ready(house))
    assert get(address, "/healthz") == (200, "ok\n")
    assert get(address, "/readyz/app") == (200, {"ready": True})
    status, found = get(address, "/readyz/ill")
    assert status == 503
    assert "the model file is missing" in found["reason"]
    assert "app.py" in found["reason"]
    assert get(address, "/readyz") == (200, {"ready": True, "pools": {"app": {"ready": True}, "ill": found}})
    assert get(address, "/readyz/aap")[0] == 404
    assert get(address, "/nothing")[0] == 404
    shell.maitred("pause", "app")
    assert get(address, "/readyz/app") == (503, {"ready": False, "reason": "paused"})
    assert get(address, "/readyz")[0] == 503
    shell.maitred("resume", "app")
    assert get(address, "/readyz")[0] == 200
    house.send_signal(signal.SIGTERM)
    assert ended(house)[0] == 0


def test_it_is_not_ready_while_it_drains(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text("[pools.app]\n" + APP)
    house = shell.start(*ANY_PORT, "up")
    address = address_in(ready(house))
    call = threading.Thread(target=shell.maitred, args=("call", "app", "nap", '{"seconds": 3}'))
    call.start()
    wait_for(lambda: any(row["state"] == "busy" for row in shell.json("workers", "--json")))
    house.send_signal(signal.SIGTERM)
    wait_for(lambda: get(address, "/readyz")[0] == 503)
    status, found = get(address, "/readyz/app")
    assert (status, found["reason"]) == (503, "the broker is shutting down")
    assert get(address, "/healthz")[0] == 200
    call.join()
    assert ended(house)[0] == 0


def test_garbage_and_silence_harm_nobody(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text("[pools.app]\n" + APP)
    house = shell.start(*ANY_PORT, "up")
    address = address_in(ready(house))
    host, _, port = address.rpartition(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(20)]
    for sent in (
        b"\x00" * 100,
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 50_000,
    ):
        with socket.create_connection((host, int(port)), timeout=10) as rude:
            rude.sendall(sent)
            answer = rude.recv(1000)
            assert not answer or b" 4" in answer
    began = time.monotonic()
    assert get(address, "/readyz/app")[0] == 200
    assert time.monotonic() - began < 5
    assert shell.maitred("call", "app", "pid").returncode == 0
    for one in silent:
        one.close()
    house.send_signal(signal.SIGTERM)
    code, errors = ended(house)
    assert code == 0, errors
    assert "Traceback" not in errors


def test_a_port_that_is_taken_is_said_and_none_is_none(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text("[pools.app]\n" + APP)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = shell.maitred(*ANY_PORT, "--set", f"broker.http=127.0.0.1:{port}", "up")
        assert done.returncode == 1
        assert f"127.0.0.1:{port}" in done.stderr
        assert "broker.http" in done.stderr
        assert "Traceback" not in done.stderr
    house = shell.start(*ANY_PORT, "--set", "broker.http=", "up")
    assert "http://" not in ready(house)
    house.send_signal(signal.SIGTERM)
    assert ended(house)[0] == 0


def test_a_broker_by_itself_says_where_and_has_no_worker(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text("[pools.app]\n" + APP)
    broker = shell.start(*ANY_PORT, "broker")
    address = ready(broker).strip().rpartition("http://")[2]
    assert get(address, "/healthz") == (200, "ok\n")
    assert get(address, "/readyz/app") == (503, {"ready": False, "reason": "no worker"})
    broker.send_signal(signal.SIGTERM)
    assert ended(broker)[0] == 0


def test_however_many_connect_few_descriptors_go_for_it_and_a_probe_is_answered(shell: Shell) -> None:
    (shell.directory / "maitred.toml").write_text("[pools.app]\n" + APP)
    broker = shell.start(*ANY_PORT, "broker")
    address = ready(broker).strip().rpartition("http://")[2]
    before = descriptors(broker.pid)
    host, _, port = address.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            one = stack.enter_context(socket.create_connection((host, int(port)), 5.0))
            one.sendall(b"GET /readyz HTTP/1.1\r\nX: ")
        assert get(address, "/healthz") == (200, "ok\n")
        wait_for(lambda: descriptors(broker.pid) <= before + 64)
        assert get(address, "/healthz") == (200, "ok\n")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))
