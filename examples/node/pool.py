"""Commands for the examples of this folder to call: `maitred -c examples/node/maitred.toml up`."""

from collections.abc import Iterator
from typing import Any

from maitred.worker import Context, Service, Session

service = Service()


@service.command(idempotent=True)
def echo(value: Any) -> Any:
    """Give back what came."""
    return value


@service.command
def count(n: int) -> Iterator[int]:
    """Stream the numbers from 0 to n - 1; the result is n."""
    yield from range(n)
    return n


@service.command
def nap(seconds: float, *, context: Context) -> float:
    """Sleep, until it is over or somebody says stop."""
    context.sleep(seconds)
    return seconds


@service.command
def fail(text: str) -> None:
    """Raise."""
    raise ValueError(text)


@service.session_opened
def opened(session: Session) -> None:
    """Each session has a sum of its own, in its worker's memory."""
    session.state["sum"] = 0


@service.command
def add(by: int, *, context: Context) -> int:
    """Add to the session's sum."""
    assert context.session is not None, "call it in a session"
    context.session.state["sum"] += by
    return context.session.state["sum"]
