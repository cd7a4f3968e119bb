"""Whatever reads bytes from outside, on bytes that nobody would write: nothing but what is documented is raised.

The seeds alone run everywhere; from them on atheris explores, where it is installed (`pip install '.[fuzz]'`). By hand, and
for longer: `make fuzz RUNS=1000000`, for each harness.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harnesses import HARNESSES, clean_up
from seeds import seeds, write

RUNS = {
    "from_client": 15_000,
    "to_client": 15_000,
    "from_worker": 15_000,
    "to_worker": 15_000,
    "bundle": 15_000,
    "body": 15_000,
    "majordomo": 5_000,
    "zap": 5_000,
    "configuration": 500,
    "authorisation": 3_000,
    "key": 3_000,
}
"""At least 100,000 together; a configuration takes 3 ms."""

SLOW_S = 0.5
"""Of one seed: none takes a hundredth of it."""


@pytest.fixture(params=list(HARNESSES))
def harness(request: pytest.FixtureRequest) -> str:
    return request.param


def test_every_seed_is_read_or_refused(harness: str) -> None:
    found = seeds(harness)
    assert found
    for seed in found:
        for data in (seed, seed[: len(seed) // 2], seed[1:], seed + seed, seed.replace(b"\x00", b"\xff")):
            began = time.perf_counter()
            HARNESSES[harness](data)
            assert time.perf_counter() - began < SLOW_S
    clean_up()


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not installed: pip install '.[fuzz]'"
)
def test_what_is_explored_is_read_or_refused(harness: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write(corpus, harness)
    runs = RUNS[harness]
    command = [
        sys.executable, str(Path(__file__).with_name("fuzz.py")), harness, str(corpus),
        f"-runs={runs}", "-seed=1", "-max_len=4096", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    (executed,) = re.findall(r"number_of_executed_units: (\d+)", done.stderr)
    assert int(executed) >= runs
