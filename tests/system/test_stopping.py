"""How work is stopped, in real processes: by its flag, by an exception, and by the agent, which is told to kill."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from maitred.client.errors import DeadlineExceeded
from maitred.launcher.processes import start_agent
from maitred.protocol import frames, messages
from maitred.protocol.body import encode_body
from maitred.protocol.limits import INTERRUPT_AFTER_S
from maitred.testing import House, Pool, running
from maitred.transport import clock
from maitred.worker.agent_settings import AgentSettings

APP = f"{Path(__file__).with_name('pressure_app.py')}:"
CLIENT = bytes(16)
PATIENCE_S = 10.0
GRACE_S = 0.3

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with running(Pool(f"{APP}service", limits={"kill_grace_s": GRACE_S})) as house:
        yield house


def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("command", "outcome", "within_s"),
    [
        ("look", "stopped", 0.05),
        ("block", "interrupted", INTERRUPT_AFTER_S + 0.15),
        ("compute", "interrupted", INTERRUPT_AFTER_S + 0.15),
    ],
)
def test_a_cancelled_function_ends_soon_and_its_worker_lives_on(
    house: House, tmp_path: Path, command: str, outcome: str, within_s: float
) -> None:
    pid = house.client.execute("general", "pid")
    marker = tmp_path / "begun"
    future = house.client.submit("general", command, {"marker": str(marker)})
    until(marker.exists)
    at = time.monotonic()
    assert future.cancel()
    assert future.wait_cancelled(PATIENCE_S) == outcome
    assert time.monotonic() - at < within_s
    assert house.client.execute("general", "pid", timeout=5) == pid


def test_a_function_whose_time_is_over_makes_room(house: House, tmp_path: Path) -> None:
    pid = house.client.execute("general", "pid")
    future = house.client.submit("general", "block", {"marker": str(tmp_path / "begun")}, timeout=0.1)
    assert isinstance(future.exception(PATIENCE_S), DeadlineExceeded)
    assert house.client.execute("general", "pid", timeout=5) == pid


@pytest.mark.parametrize("command", ["swallow", "hold"])
def test_a_function_that_does_not_end_costs_its_worker_which_is_replaced(
    house: House, tmp_path: Path, command: str
) -> None:
    pid = house.client.execute("general", "pid")
    marker = tmp_path / "begun"
    args = {"marker": str(marker)} | ({"seconds": 30} if command == "hold" else {})
    future = house.client.submit("general", command, args)
    until(marker.exists)
    at = time.monotonic()
    assert future.cancel()
    assert future.wait_cancelled(PATIENCE_S) == "killed"
    assert GRACE_S < time.monotonic() - at < INTERRUPT_AFTER_S + GRACE_S + 0.5
    assert house.client.execute("general", "pid", timeout=5) != pid


def test_so_does_one_whose_time_is_over(house: House, tmp_path: Path) -> None:
    pid = house.client.execute("general", "pid")
    future = house.client.submit("general", "swallow", {"marker": str(tmp_path / "begun")}, timeout=0.1)
    assert isinstance(future.exception(PATIENCE_S), DeadlineExceeded)
    assert house.client.execute("general", "pid", timeout=5) != pid


# --- what the agent does, against a broker in the test's own hands -----------------------------------------------------


class Broker:
    """One ROUTER for an agent and its workers."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], directory: Path) -> None:
        self.endpoint = f"ipc://{directory}/workers"
        self._socket = context.socket(zmq.ROUTER)
        self._socket.bind(self.endpoint)
        self._agent = self._worker = b""

    def send(self, to: str, message: messages.Message, body: Any = None) -> None:
        peer = self._agent if to == "agent" else self._worker
        self._socket.send_multipart([peer, *frames.encode(message, encode_body(body) if body is not None else [])])

    def wait_for(self, kind: type[Any] | tuple[type[Any], ...], *, within_s: float = PATIENCE_S) -> Any:
        """The next message of a kind; introductions are answered, and vouching too."""
        end = time.monotonic() + within_s
        while self._socket.poll(max(0, int((end - time.monotonic()) * 1000))):
            peer, *rest = self._socket.recv_multipart()
            message, _ = frames.from_worker.decode(rest)
            match message:
                case messages.Agent():
                    self._agent = peer
                    self._welcome(peer)
                case messages.Register():
                    self._worker = peer
                    self._welcome(peer)
                case messages.Attach():
                    self._welcome(peer)
                case _:
                    pass
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind} came")

    def meet(self, *, within_s: float = PATIENCE_S) -> messages.Register:
        """The next worker, once its agent knows it, too."""
        first = self.wait_for((messages.Register, messages.Spawned), within_s=within_s)
        second = self.wait_for((messages.Register, messages.Spawned), within_s=within_s)
        return first if isinstance(first, messages.Register) else second

    def _welcome(self, peer: bytes) -> None:
        welcome = messages.Welcome(bytes(16), 0.05, 100, 1 << 20)
        self._socket.send_multipart([peer, *frames.encode(welcome)])

    def hold(self, number: int, marker: Path) -> None:
        """Have the worker run something that does not stop."""
        args = {"marker": str(marker), "seconds": 30}
        self.send("worker", messages.Dispatch(CLIENT, number, 1, "hold", 30.0), args)
        until(marker.exists)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    broker = Broker(context, tmp_path)
    settings = AgentSettings(
        "general", f"{APP}service", broker.endpoint, 1, parent=os.getpid(), restart_backoff_s=20.0, drain_timeout_s=0.1
    )
    agent = start_agent(settings)
    yield broker
    agent.force()
    agent.wait(PATIENCE_S)
    context.destroy(linger=0)


def test_a_worker_is_killed_for_what_it_does_only_while_it_does_it_and_replaced_at_once(
    broker: Broker, tmp_path: Path
) -> None:
    for number, cause in enumerate(["cancelled", "timeout", "operator", "cancelled"]):
        register = broker.meet(within_s=5.0)  # the pause of one that fails is 20 s
        assert register.clock == clock.name()
        broker.hold(number, tmp_path / str(number))
        broker.send("agent", messages.Fence(register.worker, cause, (CLIENT, 999)))
        vouch = broker.wait_for(messages.Vouch)
        while register.worker not in vouch.workers:
            vouch = broker.wait_for(messages.Vouch)
        broker.send("agent", messages.Fence(register.worker, cause, (CLIENT, number)))
        died = broker.wait_for(messages.Died)
        assert died.worker == register.worker
        assert died.started == [(CLIENT, number)]
        assert (died.certificate.cause, died.certificate.signal) == (cause, "SIGKILL")


def test_a_silent_worker_is_killed_whatever_it_does(broker: Broker) -> None:
    register = broker.meet()
    broker.send("agent", messages.Fence(register.worker))
    assert broker.wait_for(messages.Died).certificate.cause == "heartbeat"
