"""A client and a worker written from `docs/protocol.md` alone, against a real broker: the page is enough to write one.

The first half is what an implementer in another language would write: pyzmq, msgpack, and nothing of maitred. It leaves
out what the page says a peer may leave out (arrays come as their three parts, large values stay in band).
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgpack
import pytest
import trio
import zmq
from broker_peers import POOL, settings
from msgspec import structs

from maitred.broker.core.policy import Policy, Principal
from maitred.broker.shell import Shell
from maitred.transport import endpoints, sockets

HEARTBEAT, BYE = 1, 2
HELLO, REQUEST, CANCEL, GRANT, QUERY, OPERATE = 10, 11, 12, 13, 14, 16
WELCOME, PART, REPLY, ERROR, STRANGER = 20, 21, 22, 23, 24
REGISTER, ATTACH, BEAT, WORKER_PART, WORKER_REPLY, WORKER_ERROR, LEAVE = 30, 31, 32, 33, 34, 35, 36
DISPATCH, WORKER_CANCEL, WORKER_GRANT = 40, 41, 42
WITH_BODY = {REQUEST, DISPATCH, PART, REPLY, ERROR, WORKER_PART, WORKER_REPLY, WORKER_ERROR}

Message = tuple[int, list[Any], list[bytes]]
"""Number, fields, body frames."""


class Link:
    """One DEALER."""

    def __init__(self, context: zmq.Context[Any], endpoint: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        for option, value in (
            (zmq.IMMEDIATE, 1),
            (zmq.LINGER, 500),
            (zmq.RECONNECT_IVL, random.randint(50, 150)),
            (zmq.RECONNECT_IVL_MAX, random.randint(2000, 4000)),
            (zmq.HEARTBEAT_IVL, 5000),
            (zmq.HEARTBEAT_TIMEOUT, 30_000),
            (zmq.SNDTIMEO, 5000),
        ):
            self.socket.setsockopt(option, value)
        self.socket.connect(endpoint)

    def __del__(self) -> None:
        self.socket.close()

    def send(self, message: Message) -> None:
        number, fields, body = message
        self.socket.send_multipart([b"MT\x01" + msgpack.packb([number, *fields]), *body])

    def receive(self, timeout_s: float) -> Message | None:
        if not self.socket.poll(int(timeout_s * 1000)):
            return None
        header, *body = self.socket.recv_multipart()
        assert header[:3] == b"MT\x01"
        number, *fields = msgpack.unpackb(header[3:])
        assert bool(body) == (number in WITH_BODY)
        return number, fields, body


def pack(value: Any) -> list[bytes]:
    return [msgpack.packb(value)]


def unpack(body: list[bytes]) -> Any:
    def extension(code: int, payload: bytes) -> Any:
        if code == 1:
            return body[msgpack.unpackb(payload)]
        assert code == 2
        return tuple(msgpack.unpackb(payload, ext_hook=extension))

    return msgpack.unpackb(body[0], ext_hook=extension, strict_map_key=False)


class Failed(Exception):
    """code, sentence, details"""


class Client:
    def __init__(self, context: zmq.Context[Any], endpoint: str, secret: str = "") -> None:
        self.link = Link(context, endpoint)
        self.id = os.urandom(16)
        self.hello: Message = (HELLO, [self.id, "", "", 0, "", "", False, secret] if secret else [self.id], [])
        self.ids = itertools.count(1)
        self.said: deque[Message] = deque(maxlen=100)
        self.strangers = 0
        self.greet()

    def greet(self) -> None:
        self.link.send(self.hello)
        while (message := self.link.receive(0.5)) is None or message[0] != WELCOME:
            if message is None:
                self.link.send(self.hello)
            elif message[0] == STRANGER:
                self.strangers += 1
            elif message[0] == ERROR:
                raise Failed(*message[1][1:3], unpack(message[2]))
        self.epoch, self.interval, self.liveness, self.max_message = message[1][:4]
        again = list(self.said)[-self.strangers :] if self.strangers else []
        self.strangers = 0
        self.said.clear()
        for one in again:
            self.say(*one)

    def say(self, number: int, fields: list[Any], body: list[bytes] | None = None) -> None:
        self.said.append((number, fields, body or []))
        self.link.send(self.said[-1])

    def begin(self, pool: str | None, command: str, args: Any, timeout: float | None = None, window: int = 0) -> int:
        request = next(self.ids)
        self.say(REQUEST, [request, pool, command, timeout, window], pack(args))
        return request

    def answers(self, request: int, window: int = 0) -> Iterator[tuple[int, Any]]:
        """Parts as (PART, value), at the end (REPLY, value) or `Failed`."""
        taken, silent = 0, 0
        while silent <= self.liveness:
            message = self.link.receive(self.interval)
            silent = silent + 1 if message is None else 0
            match message:
                case None:
                    self.say(HEARTBEAT, [])
                case (number, [], _) if number == STRANGER:
                    self.strangers += 1
                    self.greet()
                case (number, [id, *_], body) if number == PART and id == request:
                    yield PART, unpack(body)
                    taken += 1
                    if taken % max(window // 2, 1) == 0:
                        self.say(GRANT, [request, max(window // 2, 1)])
                case (number, [id, *_], body) if number == REPLY and id == request:
                    yield REPLY, unpack(body)
                    return
                case (number, [id, code, text, *_], body) if number == ERROR and id in (request, -1):
                    raise Failed(code, text, unpack(body))
                case _:
                    pass
        raise Failed("lost", "the broker is silent", {})

    def call(self, *request: Any, **options: Any) -> Any:
        return list(self.answers(self.begin(*request, **options)))[-1][1]

    def operate(self, verb: str, target: str) -> Any:
        request = next(self.ids)
        self.say(OPERATE, [request, verb, target])
        return list(self.answers(request))[-1][1]


class Worker:
    """Runs commands that are generators: what they yield are parts. One at a time, the others wait in `orders`."""

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoint: str,
        slots: int,
        secret: str = "",
        **commands: Callable[..., Any],
    ) -> None:
        self.secret = secret
        self.requests, self.control = Link(context, endpoint), Link(context, endpoint)
        self.id, self.token, self.slots, self.commands = os.urandom(16), os.urandom(16), slots, commands
        self.orders: deque[Message] = deque()
        self.held: list[list[Any]] = []
        self.stopped: dict[tuple[bytes, int], str] = {}  # told to stop; a tombstone where the request is yet to come
        self.granted: dict[tuple[bytes, int], int] = {}
        self.interval, self.speak_at, self.attached = 1.0, 0.0, False
        self.muted, self.ended = False, False
        self.register()

    def register(self) -> None:
        commands = [[name] for name in self.commands]
        fields = [self.id, self.token, POOL, self.slots, commands, "host", os.getpid(), "independent", self.held]
        fields += [0, "", False, self.secret] if self.secret else []
        self.requests.send((REGISTER, fields, []))

    def run(self) -> None:
        while not self.ended:
            self.listen(0.02)
            if self.orders and not self.muted:
                self.serve(*self.orders.popleft())
        self.requests.send((LEAVE, [], []))

    def listen(self, timeout_s: float) -> None:
        if self.muted:  # a test wants it silent
            time.sleep(timeout_s)
            return
        if time.monotonic() >= self.speak_at:
            self.speak_at = time.monotonic() + self.interval
            self.control.send((BEAT, [], []) if self.attached else (ATTACH, [self.id, self.token], []))
            if not self.held:
                self.requests.send((HEARTBEAT, [], []))
        while message := self.control.receive(0):
            self.obey_control(*message)
        while message := self.requests.receive(timeout_s):
            self.obey(*message)
            timeout_s = 0

    def obey(self, number: int, fields: list[Any], body: list[bytes]) -> None:
        if number == DISPATCH:
            self.held.append(fields[:2])
            self.orders.append((number, fields, body))
        elif number == WELCOME:
            self.interval, self.speak_at, self.attached = fields[1], 0.0, False
        elif number == STRANGER:
            self.register()
        elif number == ERROR:
            raise Failed(*fields[1:3], unpack(body))

    def obey_control(self, number: int, fields: list[Any], body: list[bytes]) -> None:
        if number == WORKER_CANCEL:
            self.stopped[fields[0], fields[1]] = fields[2]
        elif number == WORKER_GRANT:
            key = (fields[0], fields[1])
            self.granted[key] = self.granted.get(key, 0) + fields[2]
        elif number in (WELCOME, STRANGER):
            self.attached = number == WELCOME

    def serve(self, _: int, fields: list[Any], body: list[bytes]) -> None:
        client, request, attempt, command, timeout, window = fields[:6]
        key, deadline = (client, request), time.monotonic() + timeout
        sent = 0
        try:
            for part in (steps := Steps(self.commands[command](**unpack(body)))):
                while window and sent >= window + self.granted.get(key, 0) and key not in self.stopped:
                    self.listen(0.02)
                self.listen(0)
                if key in self.stopped or time.monotonic() > deadline:
                    raise Failed("cancelled", "stopped", {"outcome": "stopped"})
                if window:
                    self.requests.send((WORKER_PART, [client, request, attempt, sent], pack(part)))
                    sent += 1
            self.requests.send((WORKER_REPLY, [client, request, attempt], pack(steps.result)))
        except Failed as error:
            code, text, details = error.args
            self.requests.send((WORKER_ERROR, [client, request, attempt, code, text], pack(details)))
        except Exception as error:
            details = {"type": type(error).__name__, "traceback": ""}
            self.requests.send(
                (WORKER_ERROR, [client, request, attempt, "application_error", str(error)], pack(details))
            )
        self.held.remove([client, request])
        self.stopped.pop(key, None)
        self.granted.pop(key, None)


class Steps:
    """Iterates a generator and keeps what it returns."""

    def __init__(self, generator: Generator[Any, None, Any]) -> None:
        self.generator = generator

    def __iter__(self) -> Generator[Any, None, None]:
        self.result = yield from self.generator


# --- from here on maitred: a broker for the two, and what they do with it ---

PATIENCE_S = 5.0


def echo(**args: Any) -> Generator[Any, None, Any]:
    yield from ()
    return args


def count(to: int) -> Generator[int, None, str]:
    yield from range(to)
    return "done"


def fail() -> Generator[Any, None, None]:
    yield "about to"
    raise ValueError("no such row")


class Broker:
    """A shell in a thread of its own; `stop` ends it, and another can take its place. `user`: whose all connections are."""

    def __init__(
        self, clients: str = "tcp://127.0.0.1:0", workers: str = "tcp://127.0.0.1:0", user: str = "", **changes: Any
    ) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.doorkeeper = Doorkeeper(self.context, user) if user else None
        pair = [
            sockets.router(self.context, zap_domain=name, handled=bool(user), linger_ms=0)
            for name in ("clients", "workers")
        ]
        self.clients, self.workers = (
            endpoints.bind(one, where) for one, where in zip(pair, (clients, workers), strict=True)
        )
        self.events: list[str] = []
        core = structs.replace(settings(**changes), epoch=os.urandom(16))
        self._started = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main, pair, core))
        self._thread.start()
        assert self._started.wait(PATIENCE_S)

    async def _main(self, pair: list[Any], core: Any) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self.shell = Shell(core, *pair, lambda note: self.events.append(note.event))
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.shell.run)
                self._started.set()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._token.run_sync_soon(self._scope.cancel)
            self._thread.join()
            if self.doorkeeper is not None:
                self.doorkeeper.stop()
            self.context.destroy(linger=0)


class Doorkeeper:
    """A handler of handshakes that lets everybody in, as one user."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], user: str) -> None:
        self._handler = context.socket(zmq.REP)
        self._handler.bind("inproc://zeromq.zap.01")
        self._user = user.encode()
        self._ended = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended:
            if self._handler.poll(20):
                request = self._handler.recv_multipart()
                self._handler.send_multipart([b"1.0", request[1], b"200", b"", self._user, b""])
        self._handler.close(0)

    def stop(self) -> None:
        self._ended = True
        self._thread.join()


