"""The list of scenarios, and how parameters are read from a command line."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from maitred.benchmarks.scenarios.common import Parameters, Runner

__all__ = ["SCENARIOS", "Scenario", "UnknownScenario", "load", "parameters"]

SCENARIOS = (
    "latency", "rate", "throughput", "cpu", "payload", "stream", "saturation", "returns", "fairness", "depth", "failover",
    "startup", "memory",
)  # fmt: skip
"""In the order in which `all` runs them; each is a module beside this one."""

DEFAULT_OURS = "maitred"
"""Measured by a scenario without an `OURS` of its own."""


class UnknownScenario(ValueError):
    """No scenario has this name, or it has no such parameter; the text says what there is."""


class Scenario(Struct, frozen=True):
    """One scenario.

    Attributes:
        name: its module's.
        question: what it answers, a sentence.
        parameters: the class of its parameters, all with defaults.
        long: what a long run changes in them.
        run: measures.
        ours: which of maitred's clients it is about where nobody says, as `--ours` takes them.
    """

    name: str
    question: str
    parameters: type[Parameters]
    long: dict[str, Any]
    run: Runner
    ours: str


def load(name: str) -> Scenario:
    """A scenario by its name.

    Raises:
        UnknownScenario: there is none.
    """
    if name not in SCENARIOS:
        raise UnknownScenario(f"no scenario is called {name!r}; there are {', '.join(SCENARIOS)}, and all")
    module: Any = importlib.import_module(f"maitred.benchmarks.scenarios.{name}")
    question = str(module.__doc__).partition("\n")[0]
    return Scenario(name, question, module.Parameters, module.LONG, module.run, getattr(module, "OURS", DEFAULT_OURS))


def parameters(scenario: Scenario, given: Mapping[str, str], *, long: bool = False) -> Parameters:
    """A scenario's parameters.

    Args:
        scenario: whose.
        given: by name, as text; several values with commas between.
        long: whether to begin with those of a long run.

    Raises:
        UnknownScenario: it has no such parameter, or the value is not of its type.
    """
    kinds = get_type_hints(scenario.parameters)
    unknown = [name for name in given if name not in kinds]
    if unknown:
        raise UnknownScenario(f"{scenario.name} has no parameter {unknown[0]!r}; it has {', '.join(kinds)}")
    values = {**(scenario.long if long else {}), **{name: _split(kinds[name], text) for name, text in given.items()}}
    try:
        return msgspec.convert(values, scenario.parameters, strict=False)
    except msgspec.ValidationError as error:
        raise UnknownScenario(f"{scenario.name}: {error}") from None


def _split(kind: Any, text: str) -> Any:
    return [part.strip() for part in text.split(",")] if get_origin(kind) is tuple else text
