"""Where another process finds a service that this one has."""

from __future__ import annotations

import sys
from types import ModuleType

from maitred.worker import Service

__all__ = ["locate"]


def locate(service: Service) -> str:
    """The adapter's name of a service: the file and the attribute that hold it.

    Raises:
        ValueError: it is in no module's top level, so no other process can find it.
    """
    modules = [module for name, module in list(sys.modules.items()) if name != "__main__"]
    for module in (*modules, sys.modules["__main__"]):  # a script is imported only where it has the service itself
        if isinstance(module, ModuleType) and getattr(module, "__file__", None):  # pyright: ignore[reportUnnecessaryIsInstance]
            for name, value in list(vars(module).items()):
                if value is service:
                    return f"{module.__file__}:{name}"
    raise ValueError("the service must stand at the top level of a module: its workers are other processes")