@contextmanager
def house(slots: int = 1, **changes: Any) -> Iterator[tuple[Broker, Client, Worker]]:
    broker = Broker(**changes)
    context: zmq.Context[Any] = zmq.Context()
    worker = Worker(context, broker.workers, slots, echo=echo, count=count, fail=fail)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_for(lambda: "worker.started" in broker.events)
        yield broker, Client(context, broker.clients), worker
    finally:
        worker.ended = True
        thread.join()
        context.destroy(linger=0)
        broker.stop()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def code_of(caught: pytest.ExceptionInfo[Failed]) -> str:
    return str(caught.value.args[0])


def test_a_request_and_its_reply() -> None:
    with house() as (_, client, _):
        assert client.call(POOL, "echo", {"message": "Hello"}) == {"message": "Hello"}
        assert client.call(None, "echo", {"data": b"x" * 100_000}) == {"data": b"x" * 100_000}


def test_a_stream_keeps_to_its_window_and_goes_on_with_grants() -> None:
    with house() as (_, client, worker):
        request = client.begin(POOL, "count", {"to": 20}, window=4)
        wait_for(lambda: bool(worker.held))
        received = list(client.answers(request, window=4))
        assert received == [*((PART, n) for n in range(20)), (REPLY, "done")]


def test_without_grants_a_stream_stops_at_its_window_until_it_is_cancelled() -> None:
    with house() as (_, client, _):
        request = client.begin(POOL, "count", {"to": 20}, window=4)
        numbers = [client.link.receive(PATIENCE_S)[1][2] for _ in range(4)]  # type: ignore[index]
        assert numbers == [0, 1, 2, 3]
        assert client.link.receive(0.1) is None
        client.say(CANCEL, [request])
        with pytest.raises(Failed) as caught:
            list(client.answers(request))
        assert code_of(caught) == "cancelled"
        assert caught.value.args[2] == {"outcome": "stopped"}


