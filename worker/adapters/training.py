"""A network in training: the rows it learns from and those it is tested on. It goes on where it stopped, and elsewhere.

Knows nothing of requests or sessions: `maitred.worker.adapters.neural` serves those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from maitred.worker.adapters import backends
from maitred.worker.adapters.backends import Backend, Problem
from maitred.worker.adapters.carried import bring_random, bring_table, carry_random, carry_table, writable
from maitred.worker.adapters.extras import library
from maitred.worker.adapters.tables import Table, split

__all__ = ["Settings", "Training"]

HELD_OUT = 0.2
"""Share of the rows that the network is tested on and never sees; at least one row of each class, and two."""


class Settings(Struct):
    """What a network is made with."""

    hidden: tuple[int, ...]
    learning_rate: float
    batch_size: int
    seed: int


class Training:
    """One network.

    Args:
        table: the rows.
        source: the name of the bundled data set that they are, None where they were sent.
        settings: what it is made with.
        scales: (mean, deviation) of the features' columns, and of the target; None takes those of the rows trained on.

    Attributes:
        metric: what `score` is.
        epochs: those it has learnt.
    """

    def __init__(
        self, table: Table, source: str | None, settings: Settings, scales: list[tuple[Any, Any]] | None = None
    ) -> None:
        self.settings = settings
        self.epochs = 0
        self.metric = "r2" if table.classes is None else "accuracy"
        self._scales = scales
        self._random: Any = library("numpy").random.default_rng(settings.seed)
        self.backend: Backend = backends.choose(self._prepare(table, source))

    def take_rows(self, table: Table, source: str | None) -> None:
        """Learn from other rows from now on, which have the same columns and classes; their scales stay."""
        self.backend.take(self._prepare(table, source))

    def _prepare(self, table: Table, source: str | None) -> Problem:
        self.table, self.source = table, source
        settings, classes = self.settings, len(table.classes or ())
        train, test = split(table, max(math.ceil(table.rows * HELD_OUT), classes, 2), settings.seed)
        self.rows_train = len(train)
        if self._scales is None:
            self._scales = [_scale_of(table.features[train]), (0.0, 1.0) if classes else _scale_of(table.target[train])]
        features = self._scaled(table.features)
        target = table.target if classes else _apply(self._scales[1], table.target)
        self._test, self._test_target = features[test], target[test]
        return Problem(
            features[train], target[train], classes, settings.hidden, settings.learning_rate, settings.batch_size,
            settings.seed,
        )  # fmt: skip

    def pace(self, batch_size: int, learning_rate: float | None) -> None:
        """Learn from so many rows at once from now on, and so fast."""
        self.settings.batch_size = batch_size
        self.settings.learning_rate = learning_rate or self.settings.learning_rate
        self.backend.pace(batch_size, self.settings.learning_rate)

    def run_epoch(self, check: Callable[[], None]) -> float:
        """Learn from every row once, in an order drawn anew; returns the mean loss over the rows.

        Args:
            check: called before each batch: the caller may raise from it.
        """
        order: Any = self._random.permutation(self.rows_train)
        total = 0.0
        for first in range(0, self.rows_train, self.settings.batch_size):
            check()
            rows = order[first : first + self.settings.batch_size]
            total += self.backend.step(rows) * len(rows)
        if not math.isfinite(total):
            raise FloatingPointError("the loss is no finite number any more; a smaller learning_rate may help")
        self.epochs += 1
        return total / self.rows_train

    def score(self) -> float:
        """How well it predicts the rows it never saw."""
        metrics = library("sklearn.metrics")
        measure = metrics.accuracy_score if self.metric == "accuracy" else metrics.r2_score
        return float(measure(self._test_target, self.backend.predict(self._test)))

    def predict(self, features: Any) -> list[Any]:
        """The class of each row, by name, or the quantity."""
        found: Any = self.backend.predict(self._scaled(features))
        if self.table.classes is not None:
            return [self.table.classes[int(number)] for number in found]
        assert self._scales is not None
        mean, deviation = self._scales[1]
        return (found * deviation + mean).tolist()

    def _scaled(self, features: Any) -> Any:
        assert self._scales is not None
        return _apply(self._scales[0], features)

    # --- from one process to the next ---

    def carry(self) -> dict[str, Any]:
        """All that goes on from here, as a value that can be sent."""
        return {
            "table": carry_table(self.table, self.source),
            "source": self.source,
            "settings": {name: getattr(self.settings, name) for name in Settings.__struct_fields__},
            "scales": self._scales,
            "random": carry_random(self._random),
            "epochs": self.epochs,
            "backend": self.backend.name,
            "network": self.backend.carry(),
        }

    @classmethod
    def bring(cls, value: dict[str, Any]) -> Training:
        """The network that it was.

        Raises:
            ValueError: it was trained by another library than there is here.
        """
        settings = Settings(**value["settings"])
        settings.hidden = tuple(settings.hidden)
        scales = [(writable(mean), writable(deviation)) for mean, deviation in value["scales"]]
        training = cls(bring_table("train_model", value["table"]), value["source"], settings, scales)
        if training.backend.name != value["backend"]:
            raise ValueError(f"the model was trained by {value['backend']}; here is {training.backend.name}")
        training.backend.bring(value["network"])
        training.epochs = value["epochs"]
        training._random = bring_random(value["random"])
        return training


def _scale_of(values: Any) -> tuple[Any, Any]:
    """Mean and deviation by column; a column that is constant stays as it is."""
    deviation: Any = library("numpy").asarray(values.std(axis=0))
    return values.mean(axis=0), library("numpy").where(deviation == 0, 1.0, deviation)


def _apply(scale: tuple[Any, Any], values: Any) -> Any:
    mean, deviation = scale
    return (values - mean) / deviation
