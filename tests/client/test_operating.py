"""What a client asks and tells the broker itself; and what `cancel` says it did, in whichever words the broker has."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import anyio
import pytest
from broker_peers import POOL
from scripted_broker import ScriptedBroker

from maitred.client import AsyncClient, Client
from maitred.client.errors import InvalidArgument, RequestCancelled
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import encode_body

WITHIN_S = 5.0
Make = Callable[..., ScriptedBroker]


def operated(message: Any, _: Any) -> Any:
    """Answers with what it was asked; knows neither request nor fingerprint called "nothing"."""
    if isinstance(message, m.Query):
        return [frames.encode(m.Reply(message.id), encode_body([{"table": message.what}]))]
    if not isinstance(message, m.Operate):
        return []
    if message.target == "nothing":
        return [frames.encode(m.Error(message.id, "invalid_argument", "no such"), encode_body({"argument": "target"}))]
    return [frames.encode(m.Reply(message.id), encode_body({message.verb: message.target}))]


def test_tables_and_verbs(make_broker: Make) -> None:
    broker = make_broker(operated)
    with Client(broker.clients) as client:
        for table in (client.requests, client.quarantine, client.pools, client.workers, client.deaths):
            assert table() == [{"table": table.__name__}]
        assert client.cancel_request("0a0b0c0d-7") == {"cancel": "0a0b0c0d-7"}
        assert client.operate("pause", "general") == {"pause": "general"}
        assert client.release("all") == {"release": "all"}
        with pytest.raises(InvalidArgument) as caught:
            client.release("nothing")
        assert caught.value.argument == "target"


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_tables_and_verbs_awaited(make_broker: Make, backend: str) -> None:
    broker = make_broker(operated)

    async def scene() -> None:
        with anyio.fail_after(WITHIN_S):
            async with AsyncClient(broker.clients) as client:
                for table in (client.requests, client.quarantine, client.pools, client.workers, client.deaths):
                    assert await table() == [{"table": table.__name__}]
                assert await client.cancel_request("0a0b0c0d-7") == {"cancel": "0a0b0c0d-7"}
                assert await client.operate("pause", "general") == {"pause": "general"}
                assert await client.release("all") == {"release": "all"}
                with pytest.raises(InvalidArgument):
                    await client.cancel_request("nothing")

    anyio.run(scene, backend=backend)


WORDS = ["removed", "stopped", "interrupted", "killed", "abandoned"]


def cancelled_with(word: str) -> Any:
    def answers(message: Any, _: Any) -> Any:
        if isinstance(message, m.Cancel):
            yield frames.encode(m.Error(message.id, "cancelled", "told to"), encode_body({"outcome": word}))

    return answers


@pytest.mark.parametrize("word", WORDS)
def test_what_was_done_to_cancelled_work_is_passed_on(make_broker: Make, word: str) -> None:
    broker = make_broker(cancelled_with(word))
    with Client(broker.clients) as client:
        future = client.submit("general", "work")
        broker.wait(lambda: broker.requests)
        assert future.cancel()
        assert future.wait_cancelled(WITHIN_S) == future.cancel_outcome == word
        with pytest.raises(CancelledError):
            future.result()

    async def scene() -> None:
        async with AsyncClient(broker.clients) as client:
            request = await client.submit("general", "work")
            request.cancel()
            with pytest.raises(RequestCancelled) as caught:
                await request.result()
            assert caught.value.outcome == request.cancel_outcome == word

    anyio.run(scene)


def test_whoever_waits_is_told_when_another_has_cancelled_it(make_broker: Make) -> None:
    answer = {"outcome": "removed"}
    broker = make_broker(lambda message, _: [frames.encode(m.Error(message.id, "cancelled", "an operator"),
                                             encode_body(answer))] if isinstance(message, m.Request) else [])  # fmt: skip
    with Client(broker.clients) as client:
        with pytest.raises(RequestCancelled) as caught:
            client.execute("general", "work")
        assert caught.value.outcome == "removed"
        answer.clear()
        with pytest.raises(RequestCancelled) as caught:
            client.execute("general", "work")
        assert caught.value.outcome == "stopped"


# --- a real broker ---


def test_requests_are_listed_and_cancelled_by_whoever_may(make_site: Callable[..., Any]) -> None:
    site = make_site(slots=1)
    with Client(site.clients) as client, Client(site.clients) as operator:
        running, queued = client.submit(POOL, "hang"), client.submit(POOL, "echo", priority="low")
        site.wait(lambda: len(operator.requests()) == 2 and site.started)
        rows = {row["command"]: row for row in operator.requests()}
        assert (rows["hang"]["state"], rows["echo"]["state"]) == ("running", "queued")
        assert rows["echo"]["priority"] == "low"
        for future, command, outcome in ((queued, "echo", "removed"), (running, "hang", "stopped")):
            operator.cancel_request(rows[command]["id"])
            error = future.exception(WITHIN_S)
            assert isinstance(error, RequestCancelled)
            assert error.outcome == outcome
        with pytest.raises(InvalidArgument):
            operator.cancel_request(rows["echo"]["id"])
        assert operator.quarantine() == []
        assert operator.release("all") == {"released": []}