def test_a_stream_that_nobody_wants_sends_no_parts() -> None:
    with house() as (_, client, _):
        assert list(client.answers(client.begin(POOL, "count", {"to": 5}))) == [(REPLY, "done")]


def test_a_cancel_reaches_a_request_that_waits_in_the_worker() -> None:
    with house(slots=2) as (_, client, _):
        first = client.begin(POOL, "count", {"to": 50}, window=1)
        second = client.begin(POOL, "count", {"to": 1}, window=9)
        client.say(CANCEL, [second])
        client.say(CANCEL, [first])
        for request in (first, second):
            with pytest.raises(Failed) as caught:
                list(client.answers(request))
            assert code_of(caught) == "cancelled"


def test_what_a_function_raises_comes_as_an_error() -> None:
    with house() as (_, client, _):
        with pytest.raises(Failed) as caught:
            client.call(POOL, "fail", {})
        assert caught.value.args == ("application_error", "no such row", {"type": "ValueError", "traceback": ""})


def test_unknown_commands_and_pools_say_what_exists() -> None:
    with house() as (_, client, _):
        with pytest.raises(Failed) as caught:
            client.call(POOL, "ecko", {})
        assert code_of(caught) == "unknown_command"
        assert (caught.value.args[2]["commands"], caught.value.args[2]["nearest"]) == (
            ["count", "echo", "fail"],
            "echo",
        )
        with pytest.raises(Failed) as caught:
            client.call("generl", "echo", {})
        assert (code_of(caught), caught.value.args[2]["nearest"]) == ("unknown_pool", POOL)


