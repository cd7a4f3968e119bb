"""What a house is told: its broker's settings, and those of its agents."""

from __future__ import annotations

from msgspec import Struct

from maitred.broker.settings import BrokerSettings
from maitred.config import Config
from maitred.launcher.settings import of_agent, of_broker
from maitred.worker.agent_settings import AgentSettings

__all__ = ["HouseSettings", "of_house"]


class HouseSettings(Struct, frozen=True):
    """What a house is told. Where the broker listens the agents are told when it does.

    Attributes:
        broker: its broker.
        agents: one for each pool with workers here. A pool that is empty while nobody calls needs one too: to start
            workers when somebody does.
    """

    broker: BrokerSettings
    agents: list[AgentSettings]

    @property
    def wanted(self) -> dict[str, int]:
        """Pool → the workers it is to have at least."""
        return {agent.pool: agent.least for agent in self.agents}


def of_house(config: Config, log_level: str, log_format: str, *, reload: bool = False) -> HouseSettings:
    """From the configuration. `reload`: a change of an adapter's files replaces its workers."""
    return HouseSettings(
        of_broker(config, log_level, log_format, parent=None),
        [
            of_agent(config, name, "", None, parent=None, reload=reload)
            for name, pool in config.pools.items()
            if pool.adapter and pool.size.max
        ],
    )
