"""The list of subjects. Each is imported only when it is asked for, so that its library may be missing."""

from __future__ import annotations

import importlib
from typing import cast

from maitred.benchmarks.subjects.protocol import Subject

__all__ = ["FLOOR", "OURS", "PEERS", "UnknownSubject", "chosen", "load"]

_HERE = "maitred.benchmarks.subjects"

OURS = {
    "maitred": f"{_HERE}.maitred_:synchronous",
    "maitred-ipc": f"{_HERE}.maitred_:local",
    "maitred-keys": f"{_HERE}.maitred_:keyed",
    "maitred-traced": f"{_HERE}.maitred_:traced",
    "maitred-async": f"{_HERE}.maitred_:asynchronous",
    "maitred-asyncio": f"{_HERE}.maitred_:asyncio",
    "maitred-wire": f"{_HERE}.maitred_:wire",
}
"""Maitred by its clients: "module:attribute", as for the peers. `maitred-ipc` is what `Client()` finds on its own host,
`maitred-keys` one with CURVE, `maitred-traced` one whose calls are traced; `maitred-wire` is no client but the protocol
alone, for loads whose generator must not take the cores."""

FLOOR = ("zmq-proxy", "zmq-direct")
"""Peers that need nothing but pyzmq; measured where no others were asked for. The first one is the baseline."""

PEERS = {
    "zmq-proxy": f"{_HERE}.zmq_plain:proxy",
    "zmq-direct": f"{_HERE}.zmq_plain:direct",
    "zmq-proxy-sync": f"{_HERE}.zmq_same_client:synchronous",
    "zmq-proxy-async": f"{_HERE}.zmq_same_client:asynchronous",
    "majordomo": f"{_HERE}.majordomo:majordomo",
    "nats": f"{_HERE}.nats_:nats",
    "rabbitmq": f"{_HERE}.rabbitmq:rabbitmq",
    "grpc": f"{_HERE}.grpc_:grpc",
    "celery": f"{_HERE}.celery_:celery",
    "ray": f"{_HERE}.ray_:ray",
    "dask": f"{_HERE}.dask_:dask",
    "ipyparallel": f"{_HERE}.ipyparallel_:ipyparallel",
    "process-pool": f"{_HERE}.process_pool:process_pool",
}
"""What maitred is measured beside."""


class UnknownSubject(ValueError):
    """No subject has this name; the text says which there are."""


def load(name: str) -> Subject:
    """A subject by its name.

    Raises:
        UnknownSubject: there is none.
    """
    where = {**OURS, **PEERS}.get(name)
    if where is None:
        raise UnknownSubject(f"no subject is called {name!r}; there are {', '.join([*OURS, *PEERS])}")
    module, _, attribute = where.partition(":")
    return cast("Subject", getattr(importlib.import_module(module), attribute))


def chosen(ours: str = "maitred", peers: str = "") -> list[Subject]:
    """The subjects of a run, ours first.

    Args:
        ours: names with commas between.
        peers: "all", "none", "" for those that need nothing (`FLOOR`), or names with commas between.

    Raises:
        UnknownSubject: there is none of such a name.
    """
    groups = {"all": tuple(PEERS), "none": (), "": FLOOR}
    wanted = groups[peers] if peers in groups else _names(peers)
    return [load(name) for name in dict.fromkeys([*_names(ours), *wanted])]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
