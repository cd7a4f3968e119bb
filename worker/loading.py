"""Finds an application's service: `package.module:attribute`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable

from maitred.worker.service import Service

__all__ = ["AdapterError", "extend_path", "load_service"]


class AdapterError(Exception):
    """The adapter is no service; the text says what was found, and what is accepted."""


def extend_path(directories: Iterable[str]) -> None:
    """Have these directories searched before all others, in this order."""
    for directory in reversed(list(directories)):
        if directory in sys.path:
            sys.path.remove(directory)
        sys.path.insert(0, directory)


def load_service(adapter: str) -> Service:
    """Import an adapter.

    Raises:
        AdapterError: malformed, not there, or no `Service`.
        Exception: whatever the module raised while it was imported.
    """
    module_name, colon, attribute = adapter.partition(":")
    if not (module_name and colon and attribute):
        raise AdapterError(f"adapter {adapter!r}: expected module:attribute, as in my_app.service:service")
    module = importlib.import_module(module_name)
    found: object = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            services = [key for key, value in vars(module).items() if isinstance(value, Service)]
            hint = f"; it has {', '.join(services)}" if services else ""
            raise AdapterError(f"adapter {adapter!r}: {module_name} has no {attribute!r}{hint}")
        found = getattr(found, name)
    if not isinstance(found, Service):
        raise AdapterError(f"adapter {adapter!r}: expected a maitred.worker.Service, found {type(found).__name__}")
    return found
