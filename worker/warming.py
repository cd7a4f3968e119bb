"""The commands that a worker runs for itself before it takes requests, as the first call of a model is slow.

They are called as for a caller: arguments checked, generators read to their end, batch commands given one item. Nobody
waits for what they return, they have no deadline, and `context.call` cannot be used: nobody asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

from maitred.protocol.errors import InvalidArgument, UnknownCommand
from maitred.worker.context import Cancelled, Context
from maitred.worker.failures import describe_exception
from maitred.worker.invoke import ainvoke, invoke
from maitred.worker.loading import AdapterError
from maitred.worker.service import Command, Service

__all__ = ["Call", "WarmUp", "WarmUpError", "read_calls"]

Call = tuple[Command, dict[str, Any]]
"""A command, and the keyword arguments of its function."""


class WarmUpError(Exception):
    """A command of the warm-up failed; the text names it, and `__cause__` is what it raised."""


def read_calls(service: Service, calls: Iterable[tuple[str, dict[str, Any]]]) -> list[Call]:
    """Find the commands, and check their arguments.

    Raises:
        AdapterError: the service has no such command, or it takes other arguments.
    """
    return [_read(service, name, args) for name, args in calls]


def _read(service: Service, name: str, args: dict[str, Any]) -> Call:
    try:
        command = service.find(name)
        kwargs = command.validate(args)
    except (UnknownCommand, InvalidArgument) as error:
        raise AdapterError(f"warm-up with {name!r}: {error.message}") from None
    return command, {key: [value] for key, value in kwargs.items()} if command.batch else kwargs


class WarmUp:
    """All calls, one after another.

    Args:
        calls: of `read_calls`.
        context_of: makes the `Context` of a command.
    """

    def __init__(self, calls: Sequence[Call], context_of: Callable[[str], Context]) -> None:
        self._calls = calls
        self._context_of = context_of

    def run(self) -> None:
        """Run them where none is async.

        Raises:
            WarmUpError: one failed; those after it were not run.
        """
        for command, kwargs in self._calls:
            try:
                self._judge(command, invoke(command, kwargs, self._context_of(command.name), lambda _: None))
            except (Exception, Cancelled) as error:
                raise _failure(command, error) from error

    async def arun(self, *, in_threads: bool) -> None:
        """Run them under trio, plain ones in threads where requests will be.

        Raises:
            WarmUpError: as `run`.
        """
        for command, kwargs in self._calls:
            try:
                self._judge(command, await self._call(command, kwargs, in_threads))
            except (Exception, Cancelled) as error:
                raise _failure(command, error) from error

    async def _call(self, command: Command, kwargs: dict[str, Any], in_threads: bool) -> Any:
        import trio  # here: a worker of plain functions never needs it

        context = self._context_of(command.name)
        if in_threads and not command.is_async:
            call = partial(invoke, command, kwargs, context, lambda _: None)
            return await trio.to_thread.run_sync(call, abandon_on_cancel=True)

        async def emit(_: Any) -> None:
            await trio.lowlevel.checkpoint()

        return await ainvoke(command, kwargs, context, emit)

    def _judge(self, command: Command, result: Any) -> None:
        """Raise what a batch has for its only caller, where that is an error."""
        found = cast("Sequence[Any]", result) if command.batch and isinstance(result, list | tuple) else ()
        for each in found:
            if isinstance(each, Exception):
                raise each


def _failure(command: Command, error: BaseException) -> WarmUpError:
    return WarmUpError(f"warm-up with {command.name!r} failed: {describe_exception(error)[0]}")
