"""The fixture that ships with the package, with a service of the test's own module."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from maitred.launcher.finding import locate
from maitred.testing import House, running
from maitred.worker import Service

pytestmark = pytest.mark.slow

service = Service()


@service.command
def pid_and_text(text: str) -> list[object]:
    return [os.getpid(), text]


def test_one_line_gives_a_broker_a_pool_and_a_client(maitred: Callable[..., House]) -> None:
    house = maitred(service, size=2)
    pid, text = house.client.execute("general", "pid_and_text", {"text": "hi"})
    assert (pid != os.getpid(), text) == (True, "hi")
    assert len(house.client.workers()) == 2


def test_pools_have_names() -> None:
    with running(one=service, two=service) as house:
        assert [row["name"] for row in house.client.pools()] == ["one", "two"]


def test_a_service_that_no_other_process_could_find_is_refused() -> None:
    with pytest.raises(ValueError, match="top level"):
        locate(Service())
