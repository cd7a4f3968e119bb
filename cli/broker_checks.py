"""Checks of `maitred doctor` of what a broker needs and does: its run directory, its ports, and whether one answers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from maitred.cli.findings import BROKEN, FINE, NOTE, Finding
from maitred.client import Client
from maitred.client.errors import MaitredError, Unavailable
from maitred.config import Config
from maitred.config.endpoints import Address, parse_endpoint
from maitred.config.rundir import BrokerRunning, RunDirError, claim, read_connection, run_dir

__all__ = ["answers", "directory", "ports"]

PATIENCE_S = 1.5
"""How long a broker may take to answer: one on another continent takes a fifth of it."""


def directory(config: Config | None) -> Finding:
    """Whether the run directory can be used: claimed as a broker does it, and given back."""
    where = _run_dir(config)
    try:
        with claim(where):
            return Finding("run directory", FINE, f"{where} can be used")
    except BrokerRunning as error:
        return Finding("run directory", FINE, f"{where} is held by the broker that runs (pid {error.pid or 'unknown'})")
    except RunDirError as error:
        text, _, todo = str(error).rpartition("; ")
        return Finding("run directory", BROKEN, text, todo)


def ports(config: Config) -> list[Finding]:
    """Whether the configured ports can be listened at, or by whom they are held."""
    running = read_connection(_run_dir(config))
    pid = running.pid if running else None
    endpoints = {"clients": config.broker.clients, "workers": config.broker.workers}
    if config.broker.http:
        endpoints["http"] = f"tcp://{config.broker.http}"
    return [_port(f"port for {name}", name, endpoint, pid) for name, endpoint in endpoints.items()]


def answers(config: Config | None, endpoint: str | None, key: Path | None = None) -> list[Finding]:
    """Whether a broker answers, and what keeps its pools from serving.

    Args:
        config: for the run directory.
        endpoint: where the user says that there is one; None: on this host, where there need not be one.
        key: what to show there; None: $MAITRED_KEY, or none.
    """
    endpoint = endpoint or os.environ.get("MAITRED_ENDPOINT")
    running = read_connection(_run_dir(config))
    if endpoint is None and running is None:
        return [Finding("broker", NOTE, "none runs on this host", "`maitred up` starts one; --endpoint names another")]
    where = endpoint or (running.clients[0] if running else "")
    try:
        with Client(where, connect_timeout=PATIENCE_S, key=key) as client:
            broker, pools = client.broker(), client.pools()
    except (MaitredError, ValueError) as error:
        missing = isinstance(error, Unavailable)
        todo = "start it, or see what it logs; between hosts, see firewalls" if missing else "see what it logs"
        return [Finding("broker", BROKEN, f"{where}: {error}", todo)]
    count = "1 pool" if len(pools) == 1 else f"{len(pools)} pools"
    return [Finding("broker", FINE, f"{broker['software']} answers at {where}; {count}"), *_pools(pools)]


def _pools(rows: list[dict[str, Any]]) -> Iterator[Finding]:
    for row in rows:
        name = row["name"]
        if row["degraded"]:
            todo = f"mend it; `maitred resume {name}` has it tried at once"
            yield Finding("pool", BROKEN, f"{name!r} is degraded: {row['degraded']}", todo)
        elif row.get("reason"):
            yield Finding("pool", NOTE, f"{name!r} is not ready: {row['reason']}", "see `maitred status`")


def _run_dir(config: Config | None) -> Path:
    return Path(config.broker.run_dir) if config is not None and config.broker.run_dir else run_dir()


def _port(check: str, key: str, endpoint: str, broker: int | None) -> Finding:
    address = parse_endpoint(endpoint)
    if address is None or not address.port:
        return Finding(check, FINE, f"{endpoint}: nothing to find out before it is used")
    refusal = _listen(address)
    if refusal is None:
        return Finding(check, FINE, f"{endpoint} is free")
    holder = _holder(address.port)
    if holder is not None and holder.pid == broker:
        return Finding(check, FINE, f"{endpoint} is held by the broker that runs (pid {broker})")
    todo = f"set broker.{key} to another port" + (f", or stop it: kill {holder.pid}" if holder else "")
    who = f" by {holder.name()} (pid {holder.pid})" if holder else ""
    return Finding(check, BROKEN, f"{endpoint} cannot be listened at{who}: {refusal}", todo)


def _listen(address: Address) -> str | None:
    """Why an address cannot be listened at; None where it can."""
    host = "" if address.host == "*" else address.host
    try:
        socket.create_server((host, address.port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _holder(port: int) -> psutil.Process | None:
    """Who listens there; None where this user may not know."""
    try:
        for each in psutil.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid:
                return psutil.Process(each.pid)
    except (psutil.Error, PermissionError):
        pass
    return None
