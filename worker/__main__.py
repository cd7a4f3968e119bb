"""One worker without an agent: `python -m maitred.worker --pool NAME --connect ENDPOINT module:service`.

For containers and debuggers: nobody replaces it, and nobody but the broker's heartbeats sees its death.
"""

from __future__ import annotations

import argparse
import os
import sys

from maitred.client.endpoint import find_endpoint
from maitred.config.rundir import discover_endpoint, discover_workers_endpoint
from maitred.worker.options import WorkerOptions
from maitred.worker.process import serve


def main() -> int:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m maitred.worker", description="Run one worker, without an agent.")
    parser.add_argument("adapter", help="module:attribute of the Service, e.g. my_app.service:service")
    parser.add_argument("--pool", required=True, help="name of the pool to serve")
    parser.add_argument("--connect", metavar="ENDPOINT", help="where workers register (default: a local broker's)")
    parser.add_argument("--clients", metavar="ENDPOINT", help="where context.call calls (default: a local broker's)")
    given = parser.parse_args()
    endpoint = given.connect or discover_workers_endpoint(None)
    if endpoint is None:
        print("no local broker found: start `maitred up` or give --connect ENDPOINT", file=sys.stderr)
        return 3
    try:
        for each in filter(None, (given.connect, given.clients)):
            find_endpoint(each)
    except ValueError as error:
        parser.error(str(error))
    clients = given.clients or discover_endpoint(None)
    return serve(
        WorkerOptions(given.pool, given.adapter, (os.getcwd(),), endpoint, os.urandom(16), clients_endpoint=clients)
    )


if __name__ == "__main__":
    sys.exit(main())
