"""Batches in both loops: gathered, run as one call, recalled, cut short, and stopped."""

from __future__ import annotations

from typing import Any

import pytest
from worker_peers import AFTER_S, CLIENT, Broker, asynchronous, began, log, released, run, service

from maitred.worker import Service, plain_loop, stopping, trio_loop


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "INTERRUPT_AFTER_S", AFTER_S)


def some(*texts: str, hangs: bool = False) -> list[dict[str, Any]]:
    return [{"text": text, "hangs": hangs} for text in texts]


@pytest.mark.parametrize(
    ("loop", "service", "slots"),
    [("plain", service, 1), ("trio", service, 1), ("trio", service, 2), ("trio", asynchronous, 2)],
)
class TestBatches:
    def test_are_one_call_each(self, loop: str, service: Service, slots: int) -> None:
        def script(broker: Broker) -> None:
            broker.batch("embed", some("a", "bb", "ccc"))
            assert broker.answers(3) == {1: 1, 2: 2, 3: 3}
            broker.batch("embed", some("dddd"), first=4)
            assert broker.answers(1) == {4: 4}
            assert log == [["a", "bb", "ccc"], ["dddd"]]

        requests = run(loop, service, script, slots=slots)
        assert requests.running.held.keys() == []

    def test_whose_rest_does_not_come_are_run_as_they_are(
        self, loop: str, service: Service, slots: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plain_loop, "IDLE_S", 0.02)
        monkeypatch.setattr(trio_loop, "IDLE_S", 0.02)

        def script(broker: Broker) -> None:
            broker.dispatch(1, "embed", some("a")[0], more=2)
            broker.dispatch(2, "embed", some("bb")[0], more=1)
            assert broker.answers(2) == {1: 1, 2: 2}

        run(loop, service, script, slots=slots)

    def test_that_were_cut_by_a_broken_connection_are_held_and_run(
        self, loop: str, service: Service, slots: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trio_loop, "IDLE_S", 60)  # at once, and not when nothing has come for a while

        def script(broker: Broker) -> None:
            broker.dispatch(1, "embed", some("a")[0], more=2)
            broker.dispatch(2, "embed", some("bb")[0], more=1)
            broker.stranger()
            assert broker.answers(2) == {1: 1, 2: 2}
            assert broker.register is not None
            assert set(broker.register.holds) <= {(CLIENT, 1), (CLIENT, 2)}
            broker.batch("embed", some("ccc"), first=3)  # the welcome has arrived, too, when this is answered
            assert broker.answers(1) == {3: 3}
            assert log == [["a", "bb"], ["ccc"]]

        run(loop, service, script, slots=slots)

    def test_are_recalled_one_by_one_while_they_gather(self, loop: str, service: Service, slots: int) -> None:
        def script(broker: Broker) -> None:
            broker.dispatch(1, "embed", some("a")[0], more=2)
            broker.dispatch(2, "embed", some("bb")[0], more=1)
            broker.recall(1)
            broker.dispatch(3, "embed", some("ccc")[0])
            assert broker.answers(2) == {2: 2, 3: 3}
            assert log == [["bb", "ccc"]]

        run(loop, service, script, slots=slots)

    def test_of_which_some_are_cancelled_go_on_for_the_others(self, loop: str, service: Service, slots: int) -> None:
        def script(broker: Broker) -> None:
            broker.batch("embed", some("a", "b", hangs=True))
            began()
            broker.cancel(1)
            assert broker.is_silent(3 * AFTER_S)
            released.set()
            assert broker.answers(2) == {1: 1, 2: 1}

        run(loop, service, script, slots=slots)

    def test_of_which_all_are_cancelled_are_interrupted(self, loop: str, service: Service, slots: int) -> None:
        if slots > 1 and service is not asynchronous:
            return  # a thread is told by its flag, which a batch cannot look at

        def script(broker: Broker) -> None:
            broker.batch("embed", some("a", "b", hangs=True))
            began()
            broker.cancel(1)
            broker.cancel(2, "operator")
            answers = broker.answers(2)
            assert [answers[n][1] for n in (1, 2)] == [{"outcome": "interrupted"}] * 2
            assert answers[2][2].endswith("as an operator asked")

        run(loop, service, script, slots=slots)
