"""The JSON API of a running broker: its rows, its refusals, who may do what, and that it is as its description says."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from maitred.broker.web.openapi import document
from maitred.client.errors import WorkerLost
from maitred.testing import House, Pool, running

pytestmark = pytest.mark.slow

APP = f"{Path(__file__).with_name('app.py')}:service"


class Caller:
    """Speaks HTTP with a house."""

    def __init__(self, house: House) -> None:
        self.house = house

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
        status, _, content = self.whole(path, method, **headers)
        return status, json.loads(content)

    def whole(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.house.http, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def as_operator(self, path: str, method: str = "GET") -> tuple[int, Any]:
        return self.ask(path, method, Authorization=f"Bearer {self.house.secret}")


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running(Pool(APP, size=2), spare=Pool(APP, size=1), broker={"http": "127.0.0.1:0"}) as house:
        with pytest.raises(WorkerLost):
            house.client.execute("spare", "kill_itself")
        house.wait_ready()
        yield house


@pytest.fixture
def api(house: House) -> Caller:
    return Caller(house)


def test_the_rows_are_those_of_the_command_line(api: Caller, house: House) -> None:
    def but_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        moving = {"age", "rss", "cpu", "lag", "utilisation", "gpu_use", "oldest_wait"}
        return [{name: value for name, value in row.items() if name not in moving} for row in rows]

    with house.client.session("general") as session:
        session.execute("echo", {"message": "x"})
        status, found = api.as_operator("/api/v1/sessions")
        assert (status, found["total"], found["sessions"][0]["requests"]) == (200, 1, 1)
    for path, rows in (("pools", house.client.pools()), ("workers", house.client.workers())):
        status, found = api.as_operator(f"/api/v1/{path}")
        assert (status, found["total"]) == (200, len(rows))
        assert but_times(found[path]) == but_times(rows)
    assert api.ask("/api/v1/pools/general")[1]["name"] == "general"
    assert api.ask("/api/v1/workers?pool=spare&limit=1")[1]["total"] == 1
    assert api.ask("/api/v1/pools/general/desired")[1]["size"] == 2


def test_a_worker_that_died_is_shown_with_its_certificate(api: Caller) -> None:
    (death,) = [row for row in api.as_operator("/api/v1/deaths")[1]["deaths"] if row["cause"] == "signal"]
    status, found = api.as_operator(f"/api/v1/workers/{death['worker'][:10]}")
    assert (status, found["worker"], found["death"]["signal"]) == (200, None, "SIGKILL")
    names = [event["name"] for event in api.ask("/api/v1/events?name=worker.died")[1]["events"]]
    assert names == ["worker.died"] * len(names) != []
    last = api.ask("/api/v1/events")[1]["last"]
    assert api.ask(f"/api/v1/events?after={last}")[1]["events"] == []


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/v1/workers?pol=general", 400, "no parameter 'pol'; there are: pool, limit"),
        ("/api/v1/workers?limit=0", 400, "expected a number from 1 to 10000"),
        ("/api/v1/workers?limit=1&limit=2", 400, "more than once"),
        ("/api/v1/workers?pool=genral", 404, "did you mean 'general'?"),
        ("/api/v1/pools/nowhere", 404, "no pool 'nowhere'"),
        ("/api/v1/pools/nowhere/desired", 404, "no pool 'nowhere'"),
        ("/api/v1/workers/zz", 400, "4 of its hexadecimal digits"),
        ("/api/v1/workers/00000000ffff", 404, "no worker's id begins with"),
        ("/api/v1/events?after=x", 400, "after='x'"),
        ("/api/v2", 404, "openapi.json"),
        ("/page/secret", 404, "no file"),
        ("/page/..%2f..%2fserving.py", 404, ""),
    ],
)
def test_what_is_wrong_is_said(api: Caller, path: str, status: int, words: str) -> None:
    found, answer = api.ask(path)
    assert (found, words in answer["error"]["message"]) == (status, True), answer


def test_a_path_takes_its_own_methods_only(api: Caller) -> None:
    status, headers, _ = api.whole("/api/v1/pools", "DELETE")
    assert (status, sorted(headers["allow"].split(", "))) == (405, ["GET", "HEAD"])


def test_changes_need_the_operators_token(api: Caller, house: House) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {house.secret}"}):
        status, answer = api.ask("/api/v1/pools/general/pause", "POST", **headers)
        assert status in (401, 403), answer
        assert "Bearer" in answer["error"]["message"]
    assert not house.client.pools()[0]["paused"]
    assert api.as_operator("/api/v1/pools/general/pause", "POST")[0] == 200
    assert house.client.pools()[0]["paused"]
    assert api.as_operator("/api/v1/pools/general/resume", "POST")[0] == 200
    assert api.as_operator("/api/v1/pools/general/explode", "POST")[0] == 404
    assert "n=" in api.as_operator("/api/v1/pools/general/scale", "POST")[1]["error"]["message"]
    assert api.as_operator("/api/v1/pools/general/scale?n=-1", "POST")[0] == 400
    assert api.as_operator("/api/v1/workers/general/drain", "POST")[0] == 404
    events = [it["name"] for it in api.ask("/api/v1/events?name=operator")[1]["events"]]
    assert events == ["operator.pause", "operator.resume"]


def test_scaling_and_retiring_do_what_they_say(api: Caller, house: House) -> None:
    assert api.as_operator("/api/v1/pools/spare/scale?n=3", "POST")[1] == {"pool": "spare", "size": 3, "before": 1}
    wait_for(lambda: house.client.pools()[1]["available"] == 3)
    _, done = api.as_operator("/api/v1/pools/spare/retire?n=2", "POST")
    assert (len(done["retired"]), done["left"]) == (2, 1)
    assert {"id", "host", "pid"} <= done["retired"][0].keys()
    wait_for(lambda: house.client.pools()[1]["total"] == 1)
    assert house.client.pools()[1]["size"] == 1
    (worker,) = [row["id"] for row in house.client.workers() if row["pool"] == "spare"]
    assert api.as_operator(f"/api/v1/workers/{worker}/recycle", "POST")[1] == {"workers": [worker]}
    wait_for(lambda: worker not in [row["id"] for row in house.client.workers()])


def wait_for(condition: Any, within_s: float = 15.0) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, "it never came true"
        time.sleep(0.02)


def test_a_probe_is_answered_by_every_name_and_told_nothing_else(api: Caller) -> None:
    for path in ("/readyz", "/readyz/general"):
        assert api.ask(path, Host="10.1.2.3:5752") == (200, {"ready": True})
    assert api.ask("/readyz/nobody", Host="10.1.2.3:5752") == (503, {"ready": False})
    assert api.ask("/readyz", Host="10.1.2.3:5752", Authorization="Bearer wrong")[0] == 401
    assert set(api.ask("/readyz")[1]["pools"]) == {"general", "spare"}
    status, found = api.ask("/readyz/nobody")
    assert (status, found["pools"]) == (404, ["general", "spare"])
    api.as_operator("/api/v1/pools/spare/pause", "POST")
    try:
        assert api.ask("/readyz/spare", Host="10.1.2.3:5752") == (503, {"ready": False})
        assert api.ask("/readyz/spare") == (503, {"ready": False, "reason": "paused"})
    finally:
        api.as_operator("/api/v1/pools/spare/resume", "POST")


def test_without_a_token_only_this_host_is_answered_and_nobody_sees_what_others_wrote(
    api: Caller, house: House
) -> None:
    assert api.ask("/api/v1/pools", Host="evil.example")[0] == 403
    assert api.ask("/api/v1/pools", Host="localhost:1")[0] == 200
    for row in api.ask("/api/v1/deaths")[1]["deaths"]:
        assert row["stderr"] is row["note"] is None
    with house.client.session("general", metadata={"user": "ann"}) as session:
        (row,) = api.ask("/api/v1/sessions")[1]["sessions"]
        assert (row["metadata"], row["id"]) == (None, session.id[:8]), "who knows all of it may use the session"
        assert session.id not in json.dumps(api.ask("/api/v1/events")[1])
        assert session.id in json.dumps(api.as_operator("/api/v1/events")[1])
        found = api.as_operator("/api/v1/sessions")[1]["sessions"]
        assert [row["metadata"]["user"] for row in found] == ["ann"]


def test_every_answer_keeps_a_browser_from_mischief(api: Caller) -> None:
    for path in ("/", "/page/maitred.js", "/api/v1/pools", "/nothing", "/healthz"):
        _, headers, _ = api.whole(path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_answers_are_as_described(api: Caller) -> None:
    OpenAPIV31SpecValidator(document()).validate()
    described = api.ask("/api/v1/openapi.json")[1]
    assert described == json.loads(json.dumps(document()))
    workers = api.ask("/api/v1/workers")[1]["workers"]
    checked = 0
    for path, methods in described["paths"].items():
        if "get" in methods and path != "/api/v1/live":
            asked = path.format(pool="general", worker=workers[0]["id"])
            status, answer = api.as_operator(asked)
            assert status == 200, (path, answer)
            schema = methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            Draft202012Validator(schema | {"components": described["components"]}).validate(answer)
            checked += 1
    assert checked >= 10


def test_the_live_stream_tells_each_second(house: House) -> None:
    connection = http.client.HTTPConnection(house.http, timeout=10)
    connection.request("GET", "/api/v1/live")
    answer = connection.getresponse()
    assert answer.getheader("content-type", "").startswith("text/event-stream")
    told: list[tuple[str, Any]] = []
    while sum(name == "snapshot" for name, _ in told) < 3:
        line = answer.readline().decode().rstrip("\n")
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
            told.append((name, json.loads(answer.readline().decode().removeprefix("data: "))))
    connection.close()
    assert told[0][0] == "hello"
    assert told[0][1]["right"] == "look"
    snapshot = told[-1][1]
    assert [pool["name"] for pool in snapshot["pools"]] == ["general", "spare"]
    assert len(snapshot["workers"]) == snapshot["totals"]["workers"] == 3


def test_so_many_pages_may_listen_and_no_more_however_they_come(house: House) -> None:
    for _ in range(2):  # and once they are gone, as many others may
        connections = [http.client.HTTPConnection(house.http, timeout=10) for _ in range(30)]
        for connection in connections:
            connection.request("GET", "/api/v1/live")
        answers = [connection.getresponse().status for connection in connections]
        assert (answers.count(200), answers.count(503)) == (16, 14)
        for connection in connections:
            connection.close()
        wait_for(lambda: is_free(house))


def is_free(house: House) -> bool:
    """Whether one more page may listen."""
    connection = http.client.HTTPConnection(house.http, timeout=10)
    try:
        connection.request("GET", "/api/v1/live")
        return connection.getresponse().status == 200
    finally:
        connection.close()
