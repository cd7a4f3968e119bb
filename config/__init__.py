"""The configuration: one TOML file, overridden by the environment and by `--set`, checked as a whole before anything runs.

    config = load(Path("maitred.toml"), overrides=["pools.general.size=4"])     # or ConfigError, with every problem
    config.pools["general"].timeout_s, config.route("train_model")
    check_adapters(config)                                                      # [] where all of them import
    show(config), as_toml(config), json_schema()                              # maitred config show, schema

Where a running broker is found on this host is in `maitred.config.rundir`. Nothing here imports the rest of maitred.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maitred.config.check import Imported, check_adapters, import_adapters, import_path
    from maitred.config.editor_schema import json_schema
    from maitred.config.hardware import Hardware, cpus, gpus
    from maitred.config.kinds import Size
    from maitred.config.loading import built_in_text, load
    from maitred.config.problems import ConfigError, Problem, ValueRejected
    from maitred.config.schema import BrokerConfig, ClientConfig, Config, PoolConfig, route
    from maitred.config.showing import as_toml, show
    from maitred.config.units import format_duration, format_size, parse_duration, parse_size

__all__ = [
    "BrokerConfig",
    "ClientConfig",
    "Config",
    "ConfigError",
    "Hardware",
    "Imported",
    "PoolConfig",
    "Problem",
    "Size",
    "ValueRejected",
    "as_toml",
    "built_in_text",
    "check_adapters",
    "cpus",
    "format_duration",
    "format_size",
    "gpus",
    "import_adapters",
    "import_path",
    "json_schema",
    "load",
    "parse_duration",
    "parse_size",
    "route",
    "show",
]

_WHERE = {
    "check": ("Imported", "check_adapters", "import_adapters", "import_path"),
    "editor_schema": ("json_schema",),
    "hardware": ("Hardware", "cpus", "gpus"),
    "kinds": ("Size",),
    "loading": ("built_in_text", "load"),
    "problems": ("ConfigError", "Problem", "ValueRejected"),
    "schema": ("BrokerConfig", "ClientConfig", "Config", "PoolConfig", "route"),
    "showing": ("as_toml", "show"),
    "units": ("format_duration", "format_size", "parse_duration", "parse_size"),
}
"""No module has the name of something in it: it would take its place here."""

_MODULES = {name: module for module, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import it when it is asked for: callers and workers look for keys here, and would import a whole schema."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
