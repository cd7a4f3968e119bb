"""Hyperparameter search: Optuna proposes an estimator and its parameters, scikit-learn tries them on the caller's rows.

In a session the search stays: searching again adds to the trials that were made, and they move with the session.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Annotated, Any

from msgspec import Meta

from maitred.worker import Context, Service, Session
from maitred.worker.adapters import extras
from maitred.worker.adapters.carried import same_table
from maitred.worker.adapters.columns import refusal
from maitred.worker.adapters.search import MAX_SEED, Search
from maitred.worker.adapters.tables import read_table

__all__ = ["optimize_model", "preload", "service"]

MAX_ITERATIONS = 100_000
"""Trials of one request at most."""

SEARCH = "search"
"""Where a session's state has its search."""

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
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] | None = None,
    *,
    context: Context,
) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Find the estimator and the parameters that predict a column of the rows best. Streams each trial's score.

    In a session it goes on with the search that it has made so far; what is said of rows and seed has to be the same.

    Args:
        iterations: trials to run, exactly so many; a choice that was tried before keeps its score and is not fitted again.
        data: rows (maps of column names to numbers or texts), or a bundled data set: iris (the default), wine,
            breast_cancer, digits, diabetes.
        target: the column to predict; without it "target", "label" or "y", or else the last one.
        seed: what the search draws its chances from; the same gives the same result. 0 by default.
        context: the request.

    Returns:
        `best_score` by `metric` (the mean accuracy of three folds, or R² where the target is a quantity), `estimator`,
        `best_params`, `iterations` of this request and `iterations_in_all`, `rows` searched on of `rows_given`,
        `features` and `seconds`.
    """
    began = time.perf_counter()
    preload()
    search = _search(context, data, target, seed)
    for number in range(1, iterations + 1):
        context.check_cancelled()
        score = search.run_trial(context.check_cancelled)
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
        "iterations_in_all": search.trials,
        "rows": search.rows,
        "rows_given": search.table.rows,
        "features": search.table.columns,
        "seconds": time.perf_counter() - began,
    }


@service.snapshot(interval="1s")
def snapshot(session: Session) -> dict[str, Any] | None:
    """The search, with all its trials, and the rows it searches on."""
    search: Search | None = session.state.get(SEARCH)
    return None if search is None else search.carry()


@service.restore
def restore(session: Session, value: dict[str, Any]) -> None:
    """Go on with it here."""
    preload()
    session.state[SEARCH] = Search.bring(value)


def _search(context: Context, data: list[dict[Any, Any]] | str | None, target: str | None, seed: int | None) -> Search:
    """The session's search, or a new one."""
    session = context.session
    kept: Search | None = None if session is None else session.state.get(SEARCH)
    if kept is None:
        data = "iris" if data is None else data
        table = read_table("optimize_model", data, target, context.check_cancelled)
        search = Search(table, data if isinstance(data, str) else None, seed or 0)
        if session is not None:
            session.state[SEARCH] = search
        return search
    if seed not in (None, kept.seed):
        reason = f"this session's search has the seed {kept.seed}; leave it out, or open another session"
        raise refusal("optimize_model", "seed", reason)
    if data is not None and data != kept.source:
        table = read_table("optimize_model", data, target, context.check_cancelled)
        if not same_table(table, kept.table):
            reason = "this session's search is on other rows, whose scores do not compare; open another session"
            raise refusal("optimize_model", "data", reason)
    return kept
