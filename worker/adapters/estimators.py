"""What the optimizer chooses from: scikit-learn's estimators and the space of each one's parameters, as data."""

from __future__ import annotations

from typing import Any

import msgspec

from maitred.worker.adapters.extras import library

__all__ = ["CLASSIFIERS", "REGRESSORS", "Choice", "Estimator", "Log", "Whole", "candidates"]

MAX_BOOSTED_CELLS = 20_000
"""Rows x columns x classes up to which boosting is tried: it takes 40 ms there, and ten times as long as the rest."""


class Log(msgspec.Struct, frozen=True):
    """A positive number whose magnitude matters, of two significant digits, so that a search comes back to it."""

    low: float
    high: float

    def suggest(self, trial: Any, name: str, rows: int) -> float:
        """Ask the trial for one."""
        return float(f"{trial.suggest_float(name, self.low, self.high, log=True):.2g}")


class Whole(msgspec.Struct, frozen=True):
    """A whole number; `of_rows` where there cannot be more than rows to train on."""

    low: int
    high: int
    step: int = 1
    of_rows: bool = False

    def suggest(self, trial: Any, name: str, rows: int) -> int:
        """Ask the trial for one."""
        high = min(self.high, rows) if self.of_rows else self.high
        return trial.suggest_int(name, self.low, high, step=self.step)


class Choice(msgspec.Struct, frozen=True):
    """One of several words."""

    options: tuple[str, ...]

    def suggest(self, trial: Any, name: str, rows: int) -> str:
        """Ask the trial for one."""
        return trial.suggest_categorical(name, self.options)


class Estimator(msgspec.Struct, frozen=True):
    """One kind of estimator.

    Attributes:
        name: what a result calls it.
        module: where scikit-learn has it.
        kind: its class there.
        space: the parameters searched.
        fixed: parameters that stay.
        seeded: whether it draws by chance, and takes a seed.
    """

    name: str
    module: str
    kind: str
    space: dict[str, Log | Whole | Choice]
    fixed: dict[str, Any] = {}
    seeded: bool = False

    def suggest(self, trial: Any, rows: int) -> dict[str, Any]:
        """Ask a trial for parameters, where `rows` are trained on."""
        return {name: axis.suggest(trial, f"{self.name}.{name}", rows) for name, axis in self.space.items()}

    def build(self, params: dict[str, Any], seed: int) -> Any:
        """Make one of scikit-learn's, unfitted."""
        more = {"random_state": seed} if self.seeded else {}
        return getattr(library(self.module), self.kind)(**params, **self.fixed, **more)


_TREES: dict[str, Log | Whole | Choice] = {
    "n_estimators": Whole(5, 30, step=5),
    "max_depth": Whole(2, 12),
    "min_samples_leaf": Whole(1, 5),
}
_BOOSTED: dict[str, Log | Whole | Choice] = {
    "n_estimators": Whole(5, 30, step=5),
    "max_depth": Whole(1, 4),
    "learning_rate": Log(0.01, 1.0),
}
_NEIGHBOURS: dict[str, Log | Whole | Choice] = {
    "n_neighbors": Whole(1, 25, of_rows=True),
    "weights": Choice(("uniform", "distance")),
}
_KERNEL: dict[str, Log | Whole | Choice] = {"C": Log(0.01, 100.0), "gamma": Log(1e-4, 1.0)}

CLASSIFIERS = (
    Estimator(
        "logistic_regression", "sklearn.linear_model", "LogisticRegression", {"C": Log(1e-3, 1e2)}, {"max_iter": 200}
    ),
    Estimator("random_forest", "sklearn.ensemble", "RandomForestClassifier", _TREES, {"n_jobs": 1}, seeded=True),
    Estimator("gradient_boosting", "sklearn.ensemble", "GradientBoostingClassifier", _BOOSTED, seeded=True),
    Estimator("k_neighbors", "sklearn.neighbors", "KNeighborsClassifier", _NEIGHBOURS, {"n_jobs": 1}),
    Estimator("svm", "sklearn.svm", "SVC", _KERNEL),
)
"""Where the target is a class."""

REGRESSORS = (
    Estimator("ridge", "sklearn.linear_model", "Ridge", {"alpha": Log(1e-3, 1e3)}),
    Estimator("random_forest", "sklearn.ensemble", "RandomForestRegressor", _TREES, {"n_jobs": 1}, seeded=True),
    Estimator("gradient_boosting", "sklearn.ensemble", "GradientBoostingRegressor", _BOOSTED, seeded=True),
    Estimator("k_neighbors", "sklearn.neighbors", "KNeighborsRegressor", _NEIGHBOURS, {"n_jobs": 1}),
)
"""Where the target is a quantity."""


def candidates(rows: int, width: int, classes: int) -> tuple[Estimator, ...]:
    """The estimators to try on so many rows and columns; `classes` is 0 where the target is a quantity."""
    affordable = rows * width * max(classes, 1) <= MAX_BOOSTED_CELLS
    found = CLASSIFIERS if classes else REGRESSORS
    return tuple(estimator for estimator in found if affordable or estimator.name != "gradient_boosting")
