"""Round trip of an echo, one outstanding, against libzmq's own C proxy: `python benchmarks/echo_ratio.py`.

Both have a client, something between, and a worker, each a process of its own; both carry the same payload, and blocks of
calls alternate, so that what else the machine does hits both alike. The C proxy's worker gives back the frames it gets;
ours decodes, checks the argument, calls a function and encodes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable

import zmq

from maitred.testing import running
from maitred.worker import Service

service = Service()


@service.command
def echo(message: str) -> dict[str, str]:
    """Give the message back."""
    return {"message": message}


def proxy(front: str, back: str) -> None:
    """Libzmq's proxy: nothing of it is Python."""
    context = zmq.Context()
    router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    router.bind(front)
    dealer.bind(back)
    zmq.proxy(router, dealer)


def echo_worker(back: str) -> None:
    """Give back whatever comes."""
    socket = zmq.Context().socket(zmq.REP)
    socket.connect(back)
    while True:
        socket.send_multipart(socket.recv_multipart())


def measure(call: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of so many calls, one after the other."""
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payload", type=int, default=128, help="bytes of the message")
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--calls", type=int, default=300, help="calls in a block")
    parser.add_argument("--transport", choices=["ipc", "tcp"], default="tcp")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    text = "x" * given.payload
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as directory, running(service) as house:
        names = [f"ipc://{directory}/{name}" for name in ("front", "back")]
        front, back = names if given.transport == "ipc" else ("tcp://127.0.0.1:5791", "tcp://127.0.0.1:5792")
        peers = [spawn.Process(target=proxy, args=(front, back)), spawn.Process(target=echo_worker, args=(back,))]
        for peer in peers:
            peer.start()
        socket = zmq.Context.instance().socket(zmq.REQ)
        socket.connect(front)
        header, body = b"x" * 40, b"\x81\xa7message\xd9" + text.encode()

        def through_proxy() -> object:
            socket.send_multipart([header, body])
            return socket.recv_multipart()

        from maitred.client import Client

        ours = Client(house.clients if given.transport == "ipc" else house.clients_tcp)

        def through_maitred() -> object:
            return ours.execute("general", "echo", {"message": text})

        ways = {"C proxy": through_proxy, "maitred": through_maitred, "C proxy again": through_proxy}
        times: dict[str, list[float]] = {name: [] for name in ways}
        for call in ways.values():
            measure(call, 200)
        ratios, noise = [], []
        for _ in range(given.blocks):
            block = {name: measure(call, given.calls) for name, call in ways.items()}
            for name, found in block.items():
                times[name] += found
            middle = {name: statistics.median(found) for name, found in block.items()}
            ratios.append(middle["maitred"] / middle["C proxy"])
            noise.append(middle["C proxy again"] / middle["C proxy"])
        ours.close()
        socket.close(0)
        for peer in peers:
            peer.kill()
            peer.join()
    report(given, times, ratios, noise)


def report(given: argparse.Namespace, times: dict[str, list[float]], ratios: list[float], noise: list[float]) -> None:
    """Print the medians, the ratio of each block's medians, and the same ratio of the proxy to itself."""
    found = {
        "transport": given.transport,
        "payload_bytes": given.payload,
        "p50_us": {name: statistics.median(values) * 1e6 for name, values in times.items()},
        "p99_us": {name: sorted(values)[int(len(values) * 0.99)] * 1e6 for name, values in times.items()},
        "ratio_median": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4),
        "noise_median": statistics.median(noise),
        "noise_quartiles": statistics.quantiles(noise, n=4),
    }
    if given.json:
        print(json.dumps(found))
        return
    for name, value in found["p50_us"].items():
        print(f"{name:14} p50 {value:7.1f} µs   p99 {found['p99_us'][name]:7.1f} µs")
    print(
        f"maitred / C proxy: {found['ratio_median']:.2f}  (quartiles {[round(q, 2) for q in found['ratio_quartiles']]})"
    )
    print(
        f"C proxy / itself:  {found['noise_median']:.2f}  (quartiles {[round(q, 2) for q in found['noise_quartiles']]})"
    )


if __name__ == "__main__":
    main()
