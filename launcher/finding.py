"""Where another process finds a service that this one has."""

from __future__ import annotations

import inspect
import sys

from maitred.worker import Service

__all__ = ["locate"]


def locate(service: Service) -> str:
    """The adapter's name of a service: the file and the attribute that hold it.

    Raises:
        ValueError: it is in no module's top level, so no other process can find it.
    """
    for module in list(sys.modules.values()):
        for name, value in vars(module).items() if inspect.ismodule(module) else ():
            if value is service and getattr(module, "__file__", None):
                return f"{module.__file__}:{name}"
    raise ValueError("the service must stand at the top level of a module: its workers are other processes")
