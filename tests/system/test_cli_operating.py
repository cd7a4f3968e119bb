"""The commands that look at and change a broker's requests, its quarantine and its pools' levels: real processes again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from scripted_broker import ScriptedBroker, echo, free_endpoint

from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import encode_body

pytestmark = pytest.mark.slow

POOL = {"name": "general", "available": 1, "busy": 1, "total": 2, "queued": 9, "max_queue": 10}
TABLES: dict[str, Any] = {
    "broker": {"software": "scripted", "draining": False, "uptime": 5.0, "requests": 2, "clients": 1},
    "pools": [POOL | {"level": "full", "retry_after": 0.25}],
    "requests": [
        {"id": "0a0b0c0d-7", "pool": "general", "command": "work", "state": "running", "age": 1.5,
         "priority": "high", "worker": "0102030405060708"},
        {"id": "0a0b0c0d-8", "pool": "general", "command": "work", "state": "queued", "age": 0.5,
         "priority": "low", "worker": None},
    ],
    "quarantine": [
        {"fingerprint": "f00d11", "pool": "general", "command": "eat", "deaths": 3, "last_cause": "oom", "age": 60.0},
        {"fingerprint": "f00d22", "pool": "general", "command": "eat", "deaths": 3, "last_cause": "signal", "age": 61.0},
    ],
    "sessions": [
        {"id": "5e55" * 8, "pool": "neural", "owner": "0102030405060708", "pid": 7, "epoch": 1, "ttl": 7200.0,
         "left": 60.5, "queued": 0, "running": 1, "requests": 3, "age": 5.0, "idle": 0.5, "affinity": "strict",
         "client": "0a0b0c0d", "metadata": {"user": "ada"}, "snapshot_bytes": 0},
        {"id": "5e5f" * 8, "pool": "neural", "owner": None, "pid": None, "epoch": 0, "ttl": 1.0},
    ],
}  # fmt: skip


def answers(message: Any, body: Any) -> Iterable[frames.Frames]:
    if isinstance(message, m.Query):
        return [frames.encode(m.Reply(message.id), encode_body(TABLES[message.what]))]
    if isinstance(message, m.Operate) and message.target == "nothing":
        text = f"nothing to {message.verb} is called 'nothing'"
        return [frames.encode(m.Error(message.id, "invalid_argument", text), encode_body({}))]
    if isinstance(message, m.Session):
        return [frames.encode(m.Reply(message.id), encode_body({message.verb: message.session.hex()}))]
    if isinstance(message, m.Operate):
        return [frames.encode(m.Reply(message.id), encode_body({message.verb: message.target}))]
    return echo(message, body)


@pytest.fixture(scope="module")
def broker() -> Iterator[ScriptedBroker]:
    broker = ScriptedBroker(free_endpoint(), answers)
    yield broker
    broker.close()


def maitred(broker: ScriptedBroker, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "maitred.cli", "--endpoint", broker.clients, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=50)


def printed(broker: ScriptedBroker, *words: str) -> str:
    done = maitred(broker, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("table", ["requests", "quarantine", "sessions"])
def test_a_table_is_listed_with_or_without_ls(broker: ScriptedBroker, table: str) -> None:
    for words in ([table], [table, "ls"]):
        header, first, second = printed(broker, *words).splitlines()
        assert header.split()[0] in ("ID", "FINGERPRINT")
        assert first.startswith(str(next(iter(TABLES[table][0].values()))))
        assert str(TABLES[table][1]["pool"]) in second
        assert json.loads(printed(broker, *words, "--json")) == TABLES[table]


def test_status_says_how_full_a_pool_is_where_the_broker_does(broker: ScriptedBroker) -> None:
    _, header, row = printed(broker, "status").splitlines()
    assert "LEVEL" in header
    assert "RETRY AFTER" in header
    assert "STARTING" not in header
    assert "full" in row
    assert "0.25 s" in row
    assert json.loads(printed(broker, "status", "--json"))["pools"][0]["level"] == "full"


def test_requests_are_cancelled_and_fingerprints_released(broker: ScriptedBroker) -> None:
    assert json.loads(printed(broker, "requests", "cancel", "0a0b0c0d-7")) == {"cancel": "0a0b0c0d-7"}
    assert json.loads(printed(broker, "quarantine", "release", "all")) == {"release": "all"}
    for words in (["requests", "cancel", "nothing"], ["quarantine", "release", "nothing"]):
        done = maitred(broker, *words)
        assert done.returncode == 1
        assert "is called 'nothing'" in done.stderr
        assert "Traceback" not in done.stderr


def test_one_fingerprint_is_shown_by_how_it_begins(broker: ScriptedBroker) -> None:
    assert "last_cause: oom\n" in printed(broker, "quarantine", "show", "f00d1")
    assert json.loads(printed(broker, "quarantine", "show", "f00d22", "--json")) == TABLES["quarantine"][1]
    for word, said in (("f00d", "2 ids of quarantine begin with 'f00d'"), ("beef", "no id of quarantine begins with")):
        done = maitred(broker, "quarantine", "show", word)
        assert done.returncode == 1
        assert said in done.stderr


def test_a_call_has_a_priority(broker: ScriptedBroker) -> None:
    assert printed(broker, "call", "general", "echo", '{"n": 1}', "--priority", "high") == '{"n": 1}\n'
    assert printed(broker, "call", "general", "echo", "--stream", "--priority", "low") == "{}\n"
    assert [request.priority for request in broker.requests[-2:]] == [m.HIGH, m.LOW]
    assert maitred(broker, "call", "general", "echo", "--priority", "urgent").returncode == 2


def test_one_session_is_shown_and_closed_by_how_it_begins(broker: ScriptedBroker) -> None:
    shown = printed(broker, "sessions", "show", "5e55")
    assert "owner: 0102030405060708\n" in shown
    assert 'metadata: {"user": "ada"}\n' in shown
    assert json.loads(printed(broker, "sessions", "show", "5e5f", "--json")) == TABLES["sessions"][1]
    assert json.loads(printed(broker, "sessions", "close", "5e55")) == {"close": "5e55" * 8}
    for word, said in (("5e5", "2 ids of sessions begin with '5e5'"), ("beef", "no id of sessions begins with")):
        done = maitred(broker, "sessions", "close", word)
        assert done.returncode == 1
        assert said in done.stderr


def test_a_call_runs_in_a_session(broker: ScriptedBroker) -> None:
    assert printed(broker, "call", "neural", "echo", '{"n": 1}', "--session", "5e55" * 8) == '{"n": 1}\n'
    assert printed(broker, "call", "-", "echo", "--stream", "--session", "5e55" * 8) == "{}\n"
    assert [(request.pool, request.session) for request in broker.requests[-2:]] == [
        ("neural", bytes.fromhex("5e55" * 8)),
        (None, bytes.fromhex("5e55" * 8)),
    ]
    done = maitred(broker, "call", "neural", "echo", "--session", "mine")
    assert done.returncode == 2
    assert "32 hexadecimal digits" in done.stderr
