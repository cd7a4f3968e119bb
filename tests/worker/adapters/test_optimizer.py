"""The search: real trials on small data, streamed, stopped, refused."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest

from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.errors import InvalidArgument
from maitred.worker import Cancelled, Context
from maitred.worker.adapters import search
from maitred.worker.adapters.estimators import CLASSIFIERS, REGRESSORS, candidates
from maitred.worker.adapters.optimizer import optimize_model, service

pytestmark = pytest.mark.slow


def xor(rows: int) -> list[dict[str, Any]]:
    """Which no linear model can learn."""
    draws = np.random.default_rng(0).random((rows, 2)).tolist()
    return [{"a": a, "b": b, "y": "same" if (a < 0.5) == (b < 0.5) else "other"} for a, b in draws]


def line(rows: int) -> list[dict[str, Any]]:
    return [{"x": i / rows, "kind": "odd" if i % 2 else "even", "price": 3 * i / rows + i % 2} for i in range(rows)]


def test_classes(run: Any) -> None:
    result, parts = run(service, "optimize_model", {"iterations": 30, "data": xor(90)})
    assert result["best_score"] > 0.85
    assert result["estimator"] != "logistic_regression"
    assert set(result["best_params"]) == set(
        next(found.space for found in CLASSIFIERS if found.name == result["estimator"])
    )
    assert [result[key] for key in ("metric", "iterations", "rows", "rows_given", "features")] == [
        "accuracy", 30, 90, 90, 2,
    ]  # fmt: skip
    assert [part["iteration"] for part in parts] == list(range(1, 31))
    assert {part["iterations"] for part in parts} == {30}
    assert parts[-1]["progress"] == 1.0
    best = [part["best_score"] for part in parts]
    assert best == sorted(best)
    assert best[-1] == max(part["score"] for part in parts) == result["best_score"]
    assert decode_body(encode_body([result, parts])) == [result, parts]


def test_a_quantity(run: Any) -> None:
    result, _ = run(service, "optimize_model", {"iterations": 20, "data": line(60), "target": "price"})
    assert result["metric"] == "r2"
    assert result["best_score"] > 0.95


def test_the_default_is_iris_and_a_seed_repeats(run: Any) -> None:
    def once(**args: Any) -> dict[str, Any]:
        result, _ = run(service, "optimize_model", {"iterations": 8, **args})
        del result["seconds"]
        return result

    first = once()
    assert first == once(data="iris", seed=0)
    assert (first["rows"], first["features"]) == (150, 4)
    assert first["best_score"] > 0.9


def test_a_large_table_is_sampled(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEARCH_ROWS", 60)
    result, _ = run(service, "optimize_model", {"iterations": 3, "data": "wine"})
    assert (result["rows"], result["rows_given"]) == (60, 178)
    monkeypatch.setattr(search, "SEARCH_ROWS", 177)  # one row could not be left over of each of three classes
    assert run(service, "optimize_model", {"iterations": 1, "data": "wine"})[0]["rows"] == 178


def test_the_smallest_table(run: Any) -> None:
    for target in (list("ababab"), [0.5, 1, 2, 3, 4, 5]):
        rows = [{"x": index, "y": value} for index, value in enumerate(target)]
        result, _ = run(service, "optimize_model", {"iterations": 15, "data": rows})
        assert math.isfinite(result["best_score"])


def test_each_estimator_can_be_fitted_at_the_ends_of_its_space() -> None:
    class Ends:
        def __init__(self, high: bool) -> None:
            self.high = high

        def suggest_float(self, name: str, low: float, high: float, **options: Any) -> float:
            return high if self.high else low

        def suggest_int(self, name: str, low: int, high: int, **options: Any) -> int:
            return high if self.high else low

        def suggest_categorical(self, name: str, options: Any) -> Any:
            return options[-1 if self.high else 0]

    features = np.random.default_rng(0).random((12, 2))
    for kinds, target in ((CLASSIFIERS, np.arange(12) % 3), (REGRESSORS, np.arange(12.0))):
        for kind in kinds:
            for high in (False, True):
                model = kind.build(kind.suggest(Ends(high), len(target)), seed=0).fit(features, target)
                assert len(model.predict(features)) == len(target)


def test_boosting_is_left_out_where_it_is_dear() -> None:
    assert "gradient_boosting" in {found.name for found in candidates(150, 4, 3)}
    assert "gradient_boosting" not in {found.name for found in candidates(1797, 64, 10)}
    assert len(candidates(100_000, 10, 0)) == len(REGRESSORS) - 1


def test_stopped_between_trials(run: Any) -> None:
    with pytest.raises(Cancelled):
        run(service, "optimize_model", {"iterations": 100_000}, cancel_after=3)


def test_stopped_within_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    generator = optimize_model(5, context=context)
    next(generator)
    monkeypatch.setattr(type(CLASSIFIERS[0]), "build", lambda *args: context.cancel() or _Never())
    with pytest.raises(Cancelled):
        list(generator)


class _Never:
    """An estimator for the fold during which the request is cancelled; the next fold is not begun."""

    def __init__(self) -> None:
        self.fitted = 0

    def fit(self, features: Any, target: Any) -> _Never:
        self.fitted += 1
        assert self.fitted == 1
        return self

    def predict(self, features: Any) -> Any:
        return np.zeros(len(features), dtype=int)


def test_stopped_by_its_deadline() -> None:
    began = time.monotonic()
    with pytest.raises(Cancelled, match="deadline"):
        list(optimize_model(100_000, "digits", context=Context(deadline=began + 0.5)))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("args", "argument"),
    [
        ({"iterations": 0}, "iterations"),
        ({"iterations": 10**9}, "iterations"),
        ({"seed": -1}, "seed"),
        ({"data": 3}, "data"),
        ({"data": ["a"]}, "data[0]"),
        ({"data": []}, "data"),
        ({"data": "mnist"}, "data"),
        ({"data": [{"x": 1, "y": i} for i in range(6)] + [{"x": "a", "y": 7}]}, "data[6].x"),
        ({"data": [{"x": i, "y": i} for i in range(6)], "target": "z"}, "target"),
    ],
)
def test_refusals(run: Any, args: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        run(service, "optimize_model", args)
    assert caught.value.argument == argument


def test_it_may_run_twice() -> None:
    command = service.commands["optimize_model"]
    assert command.idempotent
    assert command.streams
