"""`startup`: one cold start of `maitred up` and of a peer, and what is said where it cannot start."""

from __future__ import annotations

import pytest

from maitred.benchmarks.scenarios import startup
from maitred.benchmarks.scenarios.cold_start import cold_start
from maitred.benchmarks.subjects.protocol import StartError
from maitred.benchmarks.subjects.registry import chosen


@pytest.mark.slow
def test_a_start_is_timed_part_by_part() -> None:
    parameters = startup.Parameters(rounds=1, clients=2, adapters=("echo",), kills=1)
    found = startup.run(chosen(peers="zmq-proxy,zmq-direct"), parameters, lambda _: None)
    rows = {(it.subject, it.setting["part"]): it.latency for it in found.measurements}
    assert {it.count for it in rows.values() if it is not None} == {1, 2}
    listens, replies = rows["maitred", "maitred up to listening"], rows["maitred", "maitred up to first reply"]
    assert listens is not None
    assert replies is not None
    assert replies.min_us > listens.min_us
    assert ("zmq-proxy", "new client to first reply") in rows
    assert ("zmq-direct", "new client to first reply") not in rows
    assert any("zmq-direct: no new client" in note for note in found.notes)
    assert found.subjects.keys() == {"maitred", "zmq-proxy", "zmq-direct"}


@pytest.mark.slow
def test_what_does_not_start_says_why() -> None:
    with pytest.raises(StartError, match="no_such_module"):
        cold_start("no_such_module:service")


def test_every_adapter_of_the_parameters_is_there() -> None:
    for adapter, _ in startup.ADAPTERS.values():
        module, _, attribute = adapter.partition(":")
        imported = pytest.importorskip(module)
        assert "echo" in getattr(imported, attribute).commands
