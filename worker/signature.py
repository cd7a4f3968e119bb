"""A function's signature as data: which arguments a caller may send, of which types, and where the context goes.

Read once, when the command is registered; whatever cannot be served is refused there, naming function and parameter.
"""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from maitred.worker.context import Context

__all__ = ["REQUIRED", "Parameter", "Signature", "layers", "per_item", "read_signature"]

REQUIRED: Any = inspect.Parameter.empty
"""The default of a parameter that has none."""

MAX_DEFAULT_CHARS = 80
"""How much of a default is shown in a signature: one line of a terminal."""


class Parameter(msgspec.Struct, frozen=True):
    """One argument: its resolved annotation (`Any` where it has none) and its default (`REQUIRED` where none)."""

    name: str
    annotation: Any = Any
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        """Whether the caller must send it."""
        return self.default is REQUIRED

    @property
    def type(self) -> str:
        """The annotation as the author would write it; "Any" where there is none."""
        return re.sub(r"\b(typing|msgspec|__main__)\.", "", inspect.formatannotation(self.annotation))

    def __str__(self) -> str:
        text = self.name if self.annotation is Any else f"{self.name}: {self.type}"
        return text if self.required else f"{text} = {_short(self.default)}"

    def describe(self) -> dict[str, Any]:
        """A small plain dict: name, type, required, and the default as text where there is one."""
        row: dict[str, Any] = {"name": self.name, "type": self.type, "required": self.required}
        if not self.required:
            row["default"] = _short(self.default)
        return row


class Signature(msgspec.Struct, frozen=True):
    """What a function takes.

    Attributes:
        parameters: the arguments, in the order written.
        extras: annotation of `**kwargs` (`Any` where it has none); `REQUIRED`, which is no type, where there is none.
        context: name of the parameter that receives the `Context`; None where none does.
    """

    parameters: tuple[Parameter, ...] = ()
    extras: Any = REQUIRED
    context: str | None = None

    @property
    def open(self) -> bool:
        """Whether arguments of any name are taken."""
        return self.extras is not REQUIRED

    def __str__(self) -> str:
        shown = [str(parameter) for parameter in self.parameters]
        return f"({', '.join([*shown, '**'] if self.open else shown)})"


def read_signature(function: Callable[..., Any], label: str) -> Signature:
    """Read the signature of a command's function; `label` names it in errors.

    Raises:
        TypeError: a parameter that cannot be sent by name, or an annotation that means nothing at run time.
    """
    try:
        found = inspect.signature(function)
    except ValueError as error:
        raise TypeError(f"{label}: its signature cannot be read ({error}); wrap it in a def") from None
    parameters: list[Parameter] = []
    extras: Any = REQUIRED
    context: str | None = None
    names = _names_of(function)
    for item in found.parameters.values():
        annotation = _resolve(item, names, label)
        if _takes_context(item, annotation):
            context = _only_one(context, item, label)
        elif item.kind is item.VAR_KEYWORD:
            extras = annotation
        else:
            parameters.append(_parameter(item, annotation, label))
    return Signature(tuple(parameters), extras, context)


def per_item(signature: Signature, label: str) -> Signature:
    """What one caller sends to a function that takes lists: an `x: str` for its `x: list[str]`.

    Raises:
        TypeError: something in the signature makes no sense for a batch.
    """
    if signature.context is not None:
        raise TypeError(f"{label}: a batch has many callers and no context of its own; drop {signature.context!r}")
    if signature.open or not signature.parameters:
        raise TypeError(f"{label}: a batch command takes a list for each argument, by name, and one at least")
    return Signature(tuple(_item(parameter, label) for parameter in signature.parameters))


def _item(parameter: Parameter, label: str) -> Parameter:
    if not parameter.required:
        raise TypeError(f"{label}: {parameter.name!r} has a default, and the lists of a batch are all of one length")
    annotation = parameter.annotation
    if annotation is Any or annotation is list:
        return Parameter(parameter.name)
    if typing.get_origin(annotation) is not list:
        raise TypeError(
            f"{label}: {parameter.name!r} is annotated {parameter.type}; a batch command takes a list of what each "
            f"caller sends: list[{parameter.type}]"
        )
    return Parameter(parameter.name, typing.get_args(annotation)[0])


def layers(function: Any) -> list[Any]:
    """The function and all that it wraps, outermost first: partials, `functools.wraps`, callable objects, methods."""
    found = [function]
    while True:
        inner = found[-1]
        if isinstance(inner, functools.partial):
            found.append(typing.cast(Any, inner).func)
        elif hasattr(inner, "__wrapped__"):
            found.append(inner.__wrapped__)
        elif not inspect.isroutine(inner) and not isinstance(inner, type) and callable(inner):
            found.append(inner.__call__)
        else:
            return found


def _takes_context(item: inspect.Parameter, annotation: Any) -> bool:
    # By type wherever it stands; by name only where it says nothing else, as a question-answering command may well
    # have an argument `context: str`.
    if item.kind in (item.VAR_KEYWORD, item.VAR_POSITIONAL):
        return False
    by_type = annotation is Context or Context in typing.get_args(annotation)
    return by_type or (item.name == "context" and annotation is Any)


def _only_one(found: str | None, item: inspect.Parameter, label: str) -> str:
    if found is not None:
        raise TypeError(f"{label}: {found!r} and {item.name!r} both ask for the context; one of them must go")
    if item.kind is item.POSITIONAL_ONLY:
        raise TypeError(f"{label}: {item.name!r} is positional-only, and the context is passed by name; drop the '/'")
    return item.name


def _parameter(item: inspect.Parameter, annotation: Any, label: str) -> Parameter:
    if item.kind in (item.POSITIONAL_ONLY, item.VAR_POSITIONAL):
        found, cure = ("*" + item.name, "*") if item.kind is item.VAR_POSITIONAL else (item.name, "/")
        raise TypeError(
            f"{label}: parameter {found!r} is positional, and callers send arguments by name; drop the {cure!r}"
        )
    if item.default is None:
        annotation = _optional(annotation)  # `x: int = None` means that None may be said aloud, too
    return Parameter(item.name, annotation, item.default)


def _optional(annotation: Any) -> Any:
    return annotation if annotation is Any else typing.Optional[annotation]  # noqa: UP045 - `|` fails on some objects


def _names_of(function: Any) -> dict[str, Any]:
    """What the function's annotations may refer to; `Context` also where it is imported for the type checker only."""
    inner = layers(function)[-1]
    return {"Context": Context, **getattr(inner, "__globals__", {})}


def _resolve(item: inspect.Parameter, names: dict[str, Any], label: str) -> Any:
    if item.annotation is item.empty or item.annotation is object:
        return Any

    def holder() -> None: ...

    holder.__annotations__ = {item.name: item.annotation}
    try:
        return typing.get_type_hints(holder, globalns=names, include_extras=True)[item.name]
    except Exception as error:  # evaluating an annotation runs code of the application's: anything can come out
        raise TypeError(
            f"{label}: the annotation of {item.name!r}, {item.annotation!r}, cannot be resolved ({error}); "
            "it must be importable at run time, at the top of the module"
        ) from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= MAX_DEFAULT_CHARS else text[: MAX_DEFAULT_CHARS - 1] + "…"
