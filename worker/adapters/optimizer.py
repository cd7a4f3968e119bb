"""Hyperparameter search: Optuna proposes an estimator and its parameters, scikit-learn tries them on the caller's rows."""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from maitred.worker import Context, Service
from maitred.worker.adapters import extras
from maitred.worker.adapters.estimators import Estimator, candidates
from maitred.worker.adapters.extras import library
from maitred.worker.adapters.tables import Table, read_table, split

if TYPE_CHECKING:
    from maitred.worker.adapters.tables import Indices

__all__ = ["optimize_model", "preload", "service"]

MAX_ITERATIONS = 100_000
"""Trials of one request at most."""

MAX_SEED = 2**32 - 1
"""What NumPy takes for a seed."""

SEARCH_ROWS = 1000
"""Rows that the trials use at most, a seeded sample of them where there are more: a trial stays below 0.2 s."""

FOLDS = 3
"""Parts of the cross-validation: each is tested once by what was trained on the others."""

_MODULES = (
    "numpy",
    "sklearn.datasets",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.neighbors",
    "sklearn.svm",
    "optuna",
)

service = Service()


@service.preload
def preload() -> None:
    """Import the heavy libraries now (a second or two): in a fork server, so that its workers have them at once.

    Raises:
        MissingExtra: they are not installed.
    """
    extras.require("optimize_model", "Optuna and scikit-learn", _MODULES)


@service.command(idempotent=True)
def optimize_model(
    iterations: Annotated[int, Meta(ge=1, le=MAX_ITERATIONS)] = 50,
    data: list[dict[Any, Any]] | str | None = None,
    target: str | None = None,
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] = 0,
    *,
    context: Context,
) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Find the estimator and the parameters that predict a column of the rows best. Streams each trial's score.

    Args:
        iterations: trials to run, exactly so many; a choice that was tried before keeps its score and is not fitted again.
        data: rows (maps of column names to numbers or texts), or a bundled data set: iris (the default), wine,
            breast_cancer, digits, diabetes.
        target: the column to predict; without it "target", "label" or "y", or else the last one.
        seed: what the search draws its chances from; the same gives the same result.
        context: the request.

    Returns:
        `best_score` by `metric` (the mean accuracy of three folds, or R² where the target is a quantity), `estimator`,
        `best_params`, `iterations`, `rows` searched on of `rows_given`, `features` and `seconds`.
    """
    began = time.perf_counter()
    preload()
    table = read_table("optimize_model", "iris" if data is None else data, target, context.check_cancelled)
    search = _Search(table, seed, context)
    for number in range(1, iterations + 1):
        context.check_cancelled()
        score = search.run_trial()
        yield {
            "progress": number / iterations,
            "iteration": number,
            "iterations": iterations,
            "score": score,
            "best_score": search.best_score,
        }
    return {
        "best_score": search.best_score,
        "best_params": search.best_params,
        "estimator": search.best_estimator,
        "metric": search.metric,
        "iterations": iterations,
        "rows": search.rows,
        "rows_given": table.rows,
        "features": table.columns,
        "seconds": time.perf_counter() - began,
    }


class _Search:
    """A search that goes on: what is tried, on which folds, and the best so far."""

    def __init__(self, table: Table, seed: int, context: Context) -> None:
        self._seed = seed
        self._context = context
        self._study = _study(seed)
        self._scores: dict[tuple[Any, ...], float] = {}
        self.metric = "r2" if table.classes is None else "accuracy"
        self.best_score: float | None = None
        self.best_estimator = ""
        self.best_params: dict[str, Any] = {}
        sample = _sample(table, seed)
        self.rows = len(sample)
        self._folds = _folds(table, sample, seed)
        width = table.features.shape[1]
        self._candidates = {found.name: found for found in candidates(self.rows, width, len(table.classes or ()))}

    def run_trial(self) -> float:
        """Try one estimator with one set of parameters, and return its score."""
        trial = self._study.ask()
        estimator = self._candidates[trial.suggest_categorical("estimator", tuple(self._candidates))]
        params = estimator.suggest(trial, min(len(fold[1]) for fold in self._folds))
        key = (estimator.name, *params.values())
        if key not in self._scores:  # the same again would score the same: the sampler comes back to what was good
            self._scores[key] = self._score(estimator, params)
        score = self._scores[key]
        self._study.tell(trial, score)
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_estimator, self.best_params = score, estimator.name, params
        return score

    def _score(self, estimator: Estimator, params: dict[str, Any]) -> float:
        metrics = library("sklearn.metrics")
        measure = metrics.r2_score if self.metric == "r2" else metrics.accuracy_score
        total = 0.0
        for train, train_target, test, test_target in self._folds:
            self._context.check_cancelled()
            with warnings.catch_warnings():  # that a bad choice of parameters does not converge is no news
                warnings.simplefilter("ignore")
                model = estimator.build(params, self._seed).fit(train, train_target)
                total += float(measure(test_target, model.predict(test)))
        return total / len(self._folds)


def _study(seed: int) -> Any:
    optuna = library("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # a line for each trial, otherwise
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))


def _sample(table: Table, seed: int) -> Indices:
    if table.rows <= SEARCH_ROWS + len(table.classes or ()):  # of each class one row has to be left over
        return library("numpy").arange(table.rows)
    return split(table, SEARCH_ROWS, seed)[1]


def _folds(table: Table, sample: Indices, seed: int) -> list[tuple[Any, Any, Any, Any]]:
    """Cut the sample into folds: (train, its target, test, its target), features scaled by what is trained on."""
    selection = library("sklearn.model_selection")
    kind = selection.KFold if table.classes is None else selection.StratifiedKFold
    features, target = table.features[sample], table.target[sample]
    folds: list[tuple[Any, Any, Any, Any]] = []
    with warnings.catch_warnings():  # a class that the sample left with fewer rows than folds
        warnings.simplefilter("ignore")
        for train, test in kind(FOLDS, shuffle=True, random_state=seed).split(features, target):
            mean, deviation = features[train].mean(axis=0), features[train].std(axis=0)
            deviation[deviation == 0] = 1.0
            scaled = (features - mean) / deviation
            folds.append((scaled[train], target[train], scaled[test], target[test]))
    return folds
