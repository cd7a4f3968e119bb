"""Running a function: results, parts, cancellation between parts, and what its caller is told when it raises."""

from __future__ import annotations

import functools
import os
from typing import Any

import msgspec
import pytest
import trio

from maitred.protocol.errors import PoolSaturated
from maitred.worker import Cancelled, Context, Service
from maitred.worker.context import NotBegun
from maitred.worker.invoke import ainvoke, astart, describe_exception, invoke, start


def command_of(function: Any) -> Any:
    service = Service()
    service.command("run")(function)
    return service.commands["run"]


class Parts(list[Any]):
    """Where parts go; cancels the context after so many."""

    def __init__(self, context: Context | None = None, after: int = 0) -> None:
        self.context, self.after = context, after

    def emit(self, part: Any) -> None:
        self.append(part)
        if self.context is not None and len(self) == self.after:
            self.context.cancel("cancelled")

    async def aemit(self, part: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.emit(part)


def counted(n: int, log: list[str] | None = None):
    try:
        yield from range(n)
        return "done"
    finally:
        if log is not None:
            log.append("closed")


async def acounted(n: int, log: list[str] | None = None):
    try:
        for i in range(n):
            yield i
    finally:
        await trio.lowlevel.checkpoint()
        if log is not None:
            log.append("closed")


def test_plain() -> None:
    assert invoke(command_of(lambda x: x + 1), {"x": 1}, Context(), pytest.fail) == 2


def test_the_context_is_passed_by_name() -> None:
    context = Context()
    kwargs = {"x": 1}
    assert invoke(command_of(lambda x, context: context), kwargs, context, pytest.fail) is context
    assert kwargs == {"x": 1}


def test_a_generator_streams_and_returns() -> None:
    parts = Parts()
    assert invoke(command_of(counted), {"n": 3}, Context(), parts.emit) == "done"
    assert parts == [0, 1, 2]


def test_a_generator_behind_a_plain_wrapper_streams_too() -> None:
    parts = Parts()
    assert invoke(command_of(lambda: counted(2)), {}, Context(), parts.emit) == "done"
    assert parts == [0, 1]


def test_what_is_over_before_it_began_does_not_begin() -> None:
    with pytest.raises(NotBegun, match="deadline"):
        invoke(command_of(lambda: pytest.fail("ran")), {}, Context(deadline=0.0), pytest.fail)


async def test_nor_does_it_under_trio() -> None:
    context = Context()
    context.cancel("operator")
    with pytest.raises(NotBegun, match="operator"):
        await ainvoke(command_of(lambda: pytest.fail("ran")), {}, context, pytest.fail)


async def test_the_guard_calls_the_function_and_goes_on_with_a_generator_and_nothing_else() -> None:
    called: list[Any] = []

    def guard(function: Any, *args: Any, **kwargs: Any) -> Any:
        called.append(function)
        return function(*args, **kwargs)

    command = command_of(counted)
    parts = Parts()
    assert invoke(command, {"n": 2}, Context(), parts.emit, guard) == "done"
    assert called == [counted, next, next, next]
    assert await ainvoke(command, {"n": 2}, Context(), parts.aemit, guard) == "done"
    assert called == [counted, next, next, next] * 2


def test_a_cancelled_generator_is_closed_between_parts() -> None:
    context, log = Context(), []
    parts = Parts(context, after=2)
    with pytest.raises(Cancelled):
        invoke(command_of(counted), {"n": 9, "log": log}, context, parts.emit)
    assert (parts, log) == ([0, 1], ["closed"])


def test_emit_that_raises_closes_the_generator() -> None:
    log: list[str] = []

    def emit(part: Any) -> None:
        raise ValueError("cannot be encoded")

    with pytest.raises(ValueError, match="encoded"):
        invoke(command_of(counted), {"n": 9, "log": log}, Context(), emit)
    assert log == ["closed"]


def test_a_generator_that_will_not_close_hides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def stubborn():
        try:
            yield 1
        finally:
            raise KeyError("in finally")

    context = Context()
    with pytest.raises(Cancelled):
        invoke(command_of(stubborn), {}, context, Parts(context, after=1).emit)
    assert "while it was being closed" in caplog.text


async def test_async() -> None:
    async def double(x: int) -> int:
        await trio.lowlevel.checkpoint()
        return 2 * x

    assert await ainvoke(command_of(double), {"x": 2}, Context(), pytest.fail) == 4
    assert await ainvoke(command_of(functools.partial(double, x=3)), {}, Context(), pytest.fail) == 6
    assert await ainvoke(command_of(lambda: 5), {}, Context(), pytest.fail) == 5


async def test_async_streams() -> None:
    parts = Parts()
    assert await ainvoke(command_of(acounted), {"n": 2}, Context(), parts.aemit) is None
    assert await ainvoke(command_of(counted), {"n": 2}, Context(), parts.aemit) == "done"
    assert parts == [0, 1, 0, 1]


@pytest.mark.parametrize("function", [counted, acounted])
async def test_async_cancelled_between_parts(function: Any) -> None:
    context, log = Context(), []
    parts = Parts(context, after=2)
    with pytest.raises(Cancelled):
        await ainvoke(command_of(function), {"n": 9, "log": log}, context, parts.aemit)
    assert (parts, log) == ([0, 1], ["closed"])


async def test_a_cancelled_scope_closes_the_generator() -> None:
    closed: list[str] = []

    async def endless():
        try:
            while True:
                yield 1
        finally:
            closed.append("closed")

    async def emit(part: Any) -> None:
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        scope.cancel()
        await ainvoke(command_of(endless), {}, Context(), emit)
    assert scope.cancelled_caught
    assert closed == ["closed"]


async def test_startup_functions_run_in_order() -> None:
    service, log = Service(), []
    service.startup(lambda: log.append("first"))
    service.startup(lambda context: log.append(context.pool))
    start(service, Context(pool="neural"))

    @service.startup
    async def third() -> None:
        await trio.lowlevel.checkpoint()
        log.append("third")

    await astart(service, Context(pool="general"))
    assert log == ["first", "neural", "first", "general", "third"]
    with pytest.raises(RuntimeError, match="async"):
        start(service, Context())


# --- what the caller is told -----------------------------------------------------------------------------------------


def failure(function: Any) -> tuple[str, dict[str, Any]]:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any
        invoke(command_of(function), {}, Context(), pytest.fail)
    message, details = describe_exception(caught.value)
    assert msgspec.msgpack.encode([message, details])
    assert len(message) <= 1000
    assert len(details["traceback"].encode()) <= 16 * 1024
    return message, details


def test_an_exception_is_described_without_our_own_frames() -> None:
    def run():
        return {}["absent"]

    message, details = failure(run)
    assert message == "KeyError: 'absent'"
    assert details["type"] == "KeyError"
    assert "in run" in details["traceback"]
    assert f"{os.sep}invoke.py" not in details["traceback"]
    assert details["traceback"].endswith("KeyError: 'absent'\n")


def test_causes_and_groups_are_stripped_too() -> None:
    def inner():
        raise ValueError("inner")

    def run():
        try:
            invoke(command_of(inner), {}, Context(), pytest.fail)
        except ValueError as error:
            raise ExceptionGroup("many", [error]) from error

    _, details = failure(run)
    assert "inner" in details["traceback"]
    assert f"{os.sep}invoke.py" not in details["traceback"]


def test_a_type_of_the_applications_own_is_qualified() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def run():
        raise Odd

    message, details = failure(run)
    assert details["type"].endswith("Odd")
    assert "." in details["type"]
    assert "__str__" in message


def test_sys_exit_is_an_application_error() -> None:
    def run():
        raise SystemExit(3)

    message, details = failure(run)
    assert "the command called sys.exit(3)" in message
    assert details["type"] == "SystemExit"


def test_an_answer_of_maitreds_keeps_its_code() -> None:
    def run():
        raise PoolSaturated("full", retry_after=1.0)

    message, details = failure(run)
    assert message == "maitred.protocol.errors.PoolSaturated: full"
    assert details["code"] == "resource_exhausted"


def test_a_huge_message_keeps_head_and_tail() -> None:
    def run():
        raise ValueError("é" * 50_000 + "END")

    message, details = failure(run)
    assert message.endswith("…")
    assert details["traceback"].startswith("Traceback")
    assert details["traceback"].endswith("END\n")
    assert "bytes left out" in details["traceback"]


def test_text_that_is_no_utf8() -> None:
    def run():
        raise OSError("no file \udcff")

    assert r"\udcff" in failure(run)[0]
