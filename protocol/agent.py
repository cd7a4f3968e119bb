"""An agent's half of the conversation, without I/O.

    AGENT → WELCOME;  SPAWNED, DIED, DEGRADED as they happen;  VOUCH and REPORT every interval → HEARTBEAT;  BYE
    FENCE → DIED;  RESIZE;  RECYCLE → RETIRE, once another one is ready → DISMISS → DIED

STRANGER means that the broker has lost this agent (it restarted, or the connection broke): AGENT again with the size of
now, then all that a new broker must know: a SPAWNED for each worker that lives, each DIED that was not told, RETIRE for
those that are to go, and a REPORT of everybody. A broker that is away is told afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from maitred.protocol import frames, messages
from maitred.protocol.errors import MaitredError, from_wire
from maitred.protocol.showing import Show, show_nothing

__all__ = ["AgentConnection", "Order"]

MAX_UNTOLD_DEATHS = 1024
"""Death certificates kept for a broker that is away; beyond it the oldest is dropped."""

HELLO_INTERVAL_S = 1.0
"""Until WELCOME, AGENT is said again after so long: the first may have been lost with its connection."""

Order = messages.Fence | messages.Resize | messages.Recycle | messages.Dismiss
"""What a broker asks of an agent."""


class AgentConnection:
    """The state of one agent's connection. What is to be sent collects in `outgoing`; time is an argument, in seconds.

    Args:
        agent: what it says of itself.
        show: the secret for each introduction, where there is no key.
    """

    def __init__(self, agent: messages.Agent, show: Show = show_nothing) -> None:
        self.outgoing: list[frames.Frames] = []
        self.welcome: messages.Welcome | None = None
        self._agent = agent
        self._show = show
        self._known = False
        self._workers: dict[bytes, int] = {}
        self._retiring: dict[bytes, messages.Retire] = {}
        self._reported: dict[bytes, messages.WorkerState] = {}
        self._untold: list[messages.Died] = []
        self._degraded = ""
        self._speak_at = 0.0

    def start(self, now: float) -> None:
        """Introduce this agent."""
        self._known = False
        self._speak_at = now + HELLO_INTERVAL_S
        secret = self._show()
        if secret is not None:
            self._say(msgspec.structs.replace(self._agent, secret=secret))

    def refused(self, now: float, pause_s: float) -> None:
        """The broker does not let this agent in, or not any more: introduce it again after a pause."""
        self._known = False
        self.outgoing.clear()
        self._speak_at = now + pause_s

    @property
    def known(self) -> bool:
        """Whether the broker has let this agent in, and has not lost it since."""
        return self._known

    # --- what happens here ---

    def resized(self, size: int) -> None:
        """So many workers are kept from now on: what a broker that has lost this agent is told."""
        self._agent = msgspec.structs.replace(self._agent, size=size)

    def spawned(self, worker: bytes, pid: int) -> None:
        """A worker's process was started; of a spare one (REPORT says that it is) again when it is none any more."""
        self._workers[worker] = pid
        if self._known:
            self._say(messages.Spawned(worker, pid))

    def retire(self, worker: bytes, cause: str, note: str = "") -> None:
        """A worker is to go, as soon as it holds nothing; DISMISS answers."""
        self._retiring[worker] = messages.Retire(worker, cause, note[:4096])
        if self._known:
            self._say(self._retiring[worker])

    def died(self, death: messages.Died) -> None:
        """A worker is dead. Who was never `spawned`, as there was no process, goes as he came."""
        self._retiring.pop(death.worker, None)
        self._reported.pop(death.worker, None)
        if self._workers.pop(death.worker, None) is not None:
            self.died_again(death)

    def died_again(self, death: messages.Died) -> None:
        """A broker that asks for a worker that it believes alive is told of its death."""
        if self._known:
            self._say(death)
        else:
            self._untold = [*self._untold, death][-MAX_UNTOLD_DEATHS:]

    def degraded(self, reason: str) -> None:
        """Workers cannot be started, and why; an empty reason: they can again."""
        self._degraded = reason[:4096]
        if self._known:
            self._say(messages.Degraded(self._degraded))

    def report(self, states: Iterable[messages.WorkerState]) -> None:
        """What is seen of the workers: what has changed since the last time is said, to a broker that listens."""
        if not self._known:
            return
        changed = [state for state in states if self._reported.get(state.worker) != state]
        self._reported.update({state.worker: state for state in changed})
        if changed:
            self._say(messages.Report(changed))

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

    def receive(self, message_frames: Sequence[Any], now: float) -> Order | None:
        """Take in one message; returns it where it asks for something to be done.

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
            case messages.Fence() | messages.Resize() | messages.Recycle() | messages.Dismiss():
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
        self._reported.clear()
        for worker, pid in self._workers.items():
            self._say(messages.Spawned(worker, pid))
        untold, self._untold = self._untold, []
        for death in untold:
            self._say(death)
        for retire in self._retiring.values():
            self._say(retire)
        if self._degraded:
            self._say(messages.Degraded(self._degraded))

    def _say(self, message: messages.Message) -> None:
        self.outgoing.append(frames.encode(message))
