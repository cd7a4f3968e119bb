"""What no key can know alone: pools that routing names, addresses that others reach, limits that contradict each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from maitred.config import rundir
from maitred.config.document import Document
from maitred.config.endpoints import Address, parse_endpoint, parse_http
from maitred.config.hardware import Hardware
from maitred.config.problems import Problem, nearest, shown
from maitred.config.schema import BrokerConfig, Config, PoolConfig
from maitred.config.toml_text import dotted
from maitred.config.units import format_duration

__all__ = ["check", "unknown_pool"]


def check(config: Config, document: Document, hardware: Hardware) -> list[Problem]:
    """Everything that does not fit together in a configuration whose keys are right one by one."""
    found = [*_routing(config, list(document.table("pools"))), *_addresses(config.broker), *_run_dir(config.broker)]
    for name, pool in config.pools.items():
        found += _pool(name, pool, hardware)
    return [_placed(problem, document) for problem in found]


def unknown_pool(source: str, path: Sequence[str], value: Any, pools: Iterable[str]) -> Problem:
    """An override sets a key of a pool that there is not."""
    known, name = list(pools), path[1]
    accepted = f"one of {', '.join(known)}, or an adapter for a new one"
    return Problem(source, dotted(path), shown(value), f"no pool {shown(name)}", accepted, nearest(name, known))


_INSECURE = "insecure = true, or --insecure, where the network is trusted as a whole"
_NEEDS_KEY = (
    "127.0.0.1, [::1] or localhost; or keys: `maitred keys new broker`, and in [broker] key = the file that it made; or "
    + _INSECURE
)
_NEEDS_TOKEN = (
    "127.0.0.1, [::1] or localhost; or http_token = a file with the token to ask for, as `openssl rand -hex 32` makes one, "
    "mode 600; or " + _INSECURE
)

_Found = tuple[tuple[str, ...], Any, str, str, str | None]
"""Path, value, reason, what is accepted, the nearest name."""


def _placed(found: _Found, document: Document) -> Problem:
    path, value, reason, accepted, near = found
    text = "" if value is None else shown(value)
    return Problem(document.origin(path), dotted(path), text, reason, accepted, near)


def _routing(config: Config, pools: list[str]) -> Iterator[_Found]:
    for pattern, pool in config.routing.items():
        if pool not in pools:
            near = nearest(pool, pools)
            accepted = f"one of {', '.join(pools)}" if pools else "pools to be there"
            yield ("routing", pattern), pool, "no such pool", accepted, f'"{near}"' if near else None


def _addresses(broker: BrokerConfig) -> Iterator[_Found]:
    addresses = {
        "clients": parse_endpoint(broker.clients),
        "workers": parse_endpoint(broker.workers),
        "majordomo": parse_endpoint(broker.majordomo) if broker.majordomo else None,
        "http": parse_http(broker.http),
    }
    written = {name: str(getattr(broker, name)) for name in addresses}
    for name, address in addresses.items():
        guard = broker.http_token_file if name == "http" else broker.key_file
        if address and not address.is_loopback and guard is None and not broker.insecure:
            accepted = _NEEDS_TOKEN if name == "http" else _NEEDS_KEY
            yield ("broker", name), written[name], "other hosts can reach it, unauthenticated", accepted, None
    for first, second in itertools.combinations(addresses, 2):
        if _collide(addresses[first], addresses[second], written[first], written[second]):
            yield ("broker", second), written[second], f"broker.{first} is there already", "another port", None


def _collide(first: Address | None, second: Address | None, first_text: str, second_text: str) -> bool:
    if first and second:
        return first.collides(second)
    return first_text == second_text and first_text != ""


def _run_dir(broker: BrokerConfig) -> Iterator[_Found]:
    if broker.run_dir is not None:
        length = rundir.socket_path_bytes(broker.run_dir)
        if length > rundir.MAX_SOCKET_PATH_BYTES:
            accepted = f"a directory whose sockets' paths have at most {rundir.MAX_SOCKET_PATH_BYTES} bytes"
            yield ("broker", "run_dir"), str(broker.run_dir), f"they have {length}", accepted, None


def _pool(name: str, pool: PoolConfig, hardware: Hardware) -> Iterator[_Found]:
    path = ("pools", name)
    if pool.gpu == "required" and pool.adapter is not None and hardware.gpus == 0:
        accepted = '"auto" to run without, or a host with a GPU (`nvidia-smi` lists those that NVML sees)'
        yield (*path, "gpu"), pool.gpu, "this host has no GPU", accepted, None
    if pool.restart_backoff_s > pool.restart_backoff_max_s:
        most = format_duration(pool.restart_backoff_max_s)
        value = format_duration(pool.restart_backoff_s)
        yield (*path, "restart_backoff"), value, "", f"at most restart_backoff_max, which is {most}", None
