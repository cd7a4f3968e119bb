"""A request, end to end: client, broker, agent and workers are real processes; what can go wrong is answered at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maitred.client import Client
from maitred.client.errors import (
    DeadlineExceeded,
    EncodeError,
    InvalidArgument,
    MaitredError,
    PayloadTooLarge,
    RemoteError,
    UnknownCommand,
    UnknownPool,
)
from maitred.testing import House, Pool, running

APP = f"{Path(__file__).with_name('app.py')}:"

pytestmark = pytest.mark.slow

AT_ONCE_S = 0.25
"""Errors come in a millisecond or two; a machine with other things to do may take longer."""


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running(Pool(f"{APP}service", size=2), asynchronous=f"{APP}asynchronous") as house:
        yield house


def refused(client: Client, pool: str | None, command: str, args: dict[str, object]) -> MaitredError:
    """The error of a call; it has to come at once, and leave the connection usable."""
    began = time.monotonic()
    with pytest.raises(MaitredError) as caught:
        client.execute(pool, command, args)
    assert time.monotonic() - began < AT_ONCE_S
    assert client.execute("general", "echo", {"message": "still here"}) == {"message": "still here"}
    return caught.value


def test_echo(house: House) -> None:
    assert house.client.execute("general", "echo", {"message": "Hello from Python"}) == {"message": "Hello from Python"}


def test_no_pool_means_the_routing_table(house: House) -> None:
    assert house.client.execute(None, "echo", {"message": "routed"}) == {"message": "routed"}


@pytest.mark.parametrize(("pool", "command"), [("general", "count"), ("asynchronous", "plain")])
def test_a_stream_is_its_parts_and_then_the_result(house: House, pool: str, command: str) -> None:
    *parts, result = house.client.stream(pool, command, {"n": 500})
    assert parts == list(range(500))
    assert result in (500, "done")


def test_an_async_generator_streams(house: House) -> None:
    *parts, result = house.client.stream("asynchronous", "acount", {"n": 200})
    assert parts == list(range(200))
    assert result is None


def test_execute_of_a_stream_gives_its_result_alone(house: House) -> None:
    assert house.client.execute("general", "count", {"n": 1000}) == 1000


def test_a_command_calls_another_pool(house: House) -> None:
    args = {"pool": "asynchronous", "text": "from within"}
    assert house.client.execute("general", "call_other", args) == {"message": "from within"}
    args["pool"] = "general"
    assert house.client.execute("asynchronous", "acall_other", args) == {"message": "from within"}
    assert house.client.execute("asynchronous", "call_from_plain", args) == {"message": "from within"}


def test_an_error_of_a_nested_call_is_not_taken_for_the_callers_own(house: House) -> None:
    error = refused(house.client, "general", "call_badly", {"pool": "asynchronous"})
    assert isinstance(error, RemoteError)
    assert error.type.endswith("InvalidArgument")


def test_wrong_pool(house: House) -> None:
    error = refused(house.client, "generall", "echo", {"message": "x"})
    assert isinstance(error, UnknownPool)
    assert error.nearest == "general"
    assert "general" in error.pools


def test_wrong_command(house: House) -> None:
    error = refused(house.client, "general", "ecoh", {"message": "x"})
    assert isinstance(error, UnknownCommand)
    assert error.nearest == "echo"
    assert "count" in error.commands


def test_wrong_argument(house: House) -> None:
    error = refused(house.client, "general", "echo", {"mesage": "x"})
    assert isinstance(error, InvalidArgument)
    assert "message" in str(error)


def test_wrong_type(house: House) -> None:
    error = refused(house.client, "general", "echo", {"message": 3})
    assert isinstance(error, InvalidArgument)
    assert error.argument == "message"
    assert "expected str, got int" in str(error)


def test_a_value_that_cannot_be_sent(house: House) -> None:
    error = refused(house.client, "general", "echo", {"message": [1, object()]})
    assert isinstance(error, EncodeError)
    assert error.path == "message[1]"


def test_a_result_that_cannot_be_sent(house: House) -> None:
    error = refused(house.client, "general", "unserialisable", {})
    assert isinstance(error, RemoteError)
    assert "rows[1]" in str(error)


def test_an_exception_comes_with_its_traceback(house: House) -> None:
    error = refused(house.client, "general", "fail", {"text": "no such row"})
    assert isinstance(error, RemoteError)
    assert error.type == "ValueError"
    assert "no such row" in str(error)
    assert "in fail" in error.traceback


def test_arguments_that_are_too_large_are_refused_before_they_are_sent(house: House) -> None:
    error = refused(house.client, "general", "echo", {"message": b"x" * 300_000_000})
    assert isinstance(error, PayloadTooLarge)
    assert error.size > error.limit


def test_a_reply_that_is_too_large_is_an_error_and_the_worker_goes_on(house: House) -> None:
    with pytest.raises(PayloadTooLarge) as caught:
        house.client.execute("general", "large", {"size": 300_000_000})
    assert caught.value.what == "result"
    assert all(row["state"] == "idle" for row in house.client.workers() if row["pool"] == "general")


def test_large_values_come_through(house: House) -> None:
    assert len(house.client.execute("general", "large", {"size": 100_000_000})) == 100_000_000


def test_the_time_of_a_request_ends_a_function_that_listens(house: House) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded) as caught:
        house.client.execute("general", "nap", {"seconds": 30}, timeout=0.2)
    assert 0.2 <= time.monotonic() - began < 0.6
    assert caught.value.where == "running"


def test_the_time_of_a_request_ends_an_async_function(house: House) -> None:
    with pytest.raises(DeadlineExceeded):
        house.client.execute("asynchronous", "anap", {"seconds": 30}, timeout=0.1)
    assert house.client.execute("asynchronous", "anap", {"seconds": 0}) == 0
