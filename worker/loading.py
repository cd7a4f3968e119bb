"""Finds an application's service: `package.module:attribute`, or `path/to/file.py:attribute`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from maitred.worker.service import Service

__all__ = ["AdapterError", "being_imported", "extend_path", "load_service"]

_under_way: list[str] = []


class AdapterError(Exception):
    """The adapter is no service; the text says what was found, and what is accepted."""


def extend_path(directories: Iterable[str]) -> None:
    """Have these directories searched before all others, in this order."""
    for directory in reversed(list(directories)):
        if directory in sys.path:
            sys.path.remove(directory)
        sys.path.insert(0, directory)


def being_imported() -> str:
    """The adapter whose module runs just now, as it is imported; "" where none is."""
    return _under_way[-1] if _under_way else ""


def load_service(adapter: str) -> Service:
    """Import an adapter.

    Raises:
        AdapterError: malformed, not there, or no `Service`.
        Exception: whatever the module raised while it was imported.
    """
    module_name, colon, attribute = adapter.rpartition(":")
    if not (module_name and colon and attribute):
        raise AdapterError(f"adapter {adapter!r}: expected module:attribute, as in my_app.service:service")
    _under_way.append(adapter)
    try:
        module = _import_file(module_name) if module_name.endswith(".py") else importlib.import_module(module_name)
    finally:
        _under_way.remove(adapter)
    found: object = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            services = [key for key, value in vars(module).items() if isinstance(value, Service)]
            hint = f"; it has {', '.join(services)}" if services else ""
            raise AdapterError(f"adapter {adapter!r}: {module_name} has no {attribute!r}{hint}")
        found = getattr(found, name)
    if not isinstance(found, Service):
        raise AdapterError(f"adapter {adapter!r}: expected a maitred.worker.Service, found {type(found).__name__}")
    missing = found.hooks.missing()
    if missing is not None:
        raise AdapterError(f"adapter {adapter!r}: {missing}")
    return found


def _import_file(file: str) -> ModuleType:
    """Import a file that is in no package on the path: a script, or a test."""
    path = Path(file).resolve()
    name = f"maitred_adapter_{path.stem}"
    if name in sys.modules and sys.modules[name].__file__ == str(path):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise AdapterError(f"adapter file {file}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
