"""A running house for tests: a broker process, an agent with its workers for each pool, and a client. Nothing is faked.

with running(service) as house:                     # one pool, "general", of one worker
house.client.execute("general", "echo", {"message": "hello"})

with running(general=Pool(service, size=2), neural=other) as house: ...
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maitred.broker.core.settings import PoolSettings
from maitred.broker.settings import BrokerSettings
from maitred.client import Client
from maitred.launcher.finding import locate
from maitred.launcher.processes import ChildProcess, start_agent, start_broker
from maitred.launcher.readiness import require_ready
from maitred.worker import Service
from maitred.worker.agent_settings import AgentSettings

__all__ = ["House", "Pool", "running"]

DEFAULT_POOL = "general"

READY_TIMEOUT_S = 30.0
"""Within this all workers have to be there."""

DEFAULTS: dict[str, Any] = {"log_level": "warning"}
"""Of the broker's settings, where a test says nothing."""

END_TIMEOUT_S = 10.0
"""Within this each process has to end when the test is over; then it is killed."""


@dataclass(frozen=True)
class Pool:
    """One pool of a test.

    Attributes:
        service: a `Service` at the top level of a module, or an adapter's name, "module:attribute".
        size: workers.
        settings: more of the agent's settings (`maitred.worker.agent_settings`), by name.
        timeout_s, max_queue, max_attempts: as the configuration's.
        concurrency: requests that each worker runs at a time.
        limits: more of the broker's settings of a pool (`maitred.broker.core.settings`), by name.
    """

    service: Service | str
    size: int = 1
    timeout_s: float = 30.0
    max_queue: int = 1000
    max_attempts: int = 3
    settings: dict[str, Any] | None = None
    concurrency: int = 1
    limits: dict[str, Any] | None = None


class House:
    """What `running` gives.

    Attributes:
        client: connected, closed at the end.
        clients, workers: endpoints, for further clients and workers of this host; `clients_tcp`, `workers_tcp`: the same
            over TCP.
        majordomo: where peers of Majordomo's protocol connect, if there is such a port; "" where not.
        http: host:port of its HTTP, where a test asks for it (`broker={"http": "127.0.0.1:0"}`); "" where not.
        secret: that of its run directory, which is the operator's token of its HTTP.
        broker: the broker's process.
        agents: each pool's agent, by the pool's name.
    """

    def __init__(self, directory: Path, pools: dict[str, Pool], broker: dict[str, Any]) -> None:
        self.broker, bound = start_broker(
            BrokerSettings(
                clients="tcp://127.0.0.1:0",
                workers="tcp://127.0.0.1:0",
                pools=[
                    PoolSettings(name, p.timeout_s, p.max_queue, p.max_attempts, **(p.limits or {}))
                    for name, p in pools.items()
                ],
                routing=[("*", next(iter(pools)))],
                run_dir=str(directory),
                parent=os.getpid(),
                **(DEFAULTS | broker),
            )
        )
        self.clients, self.workers = bound.clients[0], bound.workers[0]
        self.clients_tcp, self.workers_tcp = bound.clients[-1], bound.workers[-1]
        self.majordomo = bound.majordomo
        self.http, self.secret = bound.http, bound.secret
        self.client = Client(self.clients)
        self.agents = {name: start_agent(self._agent(name, pool)) for name, pool in pools.items() if pool.size}
        self._wanted = {name: pool.size for name, pool in pools.items()}

    def _agent(self, name: str, pool: Pool) -> AgentSettings:
        adapter = pool.service if isinstance(pool.service, str) else locate(pool.service)
        return AgentSettings(
            pool=name,
            adapter=adapter,
            endpoint=self.workers,
            size=pool.size,
            path=(os.getcwd(), *sys.path),
            clients_endpoint=self.clients,
            parent=os.getpid(),
            **dict[str, Any](slots=pool.concurrency) | (pool.settings or {}),
        )

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until each pool has the workers it is to have.

        Raises:
            StartError: it has not, with what the pools say.
        """
        require_ready(self.client, self._wanted, timeout_s)

    def close(self) -> None:
        """End everything; what still runs is not waited for."""
        self.client.close()
        processes: list[ChildProcess] = [*self.agents.values(), self.broker]
        for process in processes:
            process.force()
        for process in processes:
            with contextlib.suppress(Exception):
                process.wait(END_TIMEOUT_S)
        for process in processes:
            if process.exit_code is None:
                process.kill()
                process.wait()


@contextlib.contextmanager
def running(
    service: Service | str | Pool | None = None,
    /,
    *,
    size: int = 1,
    timeout_s: float = 30.0,
    broker: dict[str, Any] | None = None,
    ready_timeout_s: float = READY_TIMEOUT_S,
    **pools: Service | str | Pool,
) -> Generator[House]:
    """Start a broker and its pools, wait until they are ready, and end them afterwards.

    Args:
        service: what the pool "general" serves.
        size: its workers.
        timeout_s: its requests' time, where they bring none.
        broker: more of the broker's settings (`maitred.broker.settings`), by name.
        ready_timeout_s: within this all workers have to be there.
        pools: further pools by name; a `Pool` where there is more to say than its service.

    Raises:
        StartError: the broker did not start, or a pool did not become ready.
        ValueError: a service is not found at the top level of a module.
    """
    wanted = {name: it if isinstance(it, Pool) else Pool(it) for name, it in pools.items()}
    if service is not None:
        first = service if isinstance(service, Pool) else Pool(service, size, timeout_s)
        wanted = {DEFAULT_POOL: first} | wanted
    with tempfile.TemporaryDirectory(prefix="maitred-") as directory:
        house = House(Path(directory), wanted, broker or {})
        try:
            house.wait_ready(ready_timeout_s)
            yield house
        finally:
            house.close()
