"""The examples run. What the README and the pages show `tests/docs` runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@contextmanager
def house(directory: Path, *words: str) -> Generator[dict[str, str]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAITRED_")}
    environment["MAITRED_RUN_DIR"] = str(directory / "run")
    addresses = ("clients=tcp://127.0.0.1:0", "workers=tcp://127.0.0.1:0", "http=127.0.0.1:0")
    any_port = [word for address in addresses for word in ("--set", f"broker.{address}")]
    process = subprocess.Popen(
        [sys.executable, "-m", "maitred.cli", *any_port, *words, "up"],
        cwd=directory, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        yield environment
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def run(script: Path, environment: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_run(tmp_path: Path) -> None:
    with house(tmp_path, "-c", str(ROOT / "examples" / "maitred.toml")) as environment:
        said = run(ROOT / "examples" / "ask_sentiment.py", environment)
    assert "expected str, got int" in said


def test_the_tour(tmp_path: Path) -> None:
    pytest.importorskip("optuna", reason="the tour needs maitred[ml]")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "tour.py"), "20"], capture_output=True, text=True, timeout=58
    )
    assert done.returncode == 0, done.stderr
    assert "Hello from Python" in done.stdout
    assert "best score" in done.stdout
    assert "accuracy on held-out rows" in done.stdout
