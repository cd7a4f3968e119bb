"""What is tuned: an adapter, the call that is its load, and the settings in force, which everything is held against."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

from maitred.benchmarks.subjects.maitred_ import ADAPTER
from maitred.benchmarks.subjects.protocol import Transport
from maitred.benchmarks.tuning.knobs import Knob
from maitred.broker.settings import BrokerSettings
from maitred.config import Config
from maitred.launcher import settings
from maitred.worker.agent_settings import AgentSettings

__all__ = ["InForce", "Target", "TargetError", "default_target", "target_of_adapter", "target_of_pool"]

DEFAULT_WORKERS = 2

DEFAULT_PAYLOAD_BYTES = 128

OF_THE_BROKER = ("heartbeat_interval_s", "heartbeat_liveness", "max_message_bytes", "busy_poll_s", "receive_batch",
                 "high_water_mark", "io_threads", "gc_threshold")  # fmt: skip
OF_THE_AGENT = ("prefetch", "slots", "gc_threshold", "out_of_band_bytes", "start_method", "threads_per_worker",
                "startup_timeout_s")  # fmt: skip
"""What is taken over from a configuration. The rest (addresses, time-outs, queues) has no part in how long a call takes."""


class TargetError(ValueError):
    """What was said does not name a load; the text says what is missing."""


class InForce(Struct, frozen=True):
    """Settings of one house.

    Attributes:
        transport: of the caller.
        broker, pool: by field, of `BrokerSettings` and `AgentSettings`.
    """

    transport: Transport = "tcp"
    broker: dict[str, Any] = field(default_factory=dict[str, Any])
    pool: dict[str, Any] = field(default_factory=dict[str, Any])

    def value(self, knob: Knob) -> Any:
        """What is in force for a knob."""
        if knob.place == "caller":
            return getattr(self, knob.field)
        own, defaults = (self.broker, BrokerSettings) if knob.place == "broker" else (self.pool, AgentSettings)
        known = {it.name: it.default for it in msgspec.structs.fields(defaults)}
        return own.get(knob.field, known[knob.field])

    def changed(self, knob: Knob, value: Any) -> InForce:
        """The same with another value for a knob."""
        if knob.place == "caller":
            return msgspec.structs.replace(self, **{knob.field: value})
        changed = getattr(self, knob.place) | {knob.field: value}
        return msgspec.structs.replace(self, **{knob.place: changed})


class Target(Struct, frozen=True):
    """What is tuned.

    Attributes:
        pool: its name in the configuration.
        adapter, command, arguments: what is called.
        workers: of the pool.
        in_force: the settings as they are.
    """

    pool: str
    adapter: str
    command: str
    arguments: dict[str, Any]
    workers: int
    in_force: InForce


def default_target(transport: Transport, workers: int | None, arguments: dict[str, Any] | None) -> Target:
    """The suite's own echo, of a small payload."""
    load = {"payload": bytes(DEFAULT_PAYLOAD_BYTES)} if arguments is None else arguments
    return Target("general", ADAPTER, "echo", load, workers or DEFAULT_WORKERS, InForce(transport))


def target_of_adapter(
    adapter: str, command: str | None, arguments: dict[str, Any] | None, transport: Transport, workers: int | None
) -> Target:
    """An adapter by its name, with the settings that a configuration has by default.

    Raises:
        TargetError: no command was named.
    """
    in_force = InForce(transport)
    return Target("general", adapter, _named(command), arguments or {}, workers or DEFAULT_WORKERS, in_force)


def target_of_pool(
    config: Config,
    name: str,
    command: str | None,
    arguments: dict[str, Any] | None,
    transport: Transport,
    workers: int | None,
) -> Target:
    """A pool of a configuration, with its settings.

    Raises:
        TargetError: there is no such pool, or it has no adapter, or no command was named.
    """
    pool = config.pools.get(name)
    if pool is None or pool.adapter is None:
        there_are = ", ".join(name for name, pool in config.pools.items() if pool.adapter is not None)
        raise TargetError(f"no pool {name!r} with an adapter in the configuration; there are: {there_are or 'none'}")
    broker = settings.of_broker(config, "error", "text", parent=None)
    agent = settings.of_agent(config, name, "", None, parent=None)
    in_force = InForce(
        transport,
        {field: getattr(broker, field) for field in OF_THE_BROKER},
        {field: getattr(agent, field) for field in OF_THE_AGENT},
    )
    return Target(name, pool.adapter, _named(command), arguments or {}, workers or agent.size, in_force)


def _named(command: str | None) -> str:
    if command is None:
        raise TargetError("--command is missing: the load is a command of the adapter, called some ten thousand times")
    return command
