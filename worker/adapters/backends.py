"""Networks that learn from batches, one interface: PyTorch where it is installed, scikit-learn elsewhere.

Neither knows of epochs, shuffling or requests: `maitred.worker.adapters.neural` drives them.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from maitred.worker.adapters.carried import writable
from maitred.worker.adapters.extras import library

if TYPE_CHECKING:
    from maitred.worker.adapters.tables import Floats, Indices

__all__ = ["GPU", "Backend", "Problem", "SklearnBackend", "TorchBackend", "choose"]

GPU = "cuda:0"
"""The first one that `CUDA_VISIBLE_DEVICES` leaves, as PyTorch calls it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a network is made for.

    Attributes:
        features: what it learns from, standardised: rows x columns.
        target: class numbers, or a standardised quantity; one for each row.
        classes: how many; 0 where the target is a quantity.
        hidden: units of each hidden layer.
        learning_rate: of Adam.
        batch_size: rows of a batch at most.
        seed: what the first weights are drawn from.
    """

    features: Floats
    target: Any
    classes: int
    hidden: tuple[int, ...]
    learning_rate: float
    batch_size: int
    seed: int


class Backend(Protocol):
    """One network. `name` and `device` are for the result."""

    name: str
    device: str

    @property
    def parameters(self) -> int:
        """How many weights it learns; known after the first step."""
        ...

    def step(self, rows: Indices) -> float:
        """Learn from these rows of the problem once; returns their loss before it.

        The loss is the mean cross-entropy of a class, or half the mean squared error of a quantity.
        """
        ...

    def predict(self, features: Floats) -> Any:
        """Class numbers, or the standardised quantity, one for each row."""
        ...

    def take(self, problem: Problem) -> None:
        """Learn from other rows of as many columns and classes; what was learnt stays."""
        ...

    def pace(self, batch_size: int, learning_rate: float) -> None:
        """Take other batches, and other steps."""
        ...

    def carry(self) -> dict[str, Any]:
        """What was learnt, and what Adam knows, as arrays; after the first step."""
        ...

    def bring(self, value: dict[str, Any]) -> None:
        """Go on from a value of `carry`."""
        ...


def choose(problem: Problem) -> Backend:
    """The best network that is installed."""
    try:
        library("torch")
    except ModuleNotFoundError:
        return SklearnBackend(problem)
    return TorchBackend(problem)


class SklearnBackend:
    """scikit-learn's multi-layer perceptron, one `partial_fit` for each batch."""

    name = "scikit-learn"
    device = "cpu"

    def __init__(self, problem: Problem) -> None:
        networks = library("sklearn.neural_network")
        kind = networks.MLPClassifier if problem.classes else networks.MLPRegressor
        self._problem = problem
        self._all = {"classes": library("numpy").arange(problem.classes)} if problem.classes else {}
        self._network: Any = kind(
            hidden_layer_sizes=problem.hidden,
            learning_rate_init=problem.learning_rate,
            batch_size=problem.batch_size,  # it would cut larger batches in two by itself
            alpha=0.0,  # no penalty on weights, so that the loss is the one that PyTorch has
            random_state=problem.seed,
        )

    @property
    def parameters(self) -> int:
        """How many weights it learns; known after the first step."""
        return sum(int(weights.size) for weights in (*self._network.coefs_, *self._network.intercepts_))

    def step(self, rows: Indices) -> float:
        """Learn from these rows once; returns their loss before it."""
        with warnings.catch_warnings():  # that the last batch of an epoch is smaller than the others
            warnings.simplefilter("ignore")
            self._network.partial_fit(self._problem.features[rows], self._problem.target[rows], **self._all)
        return float(self._network.loss_)

    def predict(self, features: Floats) -> Any:
        """Class numbers, or the standardised quantity."""
        return self._network.predict(features)

    def take(self, problem: Problem) -> None:
        """Learn from other rows."""
        self._problem = problem

    def pace(self, batch_size: int, learning_rate: float) -> None:
        """Take other batches, and other steps."""
        self._network.set_params(batch_size=batch_size, learning_rate_init=learning_rate)
        if hasattr(self._network, "_optimizer"):
            self._network._optimizer.learning_rate_init = learning_rate

    def carry(self) -> dict[str, Any]:
        """What was learnt. Of scikit-learn's own objects only their arrays and counts: an estimator itself takes pickle."""
        network = self._network
        adam = network._optimizer
        return {
            "weights": [*network.coefs_, *network.intercepts_],
            "adam": {"t": adam.t, "ms": adam.ms, "vs": adam.vs},
            "loss": float(network.loss_),
            "steps": int(network.t_),
        }

    def bring(self, value: dict[str, Any]) -> None:
        """Go on from a value of `carry`: one step makes all that scikit-learn needs, then its arrays are replaced."""
        self.step(library("numpy").arange(min(len(self._problem.target), self._problem.batch_size)))
        network = self._network
        for weights, learnt in zip((*network.coefs_, *network.intercepts_), value["weights"], strict=True):
            weights[...] = learnt
        adam = network._optimizer
        adam.t = value["adam"]["t"]
        adam.ms = [writable(each) for each in value["adam"]["ms"]]
        adam.vs = [writable(each) for each in value["adam"]["vs"]]
        network.loss_, network.t_ = value["loss"], value["steps"]


