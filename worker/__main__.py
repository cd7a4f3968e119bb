"""One worker without an agent: `python -m maitred.worker --pool NAME --connect ENDPOINT module:service`.

For containers and debuggers: nobody replaces it, and nobody but the broker's heartbeats sees its death. The broker asks it
how it is, and dismisses it, as any other; what a pool's configuration says of its workers is said by arguments of the same
names here, as the configuration may be on another host.
"""

from __future__ import annotations

import argparse
import os
import sys

from maitred.client.endpoint import find_endpoint
from maitred.config.credentials import find_key
from maitred.config.hardware import Hardware
from maitred.config.key import keys_of
from maitred.config.pool_config import PoolConfig
from maitred.config.rundir import discover_endpoint, discover_workers_endpoint
from maitred.worker.options import WorkerOptions
from maitred.worker.process import serve

FIELDS = ("concurrency", "prefetch", "gc_threshold", "out_of_band_bytes")
"""Of a pool's configuration, what its workers themselves go by."""


def main() -> int:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m maitred.worker", description="Run one worker, without an agent.")
    parser.add_argument("adapter", help="module:attribute of the Service, e.g. my_app.service:service")
    parser.add_argument("--pool", required=True, help="name of the pool to serve")
    parser.add_argument("--connect", metavar="ENDPOINT", help="where workers register (default: a local broker's)")
    parser.add_argument("--key", metavar="FILE", help="of the key for tcp:// endpoints (default: $MAITRED_KEY)")
    parser.add_argument("--clients", metavar="ENDPOINT", help="where context.call calls (default: a local broker's)")
    for field in FIELDS:
        _add_key(parser, field)
    given = parser.parse_args()
    endpoint = given.connect or discover_workers_endpoint(None)
    if endpoint is None:
        print("no local broker found: start `maitred up` or give --connect ENDPOINT", file=sys.stderr)
        return 3
    try:
        for each in filter(None, (given.connect, given.clients)):
            find_endpoint(each)
        find_key(endpoint, given.key)
    except ValueError as error:
        parser.error(str(error))
    clients = given.clients or discover_endpoint(None)
    return serve(
        WorkerOptions(
            given.pool,
            given.adapter,
            (os.getcwd(),),
            endpoint,
            os.urandom(16),
            given.concurrency,
            given.prefetch,
            clients,
            gc_threshold=given.gc_threshold,
            out_of_band_bytes=given.out_of_band_bytes,
            key_file=given.key,
        )
    )


def _add_key(parser: argparse.ArgumentParser, field: str) -> None:
    """Have an argument say what that key does, within the same bounds and with the same default."""
    key = keys_of(PoolConfig)[field]

    def read(text: str) -> int:
        try:
            return key.kind.read(int(text) if text.isdecimal() else text, Hardware())
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    default = None if key.default is None else read(str(key.default))
    option = f"--{key.name.replace('_', '-')}"
    parser.add_argument(option, dest=field, metavar="N", type=read, default=default, help=key.doc)


if __name__ == "__main__":
    sys.exit(main())
