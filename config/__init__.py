"""The configuration: one TOML file, overridden by the environment and by `--set`, checked as a whole before anything runs.

    config = load(Path("maitred.toml"), overrides=["pools.general.size=4"])     # or ConfigError, with every problem
    config.pools["general"].timeout_s, config.route("train_model")
    check_adapters(config)                                                      # [] where all of them import
    show(config), as_toml(config), json_schema()                              # maitred config show, schema

Where a running broker is found on this host is in `maitred.config.rundir`. Nothing here imports the rest of maitred.
"""

from maitred.config.check import Imported, check_adapters, import_adapters, import_path
from maitred.config.hardware import Hardware, cpus, gpus
from maitred.config.json_schema import json_schema
from maitred.config.kinds import Size
from maitred.config.load import built_in_text, load
from maitred.config.problems import ConfigError, Problem, ValueRejected
from maitred.config.schema import BrokerConfig, ClientConfig, Config, PoolConfig, route
from maitred.config.show import as_toml, show
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
