"""`payload`: the allocator's settings, and a tiny run with bytes and arrays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from maitred.benchmarks.method.allocator import MMAP_THRESHOLD_BYTES, tuned
from maitred.benchmarks.scenarios import payload
from maitred.benchmarks.subjects.registry import chosen

TRIM, MMAP = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"


def test_processes_that_start_within_are_told_and_later_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRIM, "4096")
    monkeypatch.delenv(MMAP, raising=False)
    with tuned(False) as is_tuned:
        assert (is_tuned, MMAP in os.environ) == (False, False)
    with tuned():
        assert os.environ[MMAP] == str(MMAP_THRESHOLD_BYTES)
        assert os.environ[TRIM] != "4096"
    assert MMAP not in os.environ
    assert os.environ[TRIM] == "4096"


ALLOCATE = """
import resource
from maitred.benchmarks.method.allocator import tuned
with tuned({wanted}) as is_tuned:
    if {wanted} and not is_tuned:
        raise SystemExit("not tunable")
    for _ in range(50):
        bytearray(8 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.slow
def test_a_tuned_process_keeps_its_memory() -> None:
    def faults(wanted: bool, environment: dict[str, str]) -> int:
        done = subprocess.run(
            [sys.executable, "-c", ALLOCATE.format(wanted=wanted)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        if "not tunable" in done.stderr:
            pytest.skip("this system's allocator is not glibc's")
        return int(done.stdout)

    kept = faults(True, {})
    returned = faults(False, {MMAP: "131072", TRIM: "131072"})  # else glibc adapts after the first
    assert returned > 2 * kept


@pytest.mark.slow
def test_bytes_and_arrays_come_back_at_every_size() -> None:
    parameters = payload.Parameters(rounds=1, payload_bytes=(128, 65536, 1 << 20), requests=5, block_bytes=4 << 20)
    found = payload.run(chosen("maitred", "zmq-direct"), parameters, lambda _: None)
    seen = [(it.subject, it.setting["kind"], it.setting["payload_bytes"]) for it in found.measurements]
    sizes = (128, 65536, 1 << 20)
    assert seen == [
        *((name, "bytes", size) for size in sizes for name in ("maitred", "zmq-direct")),
        *(("maitred", "array", size) for size in sizes),
    ]
    assert not any(it.failures or it.void for it in found.measurements)
    assert all(it.values["moved_bytes_per_s"] > 0 for it in found.measurements)
    assert found.notes == ["zmq-direct carries no arrays: measured with bytes only."]
    assert {(it.subject, it.baseline) for it in found.comparisons} == {("maitred", "zmq-direct")}