def test_a_deadline_is_answered_by_the_broker() -> None:
    with house() as (_, client, _):
        with pytest.raises(Failed) as caught:  # the worker waits for a grant that never comes
            list(client.answers(client.begin(POOL, "count", {"to": 9}, timeout=0.1, window=1), window=99))
        assert (code_of(caught), caught.value.args[2]["where"]) == ("deadline_exceeded", "running")
        assert client.call(POOL, "echo", {}) == {}


def test_the_broker_tells_about_itself() -> None:
    with house() as (_, client, _):
        client.say(QUERY, [next(client.ids), "workers"])
        ((kind, rows),) = client.answers(1)
        assert kind == REPLY
        assert [(row["pool"], row["host"], row["state"]) for row in rows] == [(POOL, "host", "idle")]


@pytest.mark.slow
def test_a_silent_worker_is_given_up_and_registers_again_when_it_is_a_stranger() -> None:
    with house(heartbeat_interval_s=0.05, heartbeat_liveness=2) as (broker, client, worker):
        worker.muted = True
        wait_for(lambda: "worker.died" in broker.events)
        worker.muted = False
        wait_for(lambda: broker.events.count("worker.started") == 2)
        assert client.call(POOL, "echo", {"still": "here"}) == {"still": "here"}


def test_a_forgotten_client_is_a_stranger_and_notices_nothing() -> None:
    with house(heartbeat_interval_s=0.05, idle_client_s=0.05, heartbeat_liveness=20) as (broker, client, _):
        wait_for(lambda: broker.shell.core.state.clients == 0)
        assert client.call(POOL, "echo", {"n": 1}) == {"n": 1}


