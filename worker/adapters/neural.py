"""Training of a small neural network on the caller's rows, in batches; each epoch is streamed.

In a session the network stays: training again goes on from its weights, `predict` uses it, and it moves with the session.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator
from typing import Annotated, Any

from msgspec import Meta

from maitred.worker import Context, Service, Session
from maitred.worker.adapters import extras
from maitred.worker.adapters.carried import same_table
from maitred.worker.adapters.columns import encode_rows, refusal
from maitred.worker.adapters.extras import library
from maitred.worker.adapters.gpu import UsedGpu
from maitred.worker.adapters.tables import read_table
from maitred.worker.adapters.training import Settings, Training

__all__ = ["predict", "preload", "service", "train_model"]

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

TRAINING = "training"
"""Where a session's state has its network."""

_MODULES = ("numpy", "sklearn.datasets", "sklearn.metrics", "sklearn.model_selection", "sklearn.neural_network")

service = Service()
_gpu = UsedGpu()

service.startup(_gpu.look)
service.health_check(_gpu.check)


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
    hidden: Annotated[tuple[Annotated[int, Meta(ge=1, le=MAX_UNITS)], ...], Meta(max_length=MAX_LAYERS)] | None = None,
    learning_rate: Annotated[float, Meta(gt=0, le=10)] | None = None,
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] | None = None,
    *,
    context: Context,
) -> Generator[dict[str, Any], None, dict[str, Any]]:
    """Train a network to predict a column of the rows, and test it on a fifth of them. Streams each epoch's loss.

    In a session it goes on with the network that it has; what is not said stays as it was, and what is said of rows,
    layers and seed has to fit.

    Args:
        epochs: how many times it sees every row.
        batch_size: rows it learns from at once.
        data: rows (maps of column names to numbers or texts), or a bundled data set: digits (the default), iris, wine,
            breast_cancer, diabetes. In a session other rows may follow, of the same columns and classes.
        target: the column to predict; without it "target", "label" or "y", or else the last one.
        hidden: units of each hidden layer, one of 64 by default; none makes it a linear model.
        learning_rate: of Adam, 0.001 by default.
        seed: what the split, the first weights and the order of rows are drawn from, 0 by default.
        context: the request.

    Returns:
        `accuracy` (or `r2`, where the target is a quantity) on rows it never saw, the last epoch's `loss`, `epochs` of
        this request and `epochs_in_all`, `backend`, `device`, `rows_train`, `rows_test`, `parameters` and `seconds`.
    """
    began = time.perf_counter()
    preload()
    training = _training(context, data, target, hidden, seed, learning_rate, batch_size)
    loss, score = math.nan, math.nan
    for epoch in range(1, epochs + 1):
        loss = training.run_epoch(context.check_cancelled)
        score = training.score()
        if context.session is not None:
            context.session.state[TRAINING] = training  # not before its first epoch: there is nothing to keep of it
        yield {"progress": epoch / epochs, "epoch": epoch, "epochs": epochs, "loss": loss, training.metric: score}
    return {
        training.metric: score,
        "loss": loss,
        "epochs": epochs,
        "epochs_in_all": training.epochs,
        "backend": training.backend.name,
        "device": training.backend.device,
        "rows_train": training.rows_train,
        "rows_test": training.table.rows - training.rows_train,
        "parameters": training.backend.parameters,
        "seconds": time.perf_counter() - began,
    }


@service.command(idempotent=True)
def predict(data: list[dict[Any, Any]] | str, *, context: Context) -> dict[str, Any]:
    """Predict the target of rows by the network that this session has trained.

    Args:
        data: rows with the columns that it was trained on (others are not looked at), or the bundled data set that it
            was trained on, by its name.
        context: the request.

    Returns:
        `predictions`, one for each row: the name of a class, or a quantity; and `epochs_in_all`.
    """
    training = _kept(context)
    if training is None:
        raise refusal("predict", "session", "there is no model: call train_model in this session first")
    preload()
    if isinstance(data, str):
        table = read_table("predict", data, None, context.check_cancelled)
        if table.encoding != training.table.encoding:
            raise refusal("predict", "data", f"the model was trained on other columns than those of {data!r}")
        features = table.features
    else:
        features = encode_rows("predict", data, training.table.encoding)
    return {"predictions": training.predict(features), "epochs_in_all": training.epochs}


@service.snapshot(interval="1s")
def snapshot(session: Session) -> dict[str, Any] | None:
    """The network, the rows it learns from, and what Adam knows."""
    training: Training | None = session.state.get(TRAINING)
    return None if training is None else training.carry()


@service.restore
def restore(session: Session, value: dict[str, Any]) -> None:
    """Go on with it here."""
    preload()
    session.state[TRAINING] = Training.bring(value)


def _kept(context: Context) -> Training | None:
    return None if context.session is None else context.session.state.get(TRAINING)


def _training(
    context: Context,
    data: list[dict[Any, Any]] | str | None,
    target: str | None,
    hidden: tuple[int, ...] | None,
    seed: int | None,
    learning_rate: float | None,
    batch_size: int,
) -> Training:
    """The session's network, or a new one."""
    kept = _kept(context)
    if kept is None:
        data = "digits" if data is None else data
        table = read_table("train_model", data, target, context.check_cancelled)
        settings = Settings((64,) if hidden is None else hidden, learning_rate or 1e-3, batch_size, seed or 0)
        return Training(table, data if isinstance(data, str) else None, settings)
    _refuse_another("hidden", hidden, kept.settings.hidden)
    _refuse_another("seed", seed, kept.settings.seed)
    if data is not None and not (isinstance(data, str) and data == kept.source):
        _take_rows(kept, data, target, context.check_cancelled)
    kept.pace(batch_size, learning_rate)
    return kept


def _take_rows(
    training: Training, data: list[dict[Any, Any]] | str, target: str | None, check: Callable[[], None]
) -> None:
    table, kept = read_table("train_model", data, target, check), training.table
    if (table.encoding, table.classes) != (kept.encoding, kept.classes):
        reason = "this session's model has other columns or classes; open another session for another model"
        raise refusal("train_model", "data", reason)
    if not same_table(table, kept):
        training.take_rows(table, data if isinstance(data, str) else None)


def _refuse_another(argument: str, value: Any, kept: Any) -> None:
    if value is not None and value != kept:
        reason = f"this session's model was made with {kept!r}; leave it out, or open another session"
        raise refusal("train_model", argument, reason)
