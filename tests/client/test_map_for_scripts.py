"""What `map` does for scripts: it goes on past failures where it is asked to, and says how far it is."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from scripted_broker import ScriptedBroker, free_endpoint

from maitred.client import AsyncClient, Client
from maitred.client.errors import EncodeError, RemoteError
from maitred.client.progress import Bar, shown
from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import decode_body, encode_body

pytestmark = pytest.mark.slow


def answers(message: Any, body: Any) -> Iterator[frames.Frames]:
    """Fails where n is odd."""
    if isinstance(message, m.Request):
        n = decode_body(body)["n"]
        if n % 2:
            yield frames.encode(m.Error(message.id, "application_error", f"odd: {n}"), encode_body({}))
        else:
            yield frames.encode(m.Reply(message.id), encode_body(n))


@pytest.fixture
def broker() -> Iterator[ScriptedBroker]:
    broker = ScriptedBroker(free_endpoint(), answers)
    yield broker
    broker.close()


ITEMS: list[Any] = [{"n": 0}, {"n": 1}, {"n": object()}, {"n": 2}, {"n": 3}]


def check(found: list[Any]) -> None:
    assert [type(each) for each in found] == [int, RemoteError, EncodeError, int, RemoteError]
    assert [found[0], found[3]] == [0, 2]


def test_failures_are_given_at_their_places(broker: ScriptedBroker) -> None:
    with Client(broker.clients) as client:
        check(list(client.map("general", "half", ITEMS, return_exceptions=True, window=2)))
        with pytest.raises(RemoteError, match="odd: 1"):
            list(client.map("general", "half", ITEMS))


async def test_so_they_are_by_the_asynchronous_client(broker: ScriptedBroker) -> None:
    with anyio.fail_after(20):
        async with AsyncClient(broker.clients) as client:
            check([each async for each in client.map("general", "half", ITEMS, return_exceptions=True)])


def test_what_the_iterable_raises_ends_it_all_the_same(broker: ScriptedBroker) -> None:
    def items() -> Iterator[dict[str, Any]]:
        yield {"n": 2}
        raise LookupError("no more")

    with Client(broker.clients) as client:
        results = client.map("general", "half", items(), return_exceptions=True)
        assert next(results) == 2
        with pytest.raises(LookupError, match="no more"):
            next(results)
        assert list(results) == []


def test_connect_says_at_once_whether_it_is_let_in(broker: ScriptedBroker) -> None:
    with Client(broker.clients) as client:
        client.connect()
        client.connect(0.001)  # it is connected
        assert len(broker.hellos) == 1


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_and_gone_in_the_end() -> None:
    screen = Screen()
    assert len(list(shown(iter([1, ValueError(), 3]), 3, screen))) == 3
    assert "[" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")
    nothing = io.StringIO()
    assert list(shown([1, 2], None, nothing)) == [1, 2]
    assert nothing.getvalue() == ""


def test_a_bar_fits_and_keeps_within_its_ends() -> None:
    screen = Screen()
    Bar(screen).show(7.0, "x" * 500)
    line = screen.getvalue().removeprefix("\r\x1b[K")
    assert line.startswith(f"[{'#' * 30}] 100%")
    assert len(line) < 200


def test_leaving_the_loop_stops_what_is_under_way(broker: ScriptedBroker) -> None:
    with Client(broker.clients) as client:
        for value in client.map("general", "half", ({"n": 2 * n} for n in range(10**6)), progress=True):
            assert value == 0
            break
    assert len(broker.requests) < 200