@pytest.mark.slow
def test_a_restarted_broker_is_found_again() -> None:
    with ExitStack() as stack:
        others: list[Broker] = []
        stack.callback(lambda: [other.stop() for other in others])  # after the house: its worker wants to say LEAVE
        broker, client, _ = stack.enter_context(house())
        before = client.epoch
        broker.stop()
        others.append(Broker(broker.clients, broker.workers))
        wait_for(lambda: "worker.started" in others[0].events)
        assert client.call(POOL, "echo", {"n": 2}) == {"n": 2}
        assert client.epoch != before


def test_what_breaks_the_rules_is_refused() -> None:
    with house() as (_, client, _):
        client.link.socket.send_multipart([b"MT\x02\x91\x01"])
        assert client.link.receive(PATIENCE_S)[1][:2] == [-1, "protocol_error"]  # type: ignore[index]
        client.link.send((REGISTER, [bytes(16), bytes(16), POOL, 1, []], []))
        assert client.link.receive(PATIENCE_S)[1][:2] == [-1, "protocol_error"]  # type: ignore[index]
        assert client.call(POOL, "echo", {}) == {}


# --- who may do what: the page's section on security ---

SECRET = "5e" * 32
GUARDED = Policy(secret=SECRET, unnamed=None)
"""A broker without keys: who comes over loopback may call, and who knows the secret may do everything."""


@contextmanager
def guarded(policy: Policy, user: str = "open:127.0.0.1") -> Iterator[tuple[Broker, zmq.Context[Any]]]:
    broker = Broker(policy=policy, user=user)
    context: zmq.Context[Any] = zmq.Context()
    try:
        yield broker, context
    finally:
        context.destroy(linger=0)
        broker.stop()


@contextmanager
def serving(broker: Broker, context: zmq.Context[Any], secret: str) -> Iterator[None]:
    worker = Worker(context, broker.workers, 1, secret, echo=echo)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_for(lambda: "worker.started" in broker.events)
        yield
    finally:
        worker.ended = True
        thread.join()


def refusal_of(act: Callable[[], Any]) -> tuple[str, Any]:
    """Code and details of what comes of it."""
    with pytest.raises(Failed) as caught:
        act()
    return code_of(caught), caught.value.args[2]


def test_with_the_secret_a_worker_serves_and_anybody_calls_it() -> None:
    with guarded(GUARDED) as (broker, context), serving(broker, context, SECRET):
        assert Client(context, broker.clients).call(POOL, "echo", {"n": 1}) == {"n": 1}


@pytest.mark.parametrize("secret", ["", "5e" * 31 + "5f"])
def test_without_the_secret_nobody_serves(secret: str) -> None:
    with guarded(GUARDED) as (broker, context):
        worker = Worker(context, broker.workers, 1, secret, echo=echo)
        code, details = refusal_of(lambda: wait_for(lambda: worker.listen(0.02)))
        assert (code, details["missing"]) == ("permission_denied", "serve")


def test_only_with_the_secret_a_client_operates() -> None:
    with guarded(GUARDED) as (broker, context):
        stranger = Client(context, broker.clients)
        code, details = refusal_of(lambda: stranger.operate("pause", POOL))
        assert (code, details["missing"]) == ("permission_denied", "operate")
        assert isinstance(Client(context, broker.clients, SECRET).operate("pause", POOL), dict)


def test_who_is_not_known_is_told_so_and_stays_a_stranger() -> None:
    with guarded(GUARDED, user="key:" + "x" * 40) as (broker, context):
        assert refusal_of(lambda: Client(context, broker.clients)) == ("unauthenticated", {})
        worker = Worker(context, broker.workers, 1, SECRET, echo=echo)  # the secret is nothing beside a key
        code, _ = refusal_of(lambda: wait_for(lambda: worker.listen(0.02)))
        assert code == "unauthenticated"


def test_what_may_not_be_called_is_refused_and_the_rest_goes_on() -> None:
    alice = Principal("alice", call=((POOL, "echo"),), serve=(POOL,), keyed=True)
    policy = Policy(keys={"a" * 40: alice}, open=None, unnamed=None)
    with guarded(policy, user="key:" + "a" * 40) as (broker, context), serving(broker, context, ""):
        client = Client(context, broker.clients)
        code, details = refusal_of(lambda: client.call(POOL, "count", {"to": 1}))
        assert code == "permission_denied"
        assert (details["missing"], details["principal"], details["pool"]) == ("call", "alice", POOL)
        assert details["allowed"] == [f"{POOL}:echo"]
        assert client.call(POOL, "echo", {"n": 2}) == {"n": 2}
