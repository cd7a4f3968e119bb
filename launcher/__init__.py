"""Where the processes of a house run: its broker, and one agent per pool, as children of one that watches them.

`Broker` is a house as a part of an application; `maitred up` runs one in the foreground.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maitred.launcher.embedded import Broker
    from maitred.launcher.processes import StartError

__all__ = ["Broker", "StartError"]


def __getattr__(name: str) -> Any:
    """Import it when it is asked for: a broker alone needs neither."""
    if name == "Broker":
        from maitred.launcher.embedded import Broker

        return Broker
    if name == "StartError":
        from maitred.launcher.processes import StartError

        return StartError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
