"""Runs one command's function: plain, generator, async or async generator. No sockets, no processes, no trio import.

The caller of these functions has validated the arguments (`Command.validate`); parts leave through `emit`, the result
is returned, and whatever the function raises passes through, for `maitred.worker.failures` to put into words. `guard`
calls the function, and goes on with a generator: what is called by it can be interrupted, and nothing else here can.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, cast

from maitred.worker.context import Context
from maitred.worker.failures import describe_exception
from maitred.worker.interrupt import unguarded
from maitred.worker.service import Command, Service

__all__ = ["Guard", "ainvoke", "astart", "describe_exception", "invoke", "start"]

Emit = Callable[[Any], object]
"""Takes a part on its way to the caller; it may wait for credit, and may raise Cancelled."""

AsyncEmit = Callable[[Any], Awaitable[object]]

Guard = Callable[..., Any]
"""Calls the first argument with the rest (`interrupt.Window.call`)."""


def invoke(command: Command, kwargs: dict[str, Any], context: Context, emit: Emit, guard: Guard = unguarded) -> Any:
    """Run a synchronous command and return its result; a generator's yields go to `emit`.

    Raises:
        NotBegun: the request was told to stop before it began.
        Cancelled: it was told so between two parts. A generator is closed first, so that its `finally` blocks have run.
        BaseException: whatever the function, or `emit`, raised.
    """
    context.check_before_it_begins()
    result = guard(command.function, **_with_context(command, kwargs, context))
    # By what came back rather than by command.kind: a decorator may have made one out of the other.
    if inspect.isgenerator(result):
        return _drive(cast("Generator[Any, None, Any]", result), context, emit, guard)
    return result


async def ainvoke(
    command: Command, kwargs: dict[str, Any], context: Context, emit: AsyncEmit, guard: Guard = unguarded
) -> Any:
    """Run a command of any kind under trio and return its result; yields go to `emit`.

    An async generator cannot return a value: its result is None. Synchronous ones are called where they stand and
    hold up the loop meanwhile.

    Raises:
        NotBegun: the request was told to stop before it began.
        Cancelled: it was told so between two parts. A generator is closed first.
        BaseException: whatever the function, or `emit`, raised; in a cancelled scope the generator is closed, with
            what it awaits in its `finally` blocks cancelled too.
    """
    context.check_before_it_begins()
    result = guard(command.function, **_with_context(command, kwargs, context))
    if inspect.isasyncgen(result):
        return await _adrive(cast("AsyncGenerator[Any, None]", result), context, emit)
    if inspect.isgenerator(result):
        return await _drive_in_loop(cast("Generator[Any, None, Any]", result), context, emit, guard)
    return await result if inspect.isawaitable(result) else result


def start(service: Service, context: Context) -> None:
    """Run the service's startup functions, in the order registered, where none of them is async.

    Raises:
        RuntimeError: one is async; use `astart`.
        BaseException: whatever a function raised.
    """
    for startup in service.startups:
        if startup.is_async:
            raise RuntimeError("the service has an async startup function: run it under trio")
        startup.call(context)


async def astart(service: Service, context: Context) -> None:
    """Run the service's startup functions, in the order registered, under trio.

    Raises:
        BaseException: whatever a function raised.
    """
    for startup in service.startups:
        outcome = startup.call(context)
        if inspect.isawaitable(outcome):
            await outcome


def _with_context(command: Command, kwargs: dict[str, Any], context: Context) -> dict[str, Any]:
    name = command.context_parameter
    return kwargs if name is None else {**kwargs, name: context}


def _drive(generator: Generator[Any, None, Any], context: Context, emit: Emit, guard: Guard) -> Any:
    with _closing(generator, context):
        while True:
            try:
                part = guard(next, generator)
            except StopIteration as stop:
                return stop.value
            emit(part)
            context.check_cancelled()


async def _drive_in_loop(generator: Generator[Any, None, Any], context: Context, emit: AsyncEmit, guard: Guard) -> Any:
    with _closing(generator, context):
        while True:
            try:
                part = guard(next, generator)
            except StopIteration as stop:
                return stop.value
            await emit(part)
            context.check_cancelled()


async def _adrive(generator: AsyncGenerator[Any, None], context: Context, emit: AsyncEmit) -> None:
    try:
        async for part in generator:
            await emit(part)
            context.check_cancelled()
    finally:
        # What goes wrong while closing must not hide why it is closed; what the function raised itself came before.
        with _logged(context):
            await generator.aclose()


@contextlib.contextmanager
def _closing(generator: Generator[Any, None, Any], context: Context) -> Generator[None, None, None]:
    try:
        yield
    finally:
        with _logged(context):
            generator.close()


@contextlib.contextmanager
def _logged(context: Context) -> Generator[None, None, None]:
    try:
        yield
    except Exception:
        context.log.exception("%s raised while it was being closed", context.command or "the command")
