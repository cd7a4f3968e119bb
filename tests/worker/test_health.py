"""Health checks: what is registered, what counts as a problem, and when a worker that is asked answers."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
from worker_peers import Broker, began, begun, log, run

from maitred.protocol import messages
from maitred.worker import Context, Service
from maitred.worker import service as services

Case = tuple[str, bool, int]

CASES: list[Case] = [("plain", False, 1), ("trio", False, 1), ("trio", True, 1), ("trio", False, 3), ("trio", True, 3)]
"""(loop, whether the functions are async, slots)."""

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}{'-async' * case[1]}-{case[2]}")


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ValueError


class Checked:
    """A service whose health is the next of `outcomes`."""

    def __init__(self, is_async: bool) -> None:
        self.service = Service()
        self.outcomes: list[Any] = []
        self.released = threading.Event()

        def check(context: Context) -> Any:
            assert (context.pool, context.command, context.deadline) == ("general", "health_check", None)
            outcome = self.outcomes.pop(0)
            log.append("checked")
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        async def acheck(context: Context) -> Any:
            await trio.lowlevel.checkpoint()
            return check(context)

        def echo(text: str) -> str:
            log.append(text)
            return text

        async def aecho(text: str) -> str:
            return echo(text)

        def hang() -> None:
            begun.release()
            assert self.released.wait(30)

        async def ahang() -> None:
            begun.release()
            while not self.released.is_set():  # noqa: ASYNC110 - another thread sets it
                await trio.sleep(0.001)

        self.service.health_check(acheck if is_async else check)
        self.service.command("echo")(aecho if is_async else echo)
        self.service.command("hang")(ahang if is_async else hang)


@cases
def test_what_is_a_problem_and_what_is_none(case: Case) -> None:
    loop, is_async, slots = case
    checked = Checked(is_async)
    told: list[tuple[Any, str]] = [
        (None, ""),
        (True, ""),
        ("", ""),
        (1, ""),
        ("no GPU", "no GPU"),
        (False, "the health check returned False"),
        (0, "the health check returned 0"),
        (ValueError("lost"), "ValueError: lost"),
        (SystemExit(3), "SystemExit: the command called sys.exit(3); the worker goes on"),
        (Unreadable(), "test_health.Unreadable: <its __str__ raised ValueError>"),
        ("x" * 5000, "x" * 999 + "…"),
        ("caf\udce9", "caf\\udce9"),
        (None, ""),
    ]

    def script(broker: Broker) -> None:
        for number, (outcome, problem) in enumerate(told):
            checked.outcomes.append(outcome)
            broker.check(number)
            answer = broker.checked()
            assert answer.number == number
            assert answer.problem.replace(__name__, "test_health") == problem

    run(loop, checked.service, script, slots=slots)


@cases
def test_without_one_the_answer_says_that_somebody_reads(case: Case) -> None:
    loop, _, slots = case

    def script(broker: Broker) -> None:
        broker.check(7)
        assert broker.checked() == messages.Checked(7, "")

    service = Service()
    service.command("echo")(lambda text: text)
    run(loop, service, script, slots=slots)


@pytest.mark.parametrize("case", [case for case in CASES if case[2] == 1], ids=str)
def test_it_is_asked_in_its_turn(case: Case) -> None:
    loop, is_async, _ = case
    checked = Checked(is_async)
    checked.outcomes += [None, "ill"]

    def script(broker: Broker) -> None:
        broker.dispatch(1, "hang")
        began()
        broker.dispatch(2, "echo", {"text": "before"})
        broker.check(1)
        assert log == []
        checked.released.set()
        assert broker.answers(2)[2] == "before"
        assert broker.checked() == messages.Checked(1, "")
        broker.check(2)
        assert broker.checked() == messages.Checked(2, "ill")
        broker.dispatch(3, "echo", {"text": "after"})
        assert broker.answers(1)[3] == "after"
        assert log == ["before", "checked", "checked", "after"]

    run(loop, checked.service, script)


@pytest.mark.parametrize("loop", ["plain", "trio"])
def test_one_that_came_before_a_new_registration_is_answered(loop: str) -> None:
    checked = Checked(is_async=loop == "trio")
    checked.outcomes.append("ill")

    def script(broker: Broker) -> None:
        broker.dispatch(1, "hang")
        began()
        broker.check(1)
        broker.say_stranger()
        broker.dispatch(2, "echo", {"text": "held"})
        checked.released.set()
        problems: list[str] = []
        answered: set[int] = set()
        while len(problems) + len(answered) < 3:
            match broker.receive()[0]:
                case messages.Checked(problem=problem):
                    problems.append(problem)
                case messages.WorkerReply(id=number):
                    answered.add(number)
                case other:
                    assert isinstance(other, messages.Register | messages.Attach), other
        assert (problems, answered) == (["ill"], {1, 2})

    run(loop, checked.service, script)


@pytest.mark.parametrize("is_async", [True, False])
def test_one_that_hangs_holds_up_nobody_else_and_not_the_end(is_async: bool) -> None:
    """Under trio, where it is async or runs in a thread. The broker finds that it is not answered."""
    service, hanging = Service(), threading.Event()

    async def asleep() -> None:
        begun.release()
        await trio.sleep_forever()

    def blocked() -> None:
        begun.release()
        hanging.wait(60)

    service.health_check(asleep if is_async else blocked)
    service.command("echo")(lambda text: text)

    def script(broker: Broker) -> None:
        broker.check(1)
        began()
        for number in range(20):
            broker.dispatch(number, "echo", {"text": "on"})
        assert broker.answers(20) == dict.fromkeys(range(20), "on")

    try:
        run("trio", service, script, slots=1 if is_async else 2)
    finally:
        hanging.set()


def test_it_takes_no_slot() -> None:
    """All of them run while it is asked."""
    service = Service()

    @service.health_check
    async def check() -> None:
        begun.release()
        await trio.sleep_forever()

    @service.command
    async def meet() -> int:
        log.append(1)
        while len(log) < 2:  # noqa: ASYNC110 - another task adds to it
            await trio.sleep(0.001)
        return len(log)

    def script(broker: Broker) -> None:
        broker.check(1)
        began()
        broker.dispatch(1, "meet")
        broker.dispatch(2, "meet")
        assert broker.answers(2) == {1: 2, 2: 2}

    run("trio", service, script, slots=2)


class TestRegistration:
    def test_what_is_registered(self) -> None:
        service = Service()
        assert service.checks_health is None

        @service.health_check
        def check(context: Context) -> None: ...

        assert service.checks_health is not None
        assert service.checks_health.function is check
        assert service.checks_health.takes_context
        assert not service.needs_trio

    def test_an_async_one_needs_trio(self) -> None:
        service = Service()

        @service.health_check
        async def check() -> None: ...

        assert service.needs_trio

    def test_refusals(self) -> None:
        def generator() -> Any:
            yield 1

        for wrong, why in [
            (lambda a, b: None, "must take nothing, or one `context`"),
            (generator, "must not yield"),
            (3, "must stand above a function, not 3"),
        ]:
            with pytest.raises(TypeError, match=rf"@service\.health_check.*{why}"):
                services.Service().health_check(wrong)  # type: ignore[type-var]
        service = Service()
        service.health_check(lambda: None)
        with pytest.raises(TypeError, match=r"registered twice: .*lambda.*, .*lambda"):
            service.health_check(lambda: None)
