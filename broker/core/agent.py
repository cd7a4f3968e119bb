"""The parent of a pool's workers on one host, and its workers that are not ready yet, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maitred.broker.core.effects import Peer
from maitred.broker.core.policy import TRUSTED

if TYPE_CHECKING:
    from maitred.broker.core.pool import Pool


class Starting:
    """A worker process that was started and has not registered yet; a spare does so when another one is gone."""

    __slots__ = ("agent", "gpu", "gpu_bytes", "gpu_use", "pid", "since", "spare", "tree_rss")

    def __init__(self, agent: Agent, pid: int, since: float) -> None:
        self.agent = agent
        self.pid = pid
        self.since = since
        self.spare = False
        self.tree_rss = 0
        self.gpu = ""
        self.gpu_bytes = 0
        self.gpu_use = 0.0


class Agent:
    """The parent of a pool's workers on one host. It keeps `size` workers, and as many as the broker asks for.

    The bounds are of the configuration; where they are equal only a person changes the size, to anything.
    """

    __slots__ = (
        "gpus", "heard_at", "host", "id", "least", "memory", "most", "peer", "pid", "pool", "principal", "since", "size",
        "surplus_since", "user", "workers",
    )  # fmt: skip

    def __init__(self, agent_id: bytes, pool: Pool, peer: Peer, host: str, pid: int, now: float) -> None:
        self.id = agent_id
        self.pool = pool
        self.peer = peer
        self.host = host
        self.pid = pid
        self.principal = TRUSTED
        self.user = ""
        self.since = now
        self.heard_at = now
        self.size = 0
        self.least = 0
        self.most = 0
        self.memory = ""
        self.gpus = ""
        self.surplus_since: float | None = None  # since when it has had more workers that stay than it is to keep
        self.workers: dict[bytes, None] = {}

    @property
    def place(self) -> tuple[str, str]:
        """Whose it is and on which host: another one of both that comes, comes in its place."""
        return self.principal.account, self.host
