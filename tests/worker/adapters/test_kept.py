"""What the bundled adapters keep in a session: a network that learns on, a search that searches on, here and elsewhere."""

from __future__ import annotations

import importlib.util
import math
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maitred.protocol.errors import InvalidArgument
from maitred.worker import Cancelled, Session
from maitred.worker.adapters import backends, neural, optimizer
from maitred.worker.adapters.backends import SklearnBackend, TorchBackend
from maitred.worker.adapters.carried import bring_random, carry_random
from maitred.worker.adapters.columns import Column, encode_rows

pytestmark = pytest.mark.slow

HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.fixture(
    params=[
        SklearnBackend,
        pytest.param(TorchBackend, marks=pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")),
    ],
    ids=["sklearn", "torch"],
)
def train(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, run: Any) -> Any:
    """`train_model` in a session, by each backend that is installed."""
    monkeypatch.setattr(backends, "choose", request.param)

    def train(session: Session | None = None, **args: Any) -> Any:
        result, parts = run(neural.service, "train_model", args, session=session)
        return result, [part["loss"] for part in parts]

    return train


def wave(rows: int, phase: float = 0.0) -> list[dict[str, Any]]:
    points = [phase + 6 * i / rows for i in range(rows)]
    return [{"x": x, "kind": "up" if i % 2 else "down", "y": 5 + 2 * math.sin(x)} for i, x in enumerate(points)]


class TestTraining:
    def test_goes_on_from_its_weights(self, train: Any) -> None:
        _, once = train(epochs=4, data="iris")
        session = Session()
        first, losses = train(session, epochs=2, data="iris")
        second, more = train(session, epochs=2)
        assert losses + more == pytest.approx(once)
        assert (first["epochs_in_all"], second["epochs"], second["epochs_in_all"]) == (2, 2, 4)

    def test_goes_on_elsewhere_as_it_would_have_here(self, train: Any, move: Any) -> None:
        session = Session()
        train(session, epochs=2, data="iris", hidden=[8, 8], learning_rate=0.01, seed=3)
        elsewhere = move(neural.service, session)
        here, there = train(session, epochs=3), train(elsewhere, epochs=3)
        assert here[1] == pytest.approx(there[1])
        assert there[0]["epochs_in_all"] == 5
        assert there[0]["accuracy"] == pytest.approx(here[0]["accuracy"])

    def test_without_a_session_nothing_is_kept(self, train: Any) -> None:
        assert train(epochs=1, data="iris")[1] == pytest.approx(train(epochs=1, data="iris")[1])

    def test_other_rows_of_the_same_columns_go_on(self, train: Any, move: Any) -> None:
        session = Session()
        train(session, epochs=40, batch_size=16, data=wave(200), learning_rate=0.02)
        _, before = train(session, epochs=1)
        result, (loss,) = train(session, epochs=1, data=wave(150, phase=0.5))
        assert loss < 10 * before[0], "it is the network that was"
        assert (result["rows_train"], result["epochs_in_all"]) == (120, 42)
        assert train(move(neural.service, session), epochs=1)[0]["rows_train"] == 120

    def test_its_rows_again_are_its_rows(self, train: Any) -> None:
        one, other = Session(), Session()
        for session in (one, other):
            train(session, epochs=1, data=wave(50))
        assert train(one, epochs=2)[1] == pytest.approx(train(other, epochs=2, data=wave(50))[1])

    def test_another_pace(self, train: Any) -> None:
        session = Session()
        _, before = train(session, epochs=1, data="iris", learning_rate=0.5)
        _, after = train(session, epochs=1, learning_rate=1e-9, batch_size=1)
        _, still = train(session, epochs=1, batch_size=1)
        assert still == pytest.approx(after, rel=1e-3), "the new rate stays"
        assert before != after

    @pytest.mark.parametrize(
        ("args", "argument"),
        [
            ({"hidden": [3]}, "hidden"),
            ({"seed": 5}, "seed"),
            ({"data": "wine"}, "data"),
            ({"data": [{"x": n, "y": "ab"[n % 2]} for n in range(6)]}, "data"),
        ],
        ids=str,
    )
    def test_what_does_not_fit_is_refused(self, train: Any, args: Any, argument: str) -> None:
        session = Session()
        train(session, epochs=1, data="iris")
        with pytest.raises(InvalidArgument, match="session") as caught:
            train(session, epochs=1, **args)
        assert caught.value.argument == argument
        assert train(session, epochs=1)[0]["epochs_in_all"] == 2

    def test_one_that_is_stopped_keeps_what_it_learnt(self, train: Any, run: Any) -> None:
        session = Session()
        with pytest.raises(Cancelled):
            run(neural.service, "train_model", {"epochs": 50, "data": "iris"}, cancel_after=3, session=session)
        assert train(session, epochs=1)[0]["epochs_in_all"] == 4

    def test_a_first_one_that_fails_keeps_nothing(self, train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        session = Session()
        for kind in (SklearnBackend, TorchBackend):
            monkeypatch.setattr(kind, "step", lambda self, rows: math.nan)
        with pytest.raises(FloatingPointError):
            train(session, epochs=1, data="iris")
        assert neural.snapshot(session) is None

    def test_nothing_stays_when_it_has_ended(self, train: Any) -> None:
        session = Session()
        train(session, epochs=1, data="iris")
        watched = weakref.ref(session.state[neural.TRAINING])
        session.state.clear()
        assert watched() is None


class TestPredicting:
    def test_a_class_by_its_name(self, train: Any, run: Any, move: Any) -> None:
        session = Session()
        train(session, epochs=30, data="iris", learning_rate=0.01)
        for each in (session, move(neural.service, session)):
            result, _ = run(neural.service, "predict", {"data": "iris"}, session=each)
            assert (len(result["predictions"]), result["epochs_in_all"]) == (150, 30)
            assert set(result["predictions"]) == {"setosa", "versicolor", "virginica"}
            assert result["predictions"][:50].count("setosa") > 45

    def test_a_quantity_in_its_own_units(self, train: Any, run: Any, move: Any) -> None:
        session = Session()
        train(session, epochs=60, batch_size=16, data=wave(200), hidden=[32, 32], learning_rate=0.01)
        rows = [{"kind": row["kind"], "x": row["x"], "ignored": None} for row in wave(20)]
        for each in (session, move(neural.service, session)):
            result, _ = run(neural.service, "predict", {"data": rows}, session=each)
            wanted = [row["y"] for row in wave(20)]
            assert np.abs(np.array(result["predictions"]) - wanted).mean() < 0.5

    @pytest.mark.parametrize("session", [None, Session()])
    def test_without_a_model(self, run: Any, session: Any) -> None:
        with pytest.raises(InvalidArgument, match="call train_model in this session first"):
            run(neural.service, "predict", {"data": "iris"}, session=session)

    @pytest.mark.parametrize(
        ("data", "argument"),
        [
            ("iris", "data"),
            ([], "data"),
            ([{"x": 1}], "data[0].kind"),
            ([{"x": 1, "kind": "up"}, {"x": "1", "kind": "up"}], "data[1].x"),
            ([{"x": 1, "kind": "sideways"}], "data[0].kind"),
            ([{"x": math.nan, "kind": "up"}], "data[0].x"),
            ([{"x": None, "kind": "up"}], "data[0].x"),
        ],
        ids=str,
    )
    def test_rows_that_do_not_fit(self, train: Any, run: Any, data: Any, argument: str) -> None:
        session = Session()
        train(session, epochs=1, data=wave(20))
        with pytest.raises(InvalidArgument) as caught:
            run(neural.service, "predict", {"data": data}, session=session)
        assert caught.value.argument == argument


def test_a_network_of_another_library_is_refused(train: Any) -> None:
    session = Session()
    train(session, epochs=1, data="iris")
    value = neural.snapshot(session)
    assert value is not None
    value["backend"] = "abacus"
    with pytest.raises(ValueError, match="trained by abacus; here is"):
        neural.restore(Session(), value)


class TestSearching:
    def search(self, run: Any, session: Session | None, iterations: int, **args: Any) -> tuple[Any, Any]:
        return run(optimizer.service, "optimize_model", {"iterations": iterations, **args}, session=session)

    def test_goes_on_with_its_trials(self, run: Any) -> None:
        once, parts = self.search(run, None, 12, data="wine", seed=4)
        session = Session()
        first, some = self.search(run, session, 5, data="wine", seed=4)
        second, more = self.search(run, session, 7)
        assert [part["score"] for part in some + more] == [part["score"] for part in parts]
        assert (first["iterations_in_all"], second["iterations"], second["iterations_in_all"]) == (5, 7, 12)
        assert second["best_params"] == once["best_params"]

    @pytest.mark.parametrize("data", ["iris", wave(60)], ids=["bundled", "rows"])
    def test_goes_on_elsewhere_with_all_it_knows(self, run: Any, move: Any, data: Any) -> None:
        session = Session()
        first, parts = self.search(run, session, 12, data=data)
        elsewhere = move(optimizer.service, session)
        kept, found = session.state[optimizer.SEARCH], elsewhere.state[optimizer.SEARCH]
        assert found._scores == kept._scores
        same = [[(trial.params, trial.value) for trial in search._study.trials] for search in (kept, found)]
        assert same[0] == same[1]
        second, more = self.search(run, elsewhere, 6, data=data)
        assert second["iterations_in_all"] == 18
        best = max(part["score"] for part in [*parts, *more])
        assert second["best_score"] == best >= first["best_score"]

    def test_a_better_one_of_before_is_not_forgotten(self, run: Any, move: Any) -> None:
        session = Session()
        first, _ = self.search(run, session, 10)
        for _ in range(2):
            session = move(optimizer.service, session)
        second, parts = self.search(run, session, 1)
        if parts[0]["score"] <= first["best_score"]:
            assert (second["estimator"], second["best_params"]) == (first["estimator"], first["best_params"])

    @pytest.mark.parametrize(("args", "argument"), [({"seed": 5}, "seed"), ({"data": "wine"}, "data")], ids=str)
    def test_what_does_not_fit_is_refused(self, run: Any, args: Any, argument: str) -> None:
        session = Session()
        self.search(run, session, 1)
        with pytest.raises(InvalidArgument, match="open another session") as caught:
            self.search(run, session, 1, **args)
        assert caught.value.argument == argument

    def test_one_that_is_stopped_keeps_its_trials(self, run: Any, move: Any) -> None:
        session = Session()
        with pytest.raises(Cancelled):
            run(optimizer.service, "optimize_model", {"iterations": 50}, cancel_after=3, session=session)
        assert self.search(run, move(optimizer.service, session), 1)[0]["iterations_in_all"] == 4


@given(st.integers(0, 2**32 - 1), st.integers(0, 50))
def test_a_generator_goes_on_elsewhere(seed: int, draws: int) -> None:
    generator = np.random.default_rng(seed)
    generator.random(draws)
    generator.integers(10, dtype="int8")  # leaves a half-used draw behind
    assert (
        bring_random(carry_random(generator)).integers(1 << 40, size=9) == generator.integers(1 << 40, size=9)
    ).all()


def test_columns_that_are_not_asked_for_are_not_looked_at() -> None:
    columns = (Column("a"), Column("b", ("x", "y")))
    found = encode_rows("predict", [{"b": "y", "a": 2, "c": object()}], columns)
    assert found.tolist() == [[2.0, 0.0, 1.0]]
