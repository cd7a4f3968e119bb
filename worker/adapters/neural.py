"""Training of a small neural network on the caller's rows, in batches; each epoch is streamed."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator
from typing import Annotated, Any

from msgspec import Meta

from maitred.worker import Context, Service
from maitred.worker.adapters import backends, extras
from maitred.worker.adapters.backends import Backend, Problem
from maitred.worker.adapters.extras import library
from maitred.worker.adapters.tables import Table, read_table, split

__all__ = ["preload", "service", "train_model"]

MAX_EPOCHS = 100_000
"""Epochs of one request at most."""

MAX_BATCH_SIZE = 65_536
"""Rows of a batch at most."""

MAX_UNITS = 4096
"""Units of a hidden layer at most: MAX_LAYERS of them take 2 GB in scikit-learn, half of it in PyTorch."""

MAX_LAYERS = 4
"""Hidden layers at most."""

MAX_SEED = 2**32 - 1
"""What NumPy takes for a seed."""

HELD_OUT = 0.2
"""Share of the rows that the network is tested on and never sees; at least one row of each class, and two."""

_MODULES = ("numpy", "sklearn.datasets", "sklearn.metrics", "sklearn.model_selection", "sklearn.neural_network")

service = Service()


@service.preload
def preload() -> None:
    """Import the heavy libraries now (seconds, with PyTorch): in a fork server, so that its workers have them at once.

    Opens no GPU.

    Raises:
        MissingExtra: they are not installed; PyTorch need not be.
    """
    extras.require("train_model", "NumPy and scikit-learn", _MODULES)
    with contextlib.suppress(ModuleNotFoundError):
        library("torch")


@service.command
def train_model(
    epochs: Annotated[int, Meta(ge=1, le=MAX_EPOCHS)] = 10,
    batch_size: Annotated[int, Meta(ge=1, le=MAX_BATCH_SIZE)] = 32,
    data: list[dict[Any, Any]] | str | None = None,
    target: str | None = None,
    hidden: Annotated[tuple[Annotated[int, Meta(ge=1, le=MAX_UNITS)], ...], Meta(max_length=MAX_LAYERS)] = (64,),
    learning_rate: Annotated[float, Meta(gt=0, le=10)] = 1e-3,
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] = 0,
    *,
    context: Context,
) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Train a network to predict a column of the rows, and test it on a fifth of them. Streams each epoch's loss.

    Args:
        epochs: how many times it sees every row.
        batch_size: rows it learns from at once.
        data: rows (maps of column names to numbers or texts), or a bundled data set: digits (the default), iris, wine,
            breast_cancer, diabetes.
        target: the column to predict; without it "target", "label" or "y", or else the last one.
        hidden: units of each hidden layer; none makes it a linear model.
        learning_rate: of Adam.
        seed: what the split, the first weights and the order of rows are drawn from.
        context: the request.

    Returns:
        `accuracy` (or `r2`, where the target is a quantity) on rows it never saw, the last epoch's `loss`, `epochs`,
        `backend`, `device`, `rows_train`, `rows_test`, `parameters` and `seconds`.
    """
    began = time.perf_counter()
    preload()
    table = read_table("train_model", "digits" if data is None else data, target, context.check_cancelled)
    training = _Training(table, hidden, learning_rate, batch_size, seed)
    loss, score = math.nan, math.nan
    for epoch in range(1, epochs + 1):
        loss = training.run_epoch(context)
        score = training.score()
        yield {"progress": epoch / epochs, "epoch": epoch, "epochs": epochs, "loss": loss, training.metric: score}
    return {
        training.metric: score,
        "loss": loss,
        "epochs": epochs,
        "backend": training.backend.name,
        "device": training.backend.device,
        "rows_train": training.rows_train,
        "rows_test": table.rows - training.rows_train,
        "parameters": training.backend.parameters,
        "seconds": time.perf_counter() - began,
    }


class _Training:
    """A network, the rows it learns from and those it is tested on."""

    def __init__(self, table: Table, hidden: tuple[int, ...], learning_rate: float, batch_size: int, seed: int) -> None:
        classes = len(table.classes or ())
        train, test = split(table, max(math.ceil(table.rows * HELD_OUT), classes, 2), seed)
        features = _standardised(table.features, train)
        target = table.target if classes else _standardised(table.target, train)
        self.metric = "accuracy" if classes else "r2"
        self.rows_train = len(train)
        self._batch_size = batch_size
        self._random: Any = library("numpy").random.default_rng(seed)
        self._test, self._test_target = features[test], target[test]
        problem = Problem(features[train], target[train], classes, tuple(hidden), learning_rate, batch_size, seed)
        self.backend: Backend = backends.choose(problem)

    def run_epoch(self, context: Context) -> float:
        """Learn from every row once, in an order drawn anew; returns the mean loss over the rows."""
        order: Any = self._random.permutation(self.rows_train)
        total = 0.0
        for first in range(0, self.rows_train, self._batch_size):
            context.check_cancelled()
            rows = order[first : first + self._batch_size]
            total += self.backend.step(rows) * len(rows)
        if not math.isfinite(total):
            raise FloatingPointError("the loss is no finite number any more; a smaller learning_rate may help")
        return total / self.rows_train

    def score(self) -> float:
        """How well it predicts the rows it never saw."""
        metrics = library("sklearn.metrics")
        measure = metrics.accuracy_score if self.metric == "accuracy" else metrics.r2_score
        return float(measure(self._test_target, self.backend.predict(self._test)))


def _standardised(values: Any, train: Any) -> Any:
    """Values with mean 0 and deviation 1 by column, over the rows that are trained on."""
    deviation: Any = library("numpy").asarray(values[train].std(axis=0))
    return (values - values[train].mean(axis=0)) / library("numpy").where(deviation == 0, 1.0, deviation)
