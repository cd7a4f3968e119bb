"""The pytest plugin: the fixture `maitred`, which runs a broker, pools and a client for one test.

def test_echo(maitred):
house = maitred(service)
assert house.client.execute("general", "echo", {"message": "hi"}) == {"message": "hi"}
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from maitred.testing.house import House


@pytest.fixture
def maitred() -> Iterator[Callable[..., House]]:
    """Start a broker and pools, as `maitred.testing.running` does; they end with the test."""
    from maitred.testing.house import running  # here: every pytest run of who has maitred installed loads this module

    with contextlib.ExitStack() as stack:

        def start(*args: object, **pools: object) -> House:
            return stack.enter_context(running(*args, **pools))  # pyright: ignore[reportArgumentType]

        yield start
