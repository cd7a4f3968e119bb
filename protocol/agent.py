"""An agent's half of the conversation, without I/O.

    AGENT → WELCOME;  SPAWNED, DIED, DEGRADED as they happen;  VOUCH every interval → HEARTBEAT;  FENCE → DIED;  BYE

STRANGER means that the broker has lost this agent (it restarted, or the connection broke): AGENT again, then a SPAWNED
for each worker that lives and each DIED that was not told. A broker that is away is told afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from maitred.protocol import frames, messages
from maitred.protocol.errors import MaitredError, from_wire

MAX_UNTOLD_DEATHS = 1024
"""Death certificates kept for a broker that is away; beyond it the oldest is dropped."""

HELLO_INTERVAL_S = 1.0
"""Until WELCOME, AGENT is said again after so long: the first may have been lost with its connection."""


class AgentConnection:
    """The state of one agent's connection. What is to be sent collects in `outgoing`; time is an argument, in seconds."""

    def __init__(self, agent: messages.Agent) -> None:
        self.outgoing: list[frames.Frames] = []
        self.welcome: messages.Welcome | None = None
        self._agent = agent
        self._known = False
        self._workers: dict[bytes, int] = {}
        self._untold: list[messages.Died] = []
        self._degraded = ""
        self._speak_at = 0.0

    def start(self, now: float) -> None:
        """Introduce this agent."""
        self._known = False
        self._say(self._agent)
        self._speak_at = now + HELLO_INTERVAL_S

    # --- what happens here ---

    def spawned(self, worker: bytes, pid: int) -> None:
        """A worker's process was started."""
        self._workers[worker] = pid
        if self._known:
            self._say(messages.Spawned(worker, pid))

    def died(self, death: messages.Died) -> None:
        """A worker is dead."""
        self._workers.pop(death.worker, None)
        if self._known:
            self._say(death)
        else:
            self._untold = [*self._untold, death][-MAX_UNTOLD_DEATHS:]

    def degraded(self, reason: str) -> None:
        """Workers cannot be started, and why; an empty reason: they can again."""
        self._degraded = reason[:4096]
        if self._known:
            self._say(messages.Degraded(self._degraded))

    def bye(self) -> None:
        """Leave."""
        self._say(messages.Bye())

    # --- time ---

    def tick(self, now: float, alive: Iterable[bytes]) -> None:
        """Do what is due. `alive` are the workers to be vouched for, should it be time for that."""
        if now < self._speak_at:
            return
        if self.welcome is None or not self._known:
            self.start(now)
        else:
            self._say(messages.Vouch(list(alive)))
            self._speak_at = now + self.welcome.interval

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        return self._speak_at

    # --- what the broker says ---

    def receive(self, message_frames: Sequence[Any], now: float) -> messages.Fence | None:
        """Take in one message; returns it where it asks for a worker to be killed.

        Raises:
            ProtocolError: what came is not of this protocol.
            MaitredError: the broker refuses this agent; the text says why.
        """
        message, _ = frames.to_worker.decode(message_frames)
        match message:
            case messages.Welcome():
                self.welcome = message
                self._introduce(now)
            case messages.Stranger():
                if self._known:  # several may be under way, one answer is enough
                    self.start(now)
            case messages.Fence():
                return message
            case messages.Error():
                error: MaitredError = from_wire(message.code, message.message, {})
                raise error
            case _:
                pass
        return None

    def _introduce(self, now: float) -> None:
        self._known = True
        self._speak_at = now
        for worker, pid in self._workers.items():
            self._say(messages.Spawned(worker, pid))
        untold, self._untold = self._untold, []
        for death in untold:
            self._say(death)
        if self._degraded:
            self._say(messages.Degraded(self._degraded))

    def _say(self, message: messages.Message) -> None:
        self.outgoing.append(frames.encode(message))
