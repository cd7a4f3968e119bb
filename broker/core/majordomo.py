"""Majordomo's protocol at the core's gate: its messages become ours on the way in, ours become its on the way out.

    frames → decode → MajordomoClients | MajordomoWorkers → the verbs of ours → Send → Forward

So nothing behind it knows that protocol, but for two questions: sessions and batches are not given to its workers
(`State.majordomo`). Broken messages are counted; they end the connection of a worker, and are answered to a client.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from maitred.broker.core.effects import Effect, Peer, Send, Side
from maitred.broker.core.majordomo_bodies import Opaque
from maitred.broker.core.majordomo_clients import MajordomoClients
from maitred.broker.core.majordomo_workers import MajordomoWorkers
from maitred.broker.core.state import State
from maitred.protocol import majordomo as wire
from maitred.protocol.errors import Code, ProtocolError


class Majordomo:
    """The gate. It is open where `State.majordomo` names somebody, and costs next to nothing where it does not."""

    def __init__(self, state: State, clients: MajordomoClients, workers: MajordomoWorkers) -> None:
        self._state = state
        self._clients = clients
        self._workers = workers

    def takes(self, peer: Peer, frames: Sequence[Any]) -> bool:
        """Whether a message is for here: by its beginning, by who says it, or by where."""
        return wire.is_majordomo(frames) or peer.side is Side.MAJORDOMO or peer in self._state.majordomo

    def receive(self, peer: Peer, frames: Sequence[Any], now: float, user: str) -> None:
        """Act on a message. Nothing is raised, whatever it is."""
        try:
            message = wire.decode(frames)
        except ProtocolError as error:
            self._broken(peer, frames, error.message, now)
            return
        if isinstance(message, wire.Call):
            self._from_client(peer, message, now, user)
        else:
            self._from_worker(peer, message, now, user)

    def _from_client(self, peer: Peer, message: wire.Call, now: float, user: str) -> None:
        if (hand := self._workers.hands.get(peer)) is not None:
            self._workers.part_with(peer, hand.form, "a client's command from a worker", now)
        elif peer.side is Side.WORKERS:
            text = "a request of Majordomo's protocol belongs to the clients' endpoint, or to that of broker.majordomo"
            self._state.note("protocol.error", side=peer.side.name.lower(), reason=text)
            self._clients.refuse(peer, message.form, message.service, Code.PROTOCOL_ERROR, text)
        else:
            self._clients.call(peer, message, now, user)

    def _from_worker(
        self, peer: Peer, message: wire.Ready | wire.Result | wire.Heartbeat | wire.Disconnect, now: float, user: str
    ) -> None:
        if peer.side is Side.CLIENTS or peer in self._clients.callers:
            self._workers.part_with(peer, message.form, "a worker's command from where clients are", now)
            return
        match message:
            case wire.Ready():
                self._workers.ready(peer, message, now, user)
            case wire.Result():
                self._workers.result(peer, message, now)
            case wire.Heartbeat():
                self._workers.heartbeat(peer, message, now)
            case wire.Disconnect():
                self._workers.disconnect(peer, now)

    def _broken(self, peer: Peer, frames: Sequence[Any], text: str, now: float) -> None:
        """RFC 7 and RFC 18: drop what is invalid, and treat its sender so. A client is told, as it waits for an answer."""
        self._state.note("protocol.error", side=peer.side.name.lower(), reason=text)
        hand = self._workers.hands.get(peer)
        spoken = wire.speaker(frames)
        if hand is not None or (spoken is not None and spoken[0]):
            form = hand.form if hand is not None else spoken[1] if spoken is not None else wire.Form()
            self._workers.part_with(peer, form, "a broken message", now)
        elif spoken is not None:
            self._clients.refuse(peer, spoken[1], "", Code.PROTOCOL_ERROR, text)
        elif peer not in self._state.majordomo:
            self._state.refuse(
                peer, -1, Code.PROTOCOL_ERROR, f"this endpoint speaks Majordomo's protocol: {text}"[:1024]
            )

    # --- out ---

    def translate(self, effects: list[Effect], now: float) -> list[Effect]:
        """What is to be said to those who speak it, in their words; it may make the core say more (`State.out`)."""
        translated: list[Effect] = []
        for effect in effects:
            if not isinstance(effect, Send):
                translated.append(effect)
            elif (caller := self._clients.callers.get(effect.peer)) is not None:
                self._clients.answer(caller, effect)
            elif (hand := self._workers.hands.get(effect.peer)) is not None:
                self._workers.tell(hand, effect, now)
            elif isinstance(effect.body, Opaque):
                translated += self._clients.hand_over(effect, now)
            else:
                translated.append(effect)
        return translated

    # --- time, and the end of connections ---

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        return self._workers.beat_at if self._workers.hands else math.inf

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._workers.hands and now >= self._workers.beat_at:
            self._workers.beat(now)

    def sweep(self, now: float) -> None:
        """Look for those who are silent too long. To be called before ours are looked at."""
        self._workers.sweep(now)
        self._clients.sweep(now)

    def forgive(self, now: float) -> None:
        """The broker itself was not running: whoever was silent meanwhile is not to blame."""
        self._workers.forgive(now)

    def hung_up(self, peer: Peer, now: float) -> None:
        """A connection has ended. A client of ours that it was has been dealt with."""
        self._workers.hung_up(peer, now)
        self._clients.forget(peer)

    def check(self) -> None:
        """For tests: the books agree with ours."""
        assert self._state.majordomo.keys() == self._clients.callers.keys() | self._workers.hands.keys()
        self._clients.check()
        self._workers.check()