class TorchBackend:
    """PyTorch, on the GPU where there is one, or else on the processor; all rows lie there."""

    name = "torch"

    def __init__(self, problem: Problem) -> None:
        torch = self._torch = library("torch")
        self.device = GPU if torch.cuda.is_available() else "cpu"
        torch.manual_seed(problem.seed)
        self._classes = problem.classes
        widths = (problem.features.shape[1], *problem.hidden, problem.classes or 1)
        layers: list[Any] = []
        for width, following in itertools.pairwise(widths):
            layers += [torch.nn.Linear(width, following), torch.nn.ReLU()]
        self._network = torch.nn.Sequential(*layers[:-1]).to(self.device)
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=problem.learning_rate)
        self.take(problem)

    @property
    def parameters(self) -> int:
        """How many weights it learns."""
        return sum(int(weights.numel()) for weights in self._network.parameters())

    def step(self, rows: Indices) -> float:
        """Learn from these rows once; returns their loss before it."""
        chosen = self._tensor(rows, self._torch.int64)
        loss = self._loss(self._network(self._features[chosen]), self._target[chosen])
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return float(loss.item())

    def predict(self, features: Floats) -> Any:
        """Class numbers, or the standardised quantity."""
        with self._torch.no_grad():
            found = self._network(self._tensor(features, self._torch.float32))
        found = found.argmax(dim=1) if self._classes else found.squeeze(1)
        return found.cpu().numpy()

    def take(self, problem: Problem) -> None:
        """Learn from other rows."""
        torch = self._torch
        self._features = self._tensor(problem.features, torch.float32)
        self._target = self._tensor(problem.target, torch.int64 if problem.classes else torch.float32)

    def pace(self, batch_size: int, learning_rate: float) -> None:
        """Take other steps; its batches are those that it is given."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate

    def carry(self) -> dict[str, Any]:
        """What was learnt, as arrays, in the order of the network's layers."""
        return {
            "weights": [weights.detach().cpu().numpy() for weights in self._network.parameters()],
            "adam": [
                {name: moment.detach().cpu().numpy() for name, moment in self._optimizer.state[weights].items()}
                for weights in self._network.parameters()
            ],
        }

    def bring(self, value: dict[str, Any]) -> None:
        """Go on from a value of `carry`."""
        torch = self._torch
        with torch.no_grad():
            for weights, learnt in zip(self._network.parameters(), value["weights"], strict=True):
                weights.copy_(torch.as_tensor(writable(learnt)))
        for weights, moments in zip(self._network.parameters(), value["adam"], strict=True):
            self._optimizer.state[weights] = {
                # Adam keeps its count on the processor, wherever the weights are
                name: torch.as_tensor(writable(moment), device="cpu" if name == "step" else self.device)
                for name, moment in moments.items()
            }

    def _loss(self, found: Any, target: Any) -> Any:
        functional = self._torch.nn.functional
        if self._classes:
            return functional.cross_entropy(found, target)
        return functional.mse_loss(found.squeeze(1), target) / 2

    def _tensor(self, values: Any, kind: Any) -> Any:
        return self._torch.as_tensor(values, dtype=kind, device=self.device)
