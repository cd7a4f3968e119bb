"""Workers that speak Majordomo's protocol, as workers of ours: READY registers one, for one request at a time.

    ready → DISPATCH → REQUEST … PARTIAL → PART · REPLY or FINAL → REPLY …          heartbeats both ways meanwhile

They are told nothing but that: no cancel, no session, no batch. What is cancelled or overdue there is abandoned, and its
answer dropped when it comes. One that waits must be heard; one that is busy may be silent until its request has outlived
the pool's time-out. Whoever breaks the protocol, or is to go, gets DISCONNECT and is forgotten (RFC 7 and RFC 18, Opening
and Closing a Connection).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maitred.broker.core.dispatch import Dispatcher
from maitred.broker.core.effects import Forward, Peer, Send
from maitred.broker.core.health import Health
from maitred.broker.core.majordomo_bodies import EMPTY_MAP, Opaque, Unfit, request_of, result_of
from maitred.broker.core.majordomo_clients import drawn
from maitred.broker.core.majordomo_hand import Given, Hand
from maitred.broker.core.majordomo_unfit import fail_unfit
from maitred.broker.core.model import Request, Worker
from maitred.broker.core.requests import Requests
from maitred.broker.core.state import State
from maitred.broker.core.workers import Workers
from maitred.protocol import limits, messages
from maitred.protocol import majordomo as wire
from maitred.protocol.errors import Code

ENVELOPE_FRAMES = 5
"""Of an answer to a client, at most: the empty frame, role and version, number, service; and one for our own header."""


class MajordomoWorkers:
    """The verbs of such a worker.

    Attributes:
        hands: by connection.
        beat_at: when they are told next that the broker lives, where there are any.
    """

    def __init__(
        self, state: State, workers: Workers, requests: Requests, dispatcher: Dispatcher, health: Health
    ) -> None:
        self._state = state
        self._workers = workers
        self._requests = requests
        self._dispatcher = dispatcher
        self._health = health
        self._orders = 0
        self.hands: dict[Peer, Hand] = {}
        self.beat_at = 0.0

    # --- coming ---

    def ready(self, peer: Peer, message: wire.Ready, now: float, user: str) -> None:
        """Register it in the pool of its service's name."""
        why = self._why_not(peer, message, user)
        if why:
            self.part_with(peer, message.form, why, now)
            return
        self._state.met += 1
        worker_id, token = drawn(self._state, self._state.met)
        if not self.hands:
            self.beat_at = now + self._state.settings.majordomo_heartbeat_s
        hand = self.hands[peer] = Hand(peer, message.form, now)
        self._state.majordomo[peer] = None
        secret = "" if user.startswith("key:") else self._state.policy.secret  # it has been judged above
        register = messages.Register(
            worker_id, token, message.service, 1, [], software=f"MDP/0.{message.form.version}", secret=secret
        )
        self._workers.register(peer, register, now, user)
        party = self._state.parties.get(peer)
        hand.worker = party if isinstance(party, Worker) else None

    def _why_not(self, peer: Peer, message: wire.Ready, user: str) -> str:
        if peer in self.hands:
            return "READY was said twice"
        if peer in self._state.parties:
            return "this connection is already another's"
        if message.service not in self._state.pools:
            return f"no pool {message.service[:64]!r}"
        policy = self._state.policy
        principal = policy.find(user)
        trusted = policy.majordomo and not user.startswith("key:")
        if principal is None or not (trusted or principal.may_serve(message.service)):
            self._state.note(
                "auth.refused", side=peer.side.name.lower(), user=user.partition(":")[0],
                reason=f"it may not serve pool {message.service!r}",
            )  # fmt: skip
            return "it may not serve that pool"
        return ""

    # --- what it says ---

    def heartbeat(self, peer: Peer, message: wire.Heartbeat, now: float) -> None:
        """It lives; one that has not said READY is told to begin anew."""
        hand = self._known(peer, message.form, "HEARTBEAT before READY", now)
        if hand is not None:
            hand.heard_at = now

    def result(self, peer: Peer, message: wire.Result, now: float) -> None:
        """An answer of it, or a part of one. What is not about the request that it has is dropped."""
        hand = self._known(peer, message.form, "an answer before READY", now)
        if hand is None or hand.worker is None:
            return
        hand.heard_at = now
        given = hand.given
        if given is None or message.address != given.address:
            self._state.note("reply.unexpected", worker=hand.worker.id.hex(), request=None)
        elif message.final:
            self._finish(hand, hand.worker, given, message.body, now)
        else:
            self._part(hand.worker, given, message.body)

    def _part(self, worker: Worker, given: Given, body: Sequence[Any]) -> None:
        if given.streams:
            part = messages.WorkerPart(*given.key, given.attempt, given.parts)
            given.parts += 1
            self._requests.relay(worker, part, self._fit(worker, given, Opaque(body)))
            return
        request = worker.held.get(given.key)
        if given.failed or request is None or not self._gathers(worker, request):
            return
        given.gathered += body
        given.size += sum(len(frame) for frame in body)
        limit = self._state.settings.max_message_bytes
        if given.size > limit or len(given.gathered) > limits.MAX_FRAMES - ENVELOPE_FRAMES:
            given.failed = (
                f"its parts take {len(given.gathered)} frames and {given.size} bytes, more than one answer has"
            )
            given.gathered.clear()

    def _gathers(self, worker: Worker, request: Request) -> bool:
        """Whether parts belong to the answer of a client that takes none: a msgpack result of ours is one value."""
        return request.peer in self._state.majordomo or worker.pool.settings.majordomo_body == "raw"

    def _finish(self, hand: Hand, worker: Worker, given: Given, body: Sequence[Any], now: float) -> None:
        hand.given = None
        self._workers.heard(worker, now)
        if given.failed or len(given.gathered) + len(body) > limits.MAX_FRAMES - ENVELOPE_FRAMES:
            text = given.failed or "its parts and its end are more frames than one answer has"
            failure = messages.WorkerError(*given.key, given.attempt, Code.PAYLOAD_TOO_LARGE, text)
            self._requests.finish(worker, failure, [EMPTY_MAP], now)
        else:
            whole = self._fit(worker, given, Opaque([*given.gathered, *body]))
            self._requests.finish(worker, messages.WorkerReply(*given.key, given.attempt), whole, now)
        if hand.leaving and not worker.load:
            self._end(hand, now)

    def _fit(self, worker: Worker, given: Given, body: Opaque) -> Sequence[Any]:
        """As the client of the request reads it."""
        request = worker.held.get(given.key)
        if request is None or request.peer in self._state.majordomo:
            return body
        return result_of(worker.pool.settings, body)

    def disconnect(self, peer: Peer, now: float) -> None:
        """It goes, and is told nothing more. What it has not answered counts as begun."""
        hand = self.hands.get(peer)
        if hand is not None:
            self._drop(hand, "drain", "it said DISCONNECT", "connection", now)

    # --- what it is told ---

    def tell(self, hand: Hand, send: Send, now: float) -> None:
        """Say in its protocol what was said in ours; what its protocol has no word for is not said, or answered for it."""
        worker = hand.worker
        match send.message:
            case messages.Dispatch() as order if worker is not None:
                self._order(hand, worker, order, send.body, now)
            case messages.Check() as check if worker is not None:
                self._health.checked(worker, messages.Checked(check.number), now)
            case messages.Dismiss():
                hand.leaving = True
                if worker is not None and not worker.load:
                    self._end(hand, now)
            case messages.Error() | messages.Stranger():
                self.part_with(hand.peer, hand.form, "it was refused", now)
            case _:
                pass

    def _order(self, hand: Hand, worker: Worker, order: messages.Dispatch, body: Sequence[Any], now: float) -> None:
        key, pool = (order.client, order.id), worker.pool.settings
        try:
            frames = body if isinstance(body, Opaque) else request_of(pool, order.command, body)
        except Unfit as error:
            fail_unfit(self._state, self._dispatcher, worker, key, error, now)
            return
        self._orders += 1
        hand.given = Given(b"%x" % self._orders, key, order.attempt, order.window > 0, now)
        self._say(hand.peer, wire.Order(hand.form, hand.given.address, frames), order)

    def _say(self, peer: Peer, said: wire.Order | wire.Heartbeat | wire.Disconnect, message: messages.Message) -> None:
        self._state.out.append(Forward(peer, wire.encode(said), message))

    # --- going ---

    def part_with(self, peer: Peer, form: wire.Form, why: str, now: float) -> None:
        """Tell whoever breaks the protocol to begin anew, and forget him."""
        self._state.note("protocol.refused", reason=f"majordomo: {why}")
        hand = self.hands.get(peer)
        self._say(peer, wire.Disconnect(form), messages.Bye())
        if hand is not None:
            self._drop(hand, "heartbeat", why, "connection", now)

    def _known(self, peer: Peer, form: wire.Form, why: str, now: float) -> Hand | None:
        hand = self.hands.get(peer)
        if hand is None or hand.worker is None or self._state.parties.get(peer) is not hand.worker:
            self.part_with(peer, form, why if hand is None else "it was given up", now)
            return None
        return hand

    def _end(self, hand: Hand, now: float) -> None:
        """It holds nothing and was to go."""
        self._say(hand.peer, wire.Disconnect(hand.form), messages.Bye())
        self._drop(hand, "drain", "", "connection", now)

    def _drop(self, hand: Hand, cause: str, note: str, means: str, now: float) -> None:
        worker = hand.worker
        self.forget(hand.peer)
        if worker is None or self._state.workers.get(worker.id) is not worker:
            return
        if cause == "drain" and not worker.load:
            self._workers.leave(worker, now)
            return
        certificate = messages.Certificate(cause, worker=worker.id.hex(), served=worker.served, note=note)
        self._workers.lose(worker, certificate, None, means, now)

    def hung_up(self, peer: Peer, now: float) -> None:
        """Its connection has ended."""
        hand = self.hands.get(peer)
        if hand is not None:
            self._drop(hand, "heartbeat", "its connection has ended", "connection", now)

    def forget(self, peer: Peer) -> None:
        """It is gone."""
        if self.hands.pop(peer, None) is not None:
            self._state.majordomo.pop(peer, None)

    # --- time ---

    def sweep(self, now: float) -> None:
        """Vouch for those that keep to the protocol, and part with those that do not."""
        for peer, hand in list(self.hands.items()):
            worker = hand.worker
            if worker is None or self._state.parties.get(peer) is not worker:
                self._say(peer, wire.Disconnect(hand.form), messages.Bye())
                self.forget(peer)
                continue
            why = self._why_lost(hand, worker, now)
            if why:
                self._say(peer, wire.Disconnect(hand.form), messages.Bye())
                self._drop(hand, "timeout" if hand.given is not None else "heartbeat", why, "silence", now)
            else:
                worker.vouched_at = now

    def _why_lost(self, hand: Hand, worker: Worker, now: float) -> str:
        settings, given = self._state.settings, hand.given
        if given is None:
            silent_s = now - hand.heard_at
            patience_s = settings.majordomo_heartbeat_s * settings.heartbeat_liveness
            return f"it waited and was silent for {silent_s:.3g} s" if silent_s > patience_s else ""
        ran_s = now - given.since
        if given.key in worker.held or ran_s < worker.pool.settings.timeout_s:
            return ""
        return f"it had not answered after {ran_s:.3g} s, and nobody waits for that any more"

    def beat(self, now: float) -> None:
        """Tell all of them that the broker lives; those that are busy too, which wait for it by their guide."""
        for peer, hand in self.hands.items():
            self._say(peer, wire.Heartbeat(hand.form), messages.Heartbeat())
        self.beat_at = now + self._state.settings.majordomo_heartbeat_s

    def forgive(self, now: float) -> None:
        """The broker itself was not running: whoever was silent meanwhile is not to blame."""
        for hand in self.hands.values():
            hand.heard_at = now

    def check(self) -> None:
        """For tests: the books agree with ours."""
        for peer, hand in self.hands.items():
            worker = hand.worker
            if worker is not None and self._state.parties.get(peer) is worker:
                assert [*worker.held, *worker.abandoned] == ([hand.given.key] if hand.given else [])
                assert not worker.sessions
