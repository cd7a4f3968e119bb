"""Every event is registered with its fields, is emitted, and every registered one is.

What the sources say is read off their syntax. That the core emits its events is shown by a scenario for each that no other
test looks for; the others are named with the test that does.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_model import AgentModel
from broker_peers import POOL, Bench, id128

from maitred.broker.core.settings import PoolSettings
from maitred.protocol import messages as m
from maitred.protocol.events import EVENTS

ROOT = Path(__file__).parents[2]
SAYS = {"note", "witness", "tell", "Note", "info", "warning", "error", "exception"}
CALLER = id128(7)


def said_in_the_sources() -> Iterator[tuple[str, str, set[str]]]:
    """Where, which event, which fields: of each call with an event's name written out."""
    for path in sorted((ROOT / "broker").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if (
                name in SAYS
                and isinstance(first, ast.Constant)
                and "." in str(first.value)
                and " " not in str(first.value)
            ):
                fields = {keyword.arg for keyword in node.keywords if keyword.arg}
                if len(node.args) > 1 and isinstance(node.args[1], ast.Dict):
                    fields |= {key.value for key in node.args[1].keys if isinstance(key, ast.Constant)}
                yield f"{path.relative_to(ROOT)}:{node.lineno}", str(first.value), {str(field) for field in fields}


def test_whatever_is_said_is_registered() -> None:
    found = list(said_in_the_sources())
    assert len(found) > 50
    unknown = [(where, event, fields) for where, event, fields in found if event not in EVENTS]
    assert not unknown
    more = [(where, event, fields - EVENTS[event].fields.keys()) for where, event, fields in found]
    assert not [each for each in more if each[2]]


def test_names_and_fields_are_of_one_form() -> None:
    for name, event in EVENTS.items():
        subject, dot, happened = name.partition(".")
        assert dot
        assert (subject + happened).replace("_", "").isalpha()
        assert event.meaning.endswith(".")
        for field, told in event.fields.items():
            assert told.split(" ")[0].removesuffix("?") in {"str", "int", "num", "bool", "strs"}, (name, field)


# --- emitted ---


def agents_and_degraded(bench: Bench) -> None:
    agent = AgentModel(bench, size=1)
    bench.tell(agent.peer, m.Degraded("ImportError"))
    bench.perform(bench.core.undeliverable(agent.peer, m.Heartbeat(), bench.now))


def drains(bench: Bench) -> None:
    bench.perform(bench.core.drain(bench.now))


def cancels(bench: Bench) -> None:
    client, _ = bench.client(), bench.worker()
    for number in (1, 2):
        bench.tell(client, m.Request(number, POOL, "echo"), b"")
    bench.tell(client, m.Cancel(2))


def says_it_twice(bench: Bench) -> None:
    client = bench.client()
    for _ in range(2):
        bench.tell(client, m.Request(1, POOL, "echo"), b"")


def expires(bench: Bench) -> None:
    bench.tell(bench.client(), m.Request(1, POOL, "echo", timeout=1.0), b"")
    bench.advance(1.5)


def is_poison(bench: Bench) -> None:
    agent, client = bench.agent(), bench.client()
    for number in range(1, 5):
        worker = id128(100 + 10 * number)
        bench.tell(agent, m.Spawned(worker, 1))
        bench.worker(100 + 10 * number)
        bench.tell(client, m.Request(number, POOL, "echo"), b"poison")
        bench.tell(agent, m.Died(worker, m.Certificate("signal"), [(CALLER, number)]))


def does_not_stop(bench: Bench, *, has_agent: bool) -> None:
    client = bench.client()
    if has_agent:
        bench.tell(bench.agent(), m.Spawned(id128(100), 1))
    worker = bench.worker(100)
    bench.tell(client, m.Request(1, POOL, "echo"), b"")
    bench.tell(client, m.Cancel(1))
    for _ in range(4):
        bench.advance(1.0)
        bench.tell(worker, m.Heartbeat())


def is_drained(bench: Bench) -> None:
    bench.worker(100)
    done, effects = bench.core.operate("drain", id128(100).hex(), "test", "operator", bench.now)
    bench.perform(effects)
    assert isinstance(done, dict)


def is_silent_for_a_while(bench: Bench) -> None:
    agent = bench.agent()
    bench.tell(agent, m.Spawned(id128(100), 1))
    worker = bench.worker(100)
    for _ in range(100):
        bench.advance(0.1)
        bench.tell(agent, m.Heartbeat())
        if any(bench.events("worker.suspect")):
            break
    bench.tell(worker, m.Heartbeat())


def is_operated(bench: Bench) -> None:
    AgentModel(bench, size=1)
    for verb, target in (("scale", f"{POOL}=2"), ("recycle", POOL), ("retire", f"{POOL}=1")):
        done, effects = bench.core.operate(verb, target, "test", "operator", bench.now)
        assert isinstance(done, dict)
        bench.perform(effects)


def comes_over_another_connection(bench: Bench) -> None:
    bench.worker(100)
    bench.worker(100)


def has_sessions(bench: Bench) -> None:
    client, worker = bench.client(), bench.worker(100)
    bench.tell(client, m.Open(1, id128(50), POOL, ttl=1.0), b"\x80")
    bench.tell(client, m.Open(2, id128(51), POOL), b"\x80")
    bench.tell(client, m.Session(3, id128(51), "close"))
    for _ in range(3):
        bench.advance(1.0)
        bench.tell(worker, m.Heartbeat())


def finds_a_session_of_before(bench: Bench) -> None:
    bench.tell(bench.worker(100), m.SessionHeld(id128(50), CALLER, 1, 60.0, 20.0), b"\x80")


SCENARIOS: dict[Callable[[Bench], None], tuple[str, ...]] = {
    agents_and_degraded: ("agent.started", "agent.lost", "pool.degraded"),
    drains: ("broker.draining",),
    cancels: ("request.cancelled",),
    says_it_twice: ("request.duplicate",),
    expires: ("request.expired",),
    is_poison: ("request.quarantine", "request.quarantined", "worker.started", "worker.died"),
    functools.partial(does_not_stop, has_agent=True): ("worker.killing",),
    functools.partial(does_not_stop, has_agent=False): ("worker.stuck",),
    is_drained: ("worker.retiring", "worker.dismissed", "operator.drain"),
    is_silent_for_a_while: ("worker.suspect", "worker.recovered"),
    is_operated: ("operator.scale", "operator.recycle", "operator.retire", "pool.resized"),
    comes_over_another_connection: ("worker.reconnected",),
    has_sessions: ("session.opened", "session.closed", "session.expired"),
    finds_a_session_of_before: ("session.resumed",),
}


@pytest.mark.parametrize(("scenario", "events"), SCENARIOS.items(), ids=[" ".join(it) for it in SCENARIOS.values()])
def test_it_is_emitted_with_its_fields(scenario: Callable[[Bench], None], events: tuple[str, ...]) -> None:
    bench = Bench(pools=[PoolSettings(POOL, kill_grace_s=0.5)])
    scenario(bench)
    emitted = {note.event for note in bench.notes}
    assert set(events) <= emitted, emitted
    for note in bench.notes:
        assert note.fields.keys() <= EVENTS[note.event].fields.keys(), note


def test_every_other_one_is_looked_for_by_a_test() -> None:
    shown = {event for events in SCENARIOS.values() for event in events}
    here = Path(__file__)
    texts = [path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")) if path != here]
    missing = [name for name in EVENTS if name not in shown and not any(f"{name}" in text for text in texts)]
    assert not missing
