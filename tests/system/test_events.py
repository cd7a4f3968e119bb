"""Being told what happens: by the clients, through a broker's restart, and by `maitred events`."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from user_shell import Shell, wait_for

from maitred.client import AsyncClient, Client, Event
from maitred.client.errors import InvalidArgument, RequestCancelled
from maitred.config.rundir import read_connection
from maitred.testing import House, running

pytestmark = pytest.mark.slow

APP = f"{Path(__file__).with_name('app.py')}:service"
WITHIN_S = 15.0


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running(APP) as house:
        yield house


@pytest.fixture
def shell(tmp_path: Path, house: House) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    shell.environment["MAITRED_ENDPOINT"] = house.clients
    yield shell
    shell.end()


def kill_a_worker(client: Client) -> int:
    pid = client.execute("general", "pid")
    os.kill(pid, signal.SIGKILL)
    return pid


def test_those_that_are_kept(house: House) -> None:
    kept = list(house.client.events(after=0, follow=False))
    assert [event.name for event in kept[:2]] == ["agent.started", "worker.started"]
    assert [event.number for event in kept] == list(range(1, len(kept) + 1))
    assert next(house.client.events("worker.started", after=kept[0].number, follow=False)) == kept[1]
    assert list(house.client.events(follow=False)) == []


def test_a_thread_and_a_task_are_told_as_it_happens(house: House) -> None:
    last = list(house.client.events(after=0, follow=False))[-1].number
    heard: list[Event] = []

    def listen() -> None:
        with Client(house.clients) as client:
            for event in client.events("worker.died", "worker.started", after=last):
                heard.append(event)
                if len(heard) == 2:
                    return

    async def listen_too() -> list[Event]:
        with anyio.fail_after(WITHIN_S):
            async with AsyncClient(house.clients) as client, client.events("worker.*", after=last) as events:
                found = [await anext(events)]
                with anyio.move_on_after(0.01) as scope:  # cancelled, it has lost none
                    while len(found) < 2:
                        found.append(await anext(events))
                assert scope.cancelled_caught or len(found) == 2
                while len(found) < 2:
                    found.append(await anext(events))
                return found

    thread = threading.Thread(target=listen)
    thread.start()
    pid = kill_a_worker(house.client)
    assert anyio.run(listen_too, backend="trio") == anyio.run(listen_too, backend="asyncio")
    thread.join(WITHIN_S)
    assert [event.name for event in heard] == ["worker.died", "worker.started"]
    assert (heard[0].fields["cause"], heard[0].fields["signal"]) == ("signal", "SIGKILL")
    assert heard[1].fields["pid"] != pid


def test_what_is_wrong_is_said_at_once(house: House) -> None:
    with pytest.raises(InvalidArgument, match=r"did you mean 'worker\.died'"):
        next(house.client.events("worker.dead"))
    with pytest.raises(InvalidArgument, match="17 names of events; 16"):
        house.client.events(*["worker.*"] * 17)
    with pytest.raises(ValueError, match="after is -1"):
        house.client.events(after=-1)


def test_it_goes_on_with_the_broker_that_comes_after(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    sets = [f"--set=broker.{place}=tcp://127.0.0.1:0" for place in ("clients", "workers")]
    first = shell.start(*sets, "broker")
    assert first.stdout is not None
    first.stdout.readline()
    found = read_connection(tmp_path / "run")
    assert found is not None
    endpoint = found.clients[0]  # by ipc, where the next one is, too
    heard: list[Event] = []
    ended: list[RequestCancelled] = []
    listener = Client(endpoint)

    def listen() -> None:
        try:
            for event in listener.events("operator.*"):
                heard.append(event)
        except RequestCancelled as error:
            ended.append(error)

    thread = threading.Thread(target=listen)
    try:
        with Client(endpoint) as operator:
            thread.start()
            while not heard:  # once it listens
                operator.operate("pause", "general")
        first.kill()
        first.wait()
        second = shell.start(*sets, "broker")
        assert second.stdout is not None
        second.stdout.readline()
        with Client(endpoint) as operator:
            operator.operate("pause", "general")
            operator.operate("resume", "general")
            wait_for(lambda: heard[-1].name == "operator.resume")
    finally:
        listener.close()
        shell.end()
    thread.join(WITHIN_S)
    assert ended[0].outcome == "client_closed"
    assert [event.name for event in heard[-2:]] == ["operator.pause", "operator.resume"]
    assert [event.number for event in heard[-2:]] == [1, 2]  # it counts anew


def test_the_command_prints_them_for_people_and_for_machines(shell: Shell, house: House) -> None:
    done = shell.maitred("events", "agent.*", "worker.started")
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0].split()
    assert first[0] == "1"
    assert first[2] == "agent.started"
    rows = [json.loads(line) for line in shell.maitred("events", "--json", "--since", "1").stdout.splitlines()]
    assert rows[0]["number"] == 2
    assert rows[0]["fields"]["pool"] == "general"
    wrong = shell.maitred("events", "worker.dead")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "did you mean 'worker.died'" in wrong.stderr
    nothing = shell.maitred("events", "session.lost")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "no events\n")


def test_the_command_goes_on_until_ctrl_c(shell: Shell, house: House) -> None:
    following = shell.start("events", "--follow", "--json", "--since", "0")
    assert following.stdout is not None
    first = json.loads(following.stdout.readline())
    assert first["name"] == "agent.started"
    kill_a_worker(house.client)
    while json.loads(following.stdout.readline())["name"] != "worker.died":
        pass
    following.send_signal(signal.SIGINT)
    assert following.wait(WITHIN_S) == 130
    assert following.stderr is not None
    assert "Traceback" not in following.stderr.read()
