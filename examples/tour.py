"""A tour of a running house: `make demo`, or `python examples/tour.py`.

Starts `maitred up` with the three default pools, calls each of them, says how long an echo takes, and ends everything.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from maitred.client import Client

ECHOES = 1000


@contextmanager
def a_house() -> Iterator[None]:
    """Run `maitred up` beside whatever else runs here: in a directory of its own, on free ports."""
    with tempfile.TemporaryDirectory(prefix="maitred-") as directory:
        os.environ["MAITRED_RUN_DIR"] = directory
        addresses = ("clients=tcp://127.0.0.1:0", "workers=tcp://127.0.0.1:0", "http=127.0.0.1:0")
        any_port = [word for address in addresses for word in ("--set", f"broker.{address}")]
        command = [sys.executable, "-m", "maitred.cli", "-l", "warning", *any_port, "up"]
        house = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert house.stdout is not None
        ready = house.stdout.readline()
        if not ready:
            sys.exit("maitred up did not start; what it said is above")
        print(ready.strip())
        try:
            yield
        finally:
            house.send_signal(signal.SIGTERM)
            code = house.wait(60)
            print(f"maitred up ended with exit code {code}")
        if code:
            sys.exit(code)


def rows() -> list[dict[str, Any]]:
    """A small table with a pattern in it."""
    draw = random.Random(7)
    points = [(draw.uniform(-1, 1), draw.uniform(-1, 1)) for _ in range(120)]
    return [{"x": x, "y": y, "inside": x * x + y * y < 0.5} for x, y in points]


def echo(client: Client) -> None:
    """The smallest call, and what one costs."""
    print("\ngeneral / echo")
    print("  ", client.execute("general", "echo", {"message": "Hello from Python"}))
    times: list[float] = []
    for _ in range(ECHOES):
        began = time.perf_counter()
        client.execute("general", "echo", {"message": "Hello from Python"})
        times.append(time.perf_counter() - began)
    print(f"   p50 of {ECHOES} calls, one at a time: {statistics.median(times) * 1e6:.0f} µs")


def optimise(client: Client, iterations: int) -> None:
    """A search that reports its progress."""
    print(f"\noptimizer / optimize_model, {iterations} iterations")
    result: Any = None
    shown = 0.0
    args = {"iterations": iterations, "data": rows(), "target": "inside"}
    for result in client.stream("optimizer", "optimize_model", args, timeout=300):
        if "progress" in result and result["progress"] >= shown:
            print(f"   {result['progress']:4.0%}  best score {result['best_score']:.3f}")
            shown += 0.25
    print(f"   best score {result['best_score']:.3f} with {result['estimator']} {result['best_params']}")


def train(client: Client) -> None:
    """A network that reports each epoch, and stays in its session: the second run goes on from the first one's weights."""
    result: Any = None
    with client.session("neural", ttl=600) as session:
        for _ in range(2):
            print("\nneural / train_model, 5 epochs in a session")
            for result in session.stream("train_model", {"epochs": 5, "batch_size": 32}):
                if "epoch" in result:
                    print(f"   epoch {result['epoch']:2}  loss {result['loss']:.4f}")
        predictions = session.execute("predict", {"data": "digits"})["predictions"]
    print(f"   accuracy on held-out rows {result['accuracy']:.3f} ({result['backend']} on {result['device']})")
    print(f"   the first rows look to it like {' '.join(predictions[:10])}")


def main() -> None:
    """Take the tour."""
    iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with a_house():
        with Client() as client:
            echo(client)
            optimise(client, iterations)
            train(client)
            print("\nthe pools afterwards")
            for row in client.pools():
                print(f"   {row['name']:10} {row['total']} workers, {row['completed']} requests done")
        print()


if __name__ == "__main__":
    main()
