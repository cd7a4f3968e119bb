"""What workers' own code tells: events `app.NAME`, no more of one worker than anybody would read."""

from __future__ import annotations

from maitred.broker.core.model import Worker
from maitred.broker.core.state import State
from maitred.protocol import messages
from maitred.protocol.own_events import EVENTS_AT_ONCE, EVENTS_PER_S, OWN, RESERVED, Allowance

LENIENCY = 2.0
"""A worker keeps to the bounds by itself; what was held up on its way may come together."""


def tell(state: State, worker: Worker, message: messages.WorkerEvent, now: float) -> None:
    """Tell of it, or leave it out and count it. Fields by a name that is ours are dropped: ours say who it was."""
    allowance = worker.told
    if allowance is None:
        allowance = worker.told = Allowance(LENIENCY * EVENTS_PER_S, LENIENCY * EVENTS_AT_ONCE)
    if not allowance.take(now):
        return
    lost, allowance.lost = allowance.lost + message.lost, 0
    ours = {
        "pool": worker.pool.name,
        "worker": worker.id.hex(),
        "command": message.command or None,
        "request": message.request or None,
    }
    own = {name: value for name, value in message.fields.items() if name not in RESERVED}
    state.note_own(OWN + message.name, ours | own | ({"lost": lost} if lost else {}))
