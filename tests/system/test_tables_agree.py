"""`status`, `top`, `workers` and `sessions` tell the same of one house: at rest at once, and under load within a beat."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from user_shell import Shell, wait_for

from maitred.testing import House, Pool, running

pytestmark = pytest.mark.slow

APP = f"{Path(__file__).parent / 'app.py'}:service"
SESSIONS = f"{Path(__file__).parent / 'sessions_app.py'}:kept"


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running(app=Pool(APP, size=3), kept=Pool(SESSIONS, size=2), broker={"http": "127.0.0.1:0"}) as house:
        yield house


@pytest.fixture
def shell(tmp_path: Path, house: House) -> Shell:
    shell = Shell(tmp_path)
    shell.environment["MAITRED_ENDPOINT"] = house.clients
    shell.environment["HTTP"] = house.http  # for `over_http`
    return shell


def over_http(shell: Shell, path: str) -> Any:
    with urllib.request.urlopen(f"http://{shell.environment['HTTP']}{path}", timeout=10) as answer:
        content = answer.read().decode()
    return content if path == "/metrics" else json.loads(content)


def told_by_the_page(shell: Shell) -> dict[str, Any]:
    """What the page is sent first: the snapshot of that second."""
    with urllib.request.urlopen(f"http://{shell.environment['HTTP']}/api/v1/live", timeout=10) as answer:
        while answer.readline() != b"event: snapshot\n":
            pass
        return json.loads(answer.readline().removeprefix(b"data: "))


def measured(shell: Shell) -> dict[tuple[str, ...], float]:
    """The samples of `/metrics`, by name and labels' values."""
    families = text_string_to_metric_families(over_http(shell, "/metrics"))
    return {(it.name, *dict(sorted(it.labels.items(), key=lambda pair: pair[0] != "pool")).values()): it.value
            for family in families for it in family.samples}  # fmt: skip


def differences_over_http(shell: Shell) -> list[str]:
    """Where the API, the page or `/metrics` tell something else than `status`."""
    status = {row["name"]: row for row in shell.json("status", "--json")["pools"]}
    keys = (
        "available",
        "busy",
        "starting",
        "retiring",
        "suspect",
        "total",
        "queued",
        "sessions",
        "completed",
        "refused",
    )
    found: list[str] = []
    for source, rows in (("api", over_http(shell, "/api/v1/pools")), ("page", told_by_the_page(shell))):
        for row in rows["pools"]:
            found += [f"{source}: {key}" for key in keys if row[key] != status[row["name"]][key]]
    samples = measured(shell)
    for name, row in status.items():
        pairs = {
            ("maitred_workers", name, "idle"): row["available"],
            ("maitred_workers", name, "busy"): row["busy"],
            ("maitred_queue_requests", name): row["queued"],
            ("maitred_sessions", name): row["sessions"],
            ("maitred_requests_total", name, "ok"): row["completed"],
        }
        found += [f"metrics: {' '.join(key)}" for key, value in pairs.items() if samples.get(key, 0.0) != value]
    return found


def counted(workers: list[dict[str, Any]], pool: str) -> dict[str, int]:
    states = Counter(row["state"] for row in workers if row["pool"] == pool)
    named = {"available": "idle", "busy": "busy", "retiring": "draining", "suspect": "suspect", "starting": "starting"}
    return {key: states[state] for key, state in named.items()}


def differences(shell: Shell) -> list[str]:
    """Where one command tells something else than another, each asked by itself."""
    status, workers = shell.json("status", "--json"), shell.json("workers", "--json")
    sessions, requests = shell.json("sessions", "--json"), shell.json("requests", "--json")
    found: list[str] = []
    for row in status["pools"]:
        name = row["name"]
        ours = [each for each in workers if each["pool"] == name]
        pairs = {
            "states": ({key: row[key] for key in counted(workers, name)}, counted(workers, name)),
            "sessions": (row["sessions"], sum(each["pool"] == name for each in sessions)),
            "queued": (row["queued"], sum(each["pool"] == name and each["state"] == "queued" for each in requests)),
            "owned": (sum(each["sessions"] for each in ours), sum(each["pool"] == name for each in sessions)),
        }
        found += [f"{name}: {what}: {one} and {other}" for what, (one, other) in pairs.items() if one != other]
    if status["broker"]["requests"] != len(requests):
        found.append(f"requests: {status['broker']['requests']} and {len(requests)}")
    return found


def once(shell: Shell) -> tuple[dict[str, str], Counter[str]]:
    """What `top --once` prints: of each pool "available busy total", and the states of workers."""
    lines = [line.split() for line in shell.maitred("top", "--once").stdout.splitlines()]
    pools = {words[0]: words for words in lines if words and words[0] in ("app", "kept")}
    heads = next(words for words in lines if words[:1] == ["POOL"])
    at = heads.index("TOTAL")
    states = Counter(words[4] for words in lines if len(words) > 5 and words[1] in ("app", "kept"))
    return {name: " ".join(words[at - 3 : at + 1]) for name, words in pools.items()}, states


def test_at_rest_they_agree_at_once(house: House, shell: Shell) -> None:
    for number in range(5):
        house.client.execute("app", "echo", {"message": str(number)})
    wait_for(lambda: sum(row["requests"] for row in shell.json("workers", "--json", "--pool", "app")) == 5, 10)
    assert next(row["completed"] for row in shell.json("pools", "--json") if row["name"] == "app") == 5
    with house.client.session("kept"), house.client.session("kept"):
        assert differences(shell) == []
        assert differences_over_http(shell) == []
        pools, states = once(shell)
        rows = {row["name"]: row for row in shell.json("status", "--json")["pools"]}
        for name, row in rows.items():
            shown = [row["available"], row["busy"], row["starting"], row["total"]]
            assert pools[name] == " ".join(map(str, shown))
        assert states["idle"] == sum(row["available"] for row in rows.values())


def test_under_load_within_a_beat_of_its_end(house: House, shell: Shell) -> None:
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            list(house.client.map("app", "echo", ({"message": str(n)} for n in range(200)), window=16))

    thread = threading.Thread(target=call)
    thread.start()
    try:
        for _ in range(3):
            for row in shell.json("status", "--json")["pools"]:
                assert row["available"] + row["busy"] + row["retiring"] + row["suspect"] == row["total"]
    finally:
        stop.set()
        thread.join()
    wait_for(lambda: not differences(shell), 10)
    wait_for(lambda: not differences_over_http(shell), 10)


def test_what_stands_still_under_load_agrees_too(house: House, shell: Shell) -> None:
    futures = [house.client.submit("app", "nap", {"seconds": 60}, timeout=90) for _ in range(8)]
    wait_for(lambda: sum(row["state"] == "busy" for row in house.client.workers() if row["pool"] == "app") == 3)
    wait_for(lambda: not differences(shell), 10)
    for row in shell.json("status", "--json")["pools"]:
        if row["name"] == "app":
            assert (row["busy"], row["queued"]) == (3, 5)
    assert differences_over_http(shell) == []
    for future in futures:
        future.cancel()
    wait_for(lambda: not differences(shell), 10)
