"""Libraries of the `[ml]` extra, imported when a command first needs them: the adapters start without them."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

__all__ = ["MissingExtra", "library", "require"]


class MissingExtra(ImportError):
    """A command was called whose libraries are not installed; the message says which extra brings them."""


def require(command: str, libraries: str, modules: Iterable[str]) -> None:
    """Import all that a command needs, so that nothing can be missing half-way.

    Args:
        command: the command, for the message.
        libraries: what it needs, in words: "Optuna and scikit-learn".
        modules: the modules to import.

    Raises:
        MissingExtra: one is not installed. One that is installed and broken raises what it raises.
    """
    for module in modules:
        try:
            library(module)
        except ModuleNotFoundError as error:
            message = f'{command} needs {libraries}: pip install "maitred[ml]" ({error})'
            raise MissingExtra(message, name=error.name) from error


def library(module: str) -> Any:
    """Import a module and return it; untyped, as scikit-learn and Optuna are at the places where it is used."""
    return importlib.import_module(module)
