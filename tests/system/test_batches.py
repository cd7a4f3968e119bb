"""Requests that are run as one call, in real processes: the broker forms the batches, the worker runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from maitred.client.errors import InvalidArgument, RemoteError
from maitred.testing import House, Pool, running

APP = f"{Path(__file__).with_name('pressure_app.py')}:"
LARGEST = 16

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[1, 2], ids=["one at a time", "two at a time"])
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    with running(Pool(f"{APP}service", settings={"slots": request.param})) as house:
        yield house


def test_what_waits_is_run_together(house: House) -> None:
    """`embed` answers each caller with the size of the batch he was in."""
    futures = [house.client.submit("general", "embed", {"text": str(n)}) for n in range(400)]
    sizes = [future.result(20) for future in futures]
    assert all(1 <= size <= LARGEST for size in sizes)
    assert max(sizes) == LARGEST, "four hundred at once fill some batches"
    calls = sum(sizes.count(size) / size for size in set(sizes))
    assert calls == int(calls), "each batch of n has n answers"
    assert calls < 100


def test_one_alone_does_not_wait_for_others(house: House) -> None:
    for _ in range(5):
        assert house.client.execute("general", "embed", {"text": "alone"}, timeout=5) == 1


def test_an_item_that_fails_is_one_callers_error(house: House) -> None:
    futures = [house.client.submit("general", "embed", {"text": text}) for text in ["a", "unknown", "b"]]
    assert isinstance(futures[1].exception(5), RemoteError)
    assert all(isinstance(futures[n].result(5), int) for n in (0, 2))


def test_a_wrong_argument_is_one_callers_error(house: House) -> None:
    good = [house.client.submit("general", "embed", {"text": "a"}) for _ in range(8)]
    with pytest.raises(InvalidArgument, match="expected str, got int") as caught:
        house.client.execute("general", "embed", {"text": 5})
    assert caught.value.argument == "text"
    assert all(isinstance(future.result(5), int) for future in good)


def test_a_call_that_raises_is_everybodys_error(house: House) -> None:
    futures = [house.client.submit("general", "embed", {"text": text}) for text in ["raise"] * 4]
    assert all("the whole batch fails" in str(future.exception(5)) for future in futures)
