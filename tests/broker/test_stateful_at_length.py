"""The state machines of the core's tests with many more examples, other ones each time: for the long runs."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

MACHINES = {
    "test_core_stateful": "CoreMachine",
    "test_core_fleet_stateful": "FleetMachine",
    "test_core_sessions_stateful": "SessionMachine",
    "test_core_principals_stateful": "PrincipalsMachine",
    "test_majordomo_stateful": "MajordomoMachine",
}
EXAMPLES = 1000


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("module", MACHINES)
def test_nothing_is_found(module: str) -> None:
    machine: Any = getattr(importlib.import_module(module), MACHINES[module])
    wanted = settings(max_examples=EXAMPLES, stateful_step_count=60, deadline=None)
    run_state_machine_as_test(machine, settings=wanted)
