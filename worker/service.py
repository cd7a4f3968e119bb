"""A service: the commands an application offers, besides what it does for its process and for sessions. Only a table.

    service = Service()

    @service.command
    def echo(message: str) -> dict: ...

Everything that can be wrong with a command is found when it is registered, with the function named.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar, overload

import msgspec

from maitred.protocol.errors import UnknownCommand
from maitred.protocol.limits import MAX_COMMANDS, MAX_NAME_CHARS
from maitred.worker import refusals
from maitred.worker.arguments import Arguments
from maitred.worker.command_options import CommandOptions, read_options
from maitred.worker.kinds import Kind, kind_of, label_of
from maitred.worker.process_hooks import ProcessHooks
from maitred.worker.session_hooks import SessionHooks
from maitred.worker.signature import Parameter, Signature, layers, per_item, read_signature

__all__ = ["Command", "Kind", "Service"]

F = TypeVar("F", bound=Callable[..., Any])


class Command(msgspec.Struct, frozen=True):
    """One command.

    Attributes:
        name: what callers say.
        function: what runs.
        kind: how it runs.
        options: what was said of it.
        doc: its docstring, "" where it has none.
        arguments: the validator made from its annotations, of one caller's arguments.
    """

    name: str
    function: Callable[..., Any]
    kind: Kind
    options: CommandOptions
    doc: str
    arguments: Arguments

    @property
    def idempotent(self) -> bool:
        """Whether it may be run again where a worker died with it."""
        return self.options.idempotent

    @property
    def batch(self) -> int:
        """So many requests are run as one call at most, which takes lists; 0: each has a call of its own."""
        return self.options.batch

    @property
    def streams(self) -> bool:
        """Whether parts come before the result."""
        return self.kind.streams

    @property
    def is_async(self) -> bool:
        """Whether it needs trio to run."""
        return self.kind in (Kind.ASYNC, Kind.ASYNC_GENERATOR)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its arguments, in the order written; the context is none of them."""
        return self.arguments.signature.parameters

    @property
    def context_parameter(self) -> str | None:
        """The parameter that receives the `Context`, None where it asks for none."""
        return self.arguments.signature.context

    def validate(self, args: Any) -> dict[str, Any]:
        """Check a caller's arguments and make keyword arguments of them.

        Raises:
            InvalidArgument: it names the argument, what was expected and what came.
        """
        return self.arguments.validate(args)

    def describe(self) -> dict[str, Any]:
        """A small plain dict for tables: name, idempotent, streams, batch, parameters, the docstring's first line."""
        return {
            "name": self.name,
            "idempotent": self.idempotent,
            "streams": self.streams,
            "batch": self.batch,
            "parameters": [parameter.describe() for parameter in self.parameters],
            "doc": self.doc.partition("\n")[0],
        }


class Service(ProcessHooks, SessionHooks):
    """The commands of one pool's workers. A module holds one, by convention named `service`."""

    def __init__(self) -> None:
        super().__init__()
        self._commands: dict[str, Command] = {}

    @property
    def commands(self) -> Mapping[str, Command]:
        """What was registered, by name; a live view that cannot be written."""
        return MappingProxyType(self._commands)

    @property
    def needs_trio(self) -> bool:
        """Whether any function is async, so that the process has to run a trio loop."""
        hooks_need_it = self.hooks.needs_trio or self._hook_needs_trio()
        return hooks_need_it or any(command.is_async for command in self._commands.values())

    @overload
    def command(self, function: F, /) -> F: ...

    @overload
    def command(
        self,
        name: str | None = None,
        /,
        *,
        idempotent: bool = False,
        batch: int | None = None,
        max_wait: str | float = 0.0,
    ) -> Callable[[F], F]: ...

    def command(self, target: Any = None, /, **options: Any) -> Any:
        """Register a function: `@service.command`, or `@service.command("name", idempotent=True)`.

        Args:
            target: the function, or the name that callers use; the function's own name where none is given.
            options: `idempotent`: running it twice does what running it once does, so that a request whose worker
                died is run again by itself. `batch`: up to so many requests are one call: the function takes a list
                for each argument and returns a list of results, in the same order (an exception among them is that
                caller's error). `max_wait`: how long a batch smaller than the last one waits for more, as "5ms" or in
                seconds.

        Raises:
            TypeError: an unknown option, a parameter that cannot be sent by name, an annotation that cannot be checked,
                a function that cannot take batches.
            ValueError: a name that is empty, too long, not printable, or taken; an option out of bounds.
        """
        read = read_options(options)
        if callable(target):
            return self._add(target, None, read)
        if target is not None and not isinstance(target, str):
            raise TypeError(f"@service.command takes a function or a name, not {target!r}")

        def register(function: Any) -> Any:
            return self._add(function, target, read)

        return register

    def find(self, name: str) -> Command:
        """The command of that name.

        Raises:
            UnknownCommand: there is none; it lists those there are and the nearest one.
        """
        found = self._commands.get(name)
        if found is not None:
            return found
        near = refusals.nearest(name, self._commands)
        names = sorted(self._commands)
        meant = f"did you mean {near!r}? " if near else ""
        raise UnknownCommand(
            f"no command {name!r} here; {meant}it has: {', '.join(names) or 'none'}",
            command=name,
            commands=names,
            nearest=near,
        )

    def _add(self, function: Any, name: str | None, options: CommandOptions) -> Any:
        label = label_of(function)
        name = _name_of(function, label) if name is None else name
        _check_name(name, label)
        if name in self._commands:
            raise ValueError(
                f"command {name!r} is registered twice: {label_of(self._commands[name].function)}, {label}"
            )
        if len(self._commands) >= MAX_COMMANDS:
            raise ValueError(f"a service has at most {MAX_COMMANDS} commands; {label} is one too many")
        kind = kind_of(function)
        signature = read_signature(function, label)
        arguments = Arguments(name, _of_items(signature, kind, label) if options.batch else signature, label)
        doc = inspect.getdoc(layers(function)[-1]) or ""
        self._commands[name] = Command(name, function, kind, options, doc, arguments)
        return function


def _of_items(signature: Signature, kind: Kind, label: str) -> Signature:
    if kind.streams:
        raise TypeError(f"{label}: a batch has many callers and cannot stream; return a list of results")
    return per_item(signature, label)


def _name_of(function: Any, label: str) -> str:
    if not callable(function):
        raise TypeError(f"@service.command must stand above a function, not {function!r}")
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise TypeError(f'{label} has no name of its own; give it one: service.command("name")(...)')
    return name


def _check_name(name: str, label: str) -> None:
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise ValueError(f"{label}: a command's name has 1 to {MAX_NAME_CHARS} characters, not {len(name)}")
    if not name.isprintable() or " " in name:
        raise ValueError(f"{label}: a command's name is printable and has no spaces, {name!r} is not so")
