"""Training: real networks on small data, on either backend, streamed, stopped, refused."""

from __future__ import annotations

import importlib.util
import math
import sys
from typing import Any

import numpy as np
import pytest

from maitred.protocol.body import decode_body, encode_body
from maitred.protocol.errors import InvalidArgument
from maitred.worker import Cancelled, Context
from maitred.worker.adapters import backends
from maitred.worker.adapters.backends import Problem, SklearnBackend, TorchBackend
from maitred.worker.adapters.neural import service, train_model

pytestmark = pytest.mark.slow

HAS_TORCH = importlib.util.find_spec("torch") is not None
NAMES = {SklearnBackend: "scikit-learn", TorchBackend: "torch"}


@pytest.fixture(
    params=[
        SklearnBackend,
        pytest.param(TorchBackend, marks=pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed")),
    ],
    ids=["sklearn", "torch"],
)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each backend that is installed, chosen for all that runs."""
    monkeypatch.setattr(backends, "choose", request.param)
    return request.param


def wave(rows: int) -> list[dict[str, Any]]:
    return [{"x": 6 * i / rows, "kind": "up" if i % 2 else "down", "y": math.sin(6 * i / rows)} for i in range(rows)]


def test_classes(run: Any, backend: Any) -> None:
    result, parts = run(service, "train_model", {"epochs": 5, "batch_size": 32})
    assert result["accuracy"] > 0.9
    assert result["loss"] < 0.5
    assert (result["epochs"], result["rows_train"], result["rows_test"]) == (5, 1437, 360)
    assert (result["backend"], result["parameters"]) == (NAMES[backend], 64 * 64 + 64 + 64 * 10 + 10)
    assert result["device"] in ("cpu", "cuda:0")
    assert [part["epoch"] for part in parts] == [1, 2, 3, 4, 5]
    assert {part["epochs"] for part in parts} == {5}
    assert parts[-1]["progress"] == 1.0
    assert parts[-1]["loss"] == result["loss"] < parts[0]["loss"]
    assert parts[-1]["accuracy"] == result["accuracy"]
    assert decode_body(encode_body([result, parts])) == [result, parts]


def test_a_quantity(run: Any, backend: Any) -> None:
    args = {"epochs": 60, "batch_size": 16, "data": wave(200), "hidden": [32, 32], "learning_rate": 0.01}
    result, parts = run(service, "train_model", args)
    assert result["r2"] > 0.9
    assert "accuracy" not in result
    assert set(parts[0]) == {"progress", "epoch", "epochs", "loss", "r2"}


def test_no_hidden_layer_is_a_linear_model(run: Any, backend: Any) -> None:
    result, _ = run(service, "train_model", {"data": "wine", "hidden": [], "learning_rate": 0.05})
    assert result["parameters"] == 13 * 3 + 3
    assert result["accuracy"] > 0.8


def test_a_seed_repeats(run: Any, backend: Any) -> None:
    def once(seed: int) -> Any:
        return [part["loss"] for part in run(service, "train_model", {"epochs": 2, "data": "iris", "seed": seed})[1]]

    assert once(1) == pytest.approx(once(1))
    assert once(1) != pytest.approx(once(2))


@pytest.mark.parametrize("target", [list("ababab"), [0.5, 1, 2, 3, 4, 5], [7.0] * 5 + [8.0]], ids=str)
def test_the_smallest_table(run: Any, backend: Any, target: list[Any]) -> None:
    rows = [{"x": index, "y": value} for index, value in enumerate(target)]
    result, _ = run(service, "train_model", {"epochs": 2, "batch_size": 4, "data": rows})
    assert (result["rows_train"], result["rows_test"]) == (4, 2)


def test_one_batch_larger_than_the_rows(run: Any, backend: Any) -> None:
    assert run(service, "train_model", {"epochs": 1, "batch_size": 65_536, "data": "iris"})[0]["rows_train"] == 120


def test_the_backends_mean_the_same_by_loss() -> None:
    pytest.importorskip("torch")
    random = np.random.default_rng(0)
    features = random.standard_normal((500, 8))
    for classes, target in ((3, np.argmax(features[:, :3], axis=1)), (0, features[:, 0] * 0.8 + features[:, 1] * 0.6)):
        losses: list[float] = []
        for kind in (SklearnBackend, TorchBackend):
            network = kind(Problem(features, target, classes, (16,), 0.01, 50, seed=0))
            for _ in range(40):
                steps = [network.step(np.arange(first, first + 50)) for first in range(0, 500, 50)]
            losses.append(sum(steps) / len(steps))
            predicted = network.predict(features)
            assert predicted.shape == target.shape
            error = np.mean(predicted != target) if classes else np.mean((predicted - target) ** 2)
            assert error < 0.05
            if not classes:
                assert losses[-1] == pytest.approx(error / 2, rel=1.0)
        assert losses[0] == pytest.approx(losses[1], rel=0.6, abs=0.002)


def test_without_torch_scikit_learn_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    problem = Problem(np.zeros((4, 1)), np.zeros(4), 0, (), 0.1, 4, 0)
    assert isinstance(backends.choose(problem), SklearnBackend)


def test_with_torch_it_is_taken() -> None:
    pytest.importorskip("torch")
    assert isinstance(backends.choose(Problem(np.zeros((4, 1)), np.zeros(4), 0, (), 0.1, 4, 0)), TorchBackend)


def test_stopped_between_epochs(run: Any, backend: Any) -> None:
    with pytest.raises(Cancelled):
        run(service, "train_model", {"epochs": 100_000, "data": "iris"}, cancel_after=2)


def test_stopped_within_an_epoch(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context, steps = Context(), list[int]()

    def step(self: Any, rows: Any) -> float:
        steps.append(len(rows))
        if len(steps) == 3:
            context.cancel()
        return 1.0

    monkeypatch.setattr(backend, "step", step)
    with pytest.raises(Cancelled):
        next(train_model(batch_size=10, context=context))
    assert steps == [10, 10, 10]


def test_a_loss_that_is_no_number_is_an_error(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "step", lambda self, rows: math.nan)
    with pytest.raises(FloatingPointError, match="smaller learning_rate"):
        next(train_model(data="iris", context=Context()))


@pytest.mark.parametrize(
    ("args", "argument"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"hidden": [0]}, "hidden[0]"),
        ({"hidden": [64] * 5}, "hidden"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"data": "digit"}, "data"),
        ({"data": [{"x": i, "y": "ab"[i % 2]} for i in range(6)] + [{"x": 1}]}, "data[6].y"),
    ],
)
def test_refusals(run: Any, args: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        run(service, "train_model", args)
    assert caught.value.argument == argument
