"""A search for the estimator that predicts best: Optuna proposes, scikit-learn tries. It can go on elsewhere.

Knows nothing of requests or sessions: `maitred.worker.adapters.optimizer` serves those.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from maitred.worker.adapters.carried import bring_table, carry_table
from maitred.worker.adapters.estimators import Estimator, candidates
from maitred.worker.adapters.extras import library
from maitred.worker.adapters.tables import Table, split

if TYPE_CHECKING:
    from maitred.worker.adapters.tables import Indices

__all__ = ["MAX_SEED", "Search"]

MAX_SEED = 2**32 - 1
"""What NumPy takes for a seed."""

SEARCH_ROWS = 1000
"""Rows that the trials use at most, a seeded sample of them where there are more: a trial stays below 0.2 s."""

FOLDS = 3
"""Parts of the cross-validation: each is tested once by what was trained on the others."""


class Search:
    """A search that goes on: what is tried, on which folds, and the best so far.

    Args:
        table: the rows.
        source: the name of the bundled data set that they are, None where they were sent.
        seed: what it draws its chances from.

    Attributes:
        metric: what a score is.
        rows: those that are searched on.
        trials: how many were made.
        best_score, best_estimator, best_params: the best so far.
    """

    def __init__(self, table: Table, source: str | None, seed: int) -> None:
        self.table, self.source, self.seed = table, source, seed
        self._study = _new_study(seed)
        self.trials = 0
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

    def run_trial(self, check: Callable[[], None]) -> float:
        """Try one estimator with one set of parameters, and return its score.

        Args:
            check: called before each fold: the caller may raise from it.
        """
        trial = self._study.ask()
        estimator = self._candidates[trial.suggest_categorical("estimator", tuple(self._candidates))]
        params = estimator.suggest(trial, min(len(fold[1]) for fold in self._folds))
        key = (estimator.name, *params.values())
        if key not in self._scores:  # the same again would score the same: the sampler comes back to what was good
            self._scores[key] = self._score(estimator, params, check)
        score = self._scores[key]
        self._study.tell(trial, score)
        self.trials += 1
        self._note(score, estimator.name, params)
        return score

    def _note(self, score: float, estimator: str, params: dict[str, Any]) -> None:
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_estimator, self.best_params = score, estimator, params

    def _score(self, estimator: Estimator, params: dict[str, Any], check: Callable[[], None]) -> float:
        metrics = library("sklearn.metrics")
        measure = metrics.r2_score if self.metric == "r2" else metrics.accuracy_score
        total = 0.0
        for train, train_target, test, test_target in self._folds:
            check()
            with warnings.catch_warnings():  # that a bad choice of parameters does not converge is no news
                warnings.simplefilter("ignore")
                model = estimator.build(params, self.seed).fit(train, train_target)
                total += float(measure(test_target, model.predict(test)))
        return total / len(self._folds)

    # --- from one process to the next ---

    def carry(self) -> dict[str, Any]:
        """All that goes on from here, as a value that can be sent: the study as its finished trials, one by one."""
        to_json = library("optuna").distributions.distribution_to_json
        finished = [trial for trial in self._study.trials if trial.value is not None]
        axes = {name: to_json(axis) for trial in finished for name, axis in trial.distributions.items()}
        return {
            "table": carry_table(self.table, self.source),
            "source": self.source,
            "seed": self.seed,
            "axes": axes,
            "trials": [(trial.params, trial.value) for trial in finished],
            "scores": [(*key, score) for key, score in self._scores.items()],
            "best": (self.best_score, self.best_estimator, self.best_params),
        }

    @classmethod
    def bring(cls, value: dict[str, Any]) -> Search:
        """The search that it was, with all that its study knows; its chances are drawn anew."""
        optuna = library("optuna")
        search = cls(bring_table("optimize_model", value["table"]), value["source"], value["seed"])
        search._study = _new_study((value["seed"] + len(value["trials"])) % (MAX_SEED + 1))
        axes = {name: optuna.distributions.json_to_distribution(axis) for name, axis in value["axes"].items()}
        for params, score in value["trials"]:
            used = {name: axes[name] for name in params}
            search._study.add_trial(optuna.trial.create_trial(params=params, distributions=used, value=score))
        search.trials = len(value["trials"])
        search._scores = {tuple(key): score for *key, score in value["scores"]}
        search.best_score, search.best_estimator, search.best_params = value["best"]
        return search


def _new_study(seed: int) -> Any:
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
