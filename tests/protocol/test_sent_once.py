"""Nothing is acted upon twice: a client over a connection that breaks, with a broker that forgets, restarts and refuses.

The broker here is the page `docs/protocol.md` in thirty lines. What it acts upon it writes down for all its lives.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from maitred.protocol import frames
from maitred.protocol import messages as m
from maitred.protocol.body import encode_body
from maitred.protocol.client import ClientConnection, Failed, PressureChanged, Replied
from maitred.protocol.client_events import SessionEndedEvent
from maitred.protocol.errors import PoolSaturated, SessionNotFound, Unavailable

INTERVAL_S = 1.0


def session_id(number: int) -> bytes:
    return number.to_bytes(16, "big")


class Wire(RuleBasedStateMachine):
    """The client's half, the two directions of a connection, and a broker."""

    @initialize()
    def connect(self) -> None:
        self.now = 0.0
        self.client = ClientConnection(b"c" * 16, "tcp://here")
        self.up: deque[frames.Frames] = deque()
        self.down: deque[frames.Frames] = deque()
        self.lives = 0
        self.known = False
        self.strangers: Counter[int] = Counter()  # by request id: so often it was not acted upon
        self.acted: Counter[int] = Counter()
        self.sent: Counter[int] = Counter()
        self.unanswered: list[int] = []
        self.watched: dict[int, None] = {}
        self.ended: Counter[int] = Counter()
        self.asked = 0
        self.open: dict[int, None] = {}  # watches that the client has not closed
        self.closed: dict[int, None] = {}
        self.joins: dict[int, None] = {}  # sessions that the client has asked to open, and not left
        self.left: dict[int, None] = {}
        self.replied: dict[int, None] = {}  # those of which it knows
        self.sessions: dict[int, None] = {}  # that exist: they outlive the broker
        self.told: dict[int, None] = {}  # that this life of the broker would tell of
        self.opened: Counter[int] = Counter()
        self.gone: Counter[int] = Counter()
        self.client.start(self.now)
        self.settle()

    # --- the client ---

    @rule()
    def request(self) -> None:
        self.asked += 1
        self.client.request(m.Request(self.asked, "p", "c"), [b"\xc0"], self.now)

    @rule()
    def watch(self) -> None:
        self.asked += 1
        self.open[self.asked] = None
        self.client.watch(self.asked, "p", self.now)

    @rule(data=st.data())
    def close_watch(self, data: st.DataObject) -> None:
        if self.open:
            number = data.draw(st.sampled_from(list(self.open)))
            del self.open[number]
            self.closed[number] = None
            self.client.abandon(number)

    @rule()
    def open_session(self) -> None:
        self.asked += 1
        self.joins[self.asked] = None
        self.client.join(m.Open(self.asked, session_id(self.asked), "p"), [b"\x80"], self.now)

    @rule(data=st.data())
    def leave_session(self, data: st.DataObject) -> None:
        if self.joins:
            number = data.draw(st.sampled_from(list(self.joins)))
            del self.joins[number]
            self.left[number] = None
            self.client.abandon(number)

    @rule(seconds=st.floats(0.1, 20))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.client.tick(self.now))

    @rule(count=st.integers(1, 5))
    def send(self, count: int) -> None:
        for _ in range(min(count, len(self.client.outgoing))):
            message_frames = self.client.outgoing.pop(0)
            self.up.append(message_frames)
            message = frames.from_client.decode(message_frames)[0]
            if isinstance(message, m.Request):
                self.sent[message.id] += 1

    @rule(count=st.integers(1, 5))
    def hear(self, count: int) -> None:
        for _ in range(min(count, len(self.down))):
            self.take(self.client.receive(self.down.popleft(), self.now))

    # --- the broker ---

    @rule(count=st.integers(1, 5))
    def act(self, count: int) -> None:
        for _ in range(min(count, len(self.up))):
            message = frames.from_client.decode(self.up.popleft())[0]
            if isinstance(message, m.Hello):
                self.forget()
                self.known = True
                self.say(m.Welcome(self.lives.to_bytes(16, "big"), INTERVAL_S, 3, 100))
            elif not self.known:
                if isinstance(message, m.Request):
                    self.strangers[message.id] += 1
                self.say(m.Stranger())
            else:
                self.act_upon(message)

    def act_upon(self, message: Any) -> None:
        if isinstance(message, m.Heartbeat):
            self.say(m.Heartbeat())
        elif isinstance(message, m.Request):
            self.acted[message.id] += 1
            self.unanswered.append(message.id)
        elif isinstance(message, m.Watch):
            self.watched[message.id] = None
            self.say(m.Pressure(message.id, message.pool, m.LEVEL_OK, 0, 1))
        elif isinstance(message, m.Open):
            number = int.from_bytes(message.session, "big")
            self.opened[number] += 1
            self.sessions[number] = self.told[number] = None
            self.say(m.Reply(message.id), [b"\xc0"])
        elif isinstance(message, m.Session):
            self.attach(message)
        elif isinstance(message, m.Cancel):
            self.watched.pop(message.id, None)

    @rule(refuse=st.booleans())
    def answer(self, refuse: bool) -> None:
        if self.unanswered:
            number = self.unanswered.pop()
            if refuse:
                self.say(m.Error(number, "resource_exhausted", "full"), encode_body({"ticket": 3}))
            else:
                self.say(m.Reply(number), [b"\xc0"])

    def attach(self, message: m.Session) -> None:
        number = int.from_bytes(message.session, "big")
        if number in self.sessions:
            self.told[number] = None
            self.say(m.Reply(message.id), [b"\xc0"])
        else:
            self.say(m.Error(message.id, "session_not_found", "gone"), encode_body({}))

    @rule(data=st.data())
    def end_session(self, data: st.DataObject) -> None:
        if self.sessions:
            number = data.draw(st.sampled_from(list(self.sessions)))
            del self.sessions[number]
            if self.told.pop(number, 0) is None:
                self.say(m.SessionEnded(session_id(number), "expired"), encode_body({}))

    def forget(self) -> None:
        self.known, self.unanswered, self.watched, self.told = False, [], {}, {}

    @rule()
    def restart(self) -> None:
        self.lives += 1
        self.forget()

    @rule()
    def break_connection(self) -> None:
        """What is on its way is lost; the broker sees a connection that it does not know."""
        for message_frames in (
            () if self.known else self.up
        ):  # it had said STRANGER before: neither were these acted upon
            message = frames.from_client.decode(message_frames)[0]
            if isinstance(message, m.Request):
                self.strangers[message.id] += 1
        self.up.clear()
        self.down.clear()
        self.forget()

    def say(self, message: m.Message, body: Any = ()) -> None:
        self.down.append(frames.encode(message, body))

    # --- what must be so ---

    def take(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, Replied | Failed):
                assert event.id not in self.open, "a watch does not end by itself"
            if isinstance(event, Replied) and event.id in self.joins:
                self.replied[event.id] = None
            elif isinstance(event, SessionEndedEvent | Failed) and event.id in self.joins:
                del self.joins[event.id]
                self.gone[event.id] += 1
                known = event.id in self.replied
                assert not (known and isinstance(event, Failed)) or isinstance(event.error, SessionNotFound)
            elif isinstance(event, Replied | Failed):
                self.ended[event.id] += 1
                assert not isinstance(event, Failed) or isinstance(event.error, Unavailable | PoolSaturated)
            if isinstance(event, PressureChanged):
                assert event.id in self.open

    @invariant()
    def nothing_is_acted_upon_twice(self) -> None:
        assert all(count == 1 for count in self.acted.values())
        assert all(count == 1 for count in self.ended.values())
        assert all(count == 1 for count in self.opened.values())
        assert all(count == 1 for count in self.gone.values())
        assert all(count <= 1 + self.strangers[number] for number, count in self.sent.items())

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        self.settle()
        while self.unanswered:
            self.answer(refuse=False)
        self.settle()
        self.nothing_is_acted_upon_twice()
        assert not self.client.outgoing
        watches, sessions = self.open.keys(), self.joins.keys() | self.left.keys() | self.gone.keys()
        assert set(self.ended) == set(range(1, self.asked + 1)) - watches - self.closed.keys() - sessions
        assert self.watched.keys() == watches, "each watch that is open is watched"
        assert self.joins.keys() <= self.replied.keys() & self.told.keys(), "each session that is joined is told of"

    def settle(self) -> None:
        """Let all come through, and time pass until nobody has more to say."""
        for _ in range(40):
            self.pass_time(INTERVAL_S)
            self.send(100)
            self.act(100)
            self.hear(100)
        self.send(100)
        self.act(100)


TestWire = Wire.TestCase
TestWire.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
