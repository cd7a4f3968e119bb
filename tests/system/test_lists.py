"""Lists of a running house: of one pool only, again and again, and one of them by how its id begins."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker_alone import BrokerAlone
from user_shell import Shell, ended, wait_for

from maitred.testing import House, Pool, running

pytestmark = pytest.mark.slow

APP = f"{Path(__file__).parent / 'app.py'}:service"


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running(general=Pool(APP, size=2), other=Pool(APP)) as house:
        yield house


@pytest.fixture
def shell(tmp_path: Path, house: House) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    shell.environment["MAITRED_ENDPOINT"] = house.clients
    yield shell
    shell.end()


def test_rows_of_one_pool(house: House, shell: Shell) -> None:
    assert len(shell.json("workers", "--json", "--pool", "general")) == 2
    assert len(shell.json("workers", "ls", "--json", "--pool", "other")) == 1
    assert [row["name"] for row in shell.json("pools", "--pool", "other", "--json")] == ["other"]
    assert shell.json("sessions", "--json", "--pool", "other") == []
    future = house.client.submit("other", "nap", {"seconds": 30})
    wait_for(lambda: house.client.requests())
    assert shell.json("requests", "--pool", "general", "--json") == []
    (row,) = shell.json("requests", "--pool", "other", "--json")
    assert shell.json("requests", "show", row["id"][:5], "--json")["command"] == "nap"
    assert "command: nap\n" in shell.maitred("requests", "show", row["id"]).stdout
    future.cancel()


@pytest.mark.parametrize("table", ["pools", "workers", "requests", "sessions", "quarantine"])
def test_a_pool_that_is_not_there_is_no_empty_list(shell: Shell, table: str) -> None:
    done = shell.maitred(table, "--pool", "genral")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "maitred: no pool is called 'genral'; there are: general, other; did you mean 'general'?\n"


def test_one_is_shown_by_how_it_begins_and_several_are_listed(house: House, shell: Shell) -> None:
    assert shell.json("pools", "show", "gen", "--json")["name"] == "general"
    assert "name: other\n" in shell.maitred("pools", "show", "other").stdout
    ids = [row["id"] for row in house.client.workers()]
    done = shell.maitred("workers", "show", "")
    assert done.returncode == 1
    assert "3 ids of workers begin with ''" in done.stderr
    assert all(f"\n  {each}" in done.stderr for each in ids)
    for table in ("pools", "workers", "requests", "sessions", "quarantine"):
        done = shell.maitred(table, "show", "zzz")
        assert (done.returncode, done.stderr) == (
            1, f"maitred: no id of {table} begins with 'zzz'; `maitred {table}` shows what is there\n"
        )  # fmt: skip


def test_a_session_is_shown_with_what_its_opener_said(house: House, shell: Shell) -> None:
    with house.client.session("general", metadata={"user": "ada"}) as session:
        row = shell.json("sessions", "show", session.id[:8], "--json")
        assert (row["metadata"]["user"], row["epoch"], row["queued"]) == ("ada", 1, 0)
        assert row["owner"] in {each["id"] for each in house.client.workers()}


def test_a_dead_worker_is_shown_with_its_certificate_and_last_words(house: House, shell: Shell) -> None:
    (victim,) = [row for row in house.client.workers() if row["pool"] == "other"]
    os.kill(victim["pid"], signal.SIGKILL)
    wait_for(lambda: any(row["worker"] == victim["id"] for row in house.client.deaths()))
    assert "SIGKILL" in shell.maitred("workers", "show", victim["id"][:8]).stdout
    assert [row["worker"] for row in shell.json("workers", "--dead", "--json", "--pool", "other")] == [victim["id"]]
    wait_for(lambda: sum(row["state"] == "idle" for row in house.client.workers()) == 3)


def test_watching_prints_a_document_a_look_until_ctrl_c(shell: Shell) -> None:
    watching = shell.start("workers", "--json", "--watch", "0.1", "--pool", "general")
    assert watching.stdout is not None
    looks = [json.loads(watching.stdout.readline()) for _ in range(3)]
    assert [len(look) for look in looks] == [2, 2, 2]
    watching.send_signal(signal.SIGINT)
    assert ended(watching) == (130, "")


@pytest.mark.soak
def test_watching_goes_on_when_the_broker_has_been_away(tmp_path: Path) -> None:
    alone, shell = BrokerAlone(tmp_path), Shell(tmp_path)
    try:
        endpoint = alone.start().clients[-1]
        watching = shell.start("--endpoint", endpoint, "status", "--json", "--watch", "100ms")
        assert watching.stdout is not None
        assert watching.stderr is not None
        first = json.loads(watching.stdout.readline())["broker"]["epoch"]
        alone.signal(signal.SIGKILL)
        alone.end()
        while endpoint not in (line := watching.stderr.readline()):
            assert line
        assert line.startswith("maitred: ")
        assert line.endswith("trying again\n")
        alone.start(clients=endpoint)
        while json.loads(watching.stdout.readline())["broker"]["epoch"] == first:
            pass
        watching.send_signal(signal.SIGINT)
        assert ended(watching)[0] == 130
    finally:
        alone.end()
        shell.end()
