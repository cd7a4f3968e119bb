"""Checks of `maitred doctor` of this host: interpreter, libraries, GPUs, descriptors, memory, processes, clock."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import zmq

from maitred.cli.findings import BROKEN, FINE, NOTE, Finding
from maitred.config import Config, cpus, gpus
from maitred.tracing import exporting
from maitred.transport import clock

__all__ = [
    "clock_check",
    "curve",
    "descriptors",
    "gpu",
    "interpreter",
    "libraries",
    "limits",
    "memory",
    "processes",
    "tracing",
]

OLDEST_PYTHON = (3, 11)
OLDEST_LIBZMQ = (4, 3, 2)
"""Before it, a peer that is not authenticated could overflow libzmq's stack (CVE-2019-13132)."""

NVML = "libnvidia-ml.so.1"

PER_PEER = 2
"""Descriptors of the broker for each worker: it has two connections. A client's thread has one."""

SPARE_DESCRIPTORS = 256
"""For clients, agents, and what a process has open besides."""

TRIED_LIMIT_BYTES = 1024**3
"""Nobody is put under it: it is only asked who would keep it."""

POLLED = "polling"
"""The way to keep a limit that comes too late for who grows fast."""

SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies")
"""Kernel clocks that take microseconds to read; the broker reads its clock several times a request."""

CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")

EARLIEST = 1_735_689_600
"""2025, in seconds since the epoch: a clock before it was never set."""

START_TIMEOUT_S = 10.0
"""Within this an empty process has to start from the fork server: it takes a tenth of a second."""

_START = """
import multiprocessing, os
process = multiprocessing.get_context("forkserver").Process(target=os.getpid)
process.start()
process.join()
raise SystemExit(process.exitcode)
"""


def interpreter() -> Finding:
    """Which Python this is."""
    found = f"Python {platform.python_version()} ({sys.executable}), {platform.system()} {platform.release()}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", BROKEN, found, "maitred needs Python 3.11 or later")
    if sys.platform != "linux":
        todo = "only Linux ends workers with their agent whatever they do, and says at once who died"
        return Finding("python", NOTE, found, todo)
    return Finding("python", FINE, f"{found}, {cpus()} processors to use")


def libraries() -> Finding:
    """Versions of ZeroMQ."""
    found = f"libzmq {zmq.zmq_version()}, pyzmq {zmq.__version__}"
    if zmq.zmq_version_info() < OLDEST_LIBZMQ:
        return Finding(
            "zeromq", BROKEN, found, "pip install --upgrade pyzmq: its wheels bring a libzmq without known holes"
        )
    return Finding("zeromq", FINE, found)


def curve(config: Config | None) -> Finding:
    """Whether connections can be encrypted, and need to be."""
    if zmq.has("curve"):
        return Finding("curve", FINE, "connections can be encrypted")
    todo = "pip install pyzmq's wheel; a libzmq of one's own is built with libsodium"
    if config is not None and config.broker.key_file is not None:
        return Finding("curve", BROKEN, "broker.key is set, and this libzmq cannot encrypt connections", todo)
    return Finding("curve", NOTE, "this libzmq cannot encrypt connections", todo)


def gpu() -> Finding:
    """What NVML tells of GPUs. That there is none is no fault: a configuration that needs one is refused as such."""
    try:
        lines: list[str] = importlib.import_module("maitred.worker.gpus").describe()
    except ImportError:
        count = gpus()
        found = f"NVML counts {count}" if count else f"none: {NVML} was looked for, the library of NVIDIA's driver"
        lines = [f"{found}; more about GPUs is not built in"]
    return Finding("gpu", FINE, "\n".join(lines).removeprefix("GPUs: "))


def descriptors(config: Config | None) -> Finding:
    """Whether the broker may hold the connections that it is to have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    workers = sum(pool.size.max for pool in config.pools.values()) if config else 0
    needed = PER_PEER * workers + SPARE_DESCRIPTORS
    limit = "no limit" if soft == resource.RLIM_INFINITY else f"{soft}"
    found = f"{limit} (ulimit -n), about {needed} needed for {workers} workers"
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return Finding("descriptors", FINE, found)
    raised = (
        f"ulimit -n {needed}" if hard == resource.RLIM_INFINITY or hard >= needed else "LimitNOFILE= or limits.conf"
    )
    return Finding("descriptors", BROKEN, found, f"raise it ({raised}): the broker stops accepting without them")


def memory(config: Config | None) -> Finding:
    """Whether there is as much as the limits of all workers allow."""
    host = psutil.virtual_memory()
    found = f"{host.total / 1e9:.1f} GB in all, {host.available / 1e9:.1f} GB free"
    pools = config.pools.values() if config else ()
    allowed = sum(pool.memory_limit_bytes * pool.size.max for pool in pools if pool.memory_limit_bytes)
    if allowed > host.total:
        todo = "lower memory_limit or size: the kernel may kill the broker before a worker meets its limit"
        return Finding("memory", NOTE, f"{found}; the pools may take {allowed / 1e9:.1f} GB", todo)
    return Finding("memory", FINE, found)


def limits(config: Config | None) -> Finding:
    """By what a worker's memory limit would be kept here, tried, and why by nothing better."""
    kept: Any = importlib.import_module("maitred.worker.memory").keeper(TRIED_LIMIT_BYTES, "doctor")
    kept.close()
    found = f"kept by {kept.mode}" + (f" ({kept.why})" if kept.why else "")
    wanted = config is None or any(pool.memory_limit_bytes for pool in config.pools.values())
    if kept.mode == POLLED and wanted:
        todo = (
            "a worker that grows fast passes its limit. Have a control group delegated: Delegate=yes in the unit, or "
            "`systemd-run --user --scope -p Delegate=yes maitred up`; in a container: docs/limits.md"
        )
        return Finding("memory limits", NOTE, found, todo)
    return Finding("memory limits", FINE, found)


def processes(config: Config | None) -> Finding:
    """Whether workers can be forked from a server here."""
    spawned = [name for name, pool in config.pools.items() if pool.start_method == "spawn"] if config else []
    began = time.monotonic()
    try:
        done = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True, timeout=START_TIMEOUT_S)
        problem = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1] if done.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"it took longer than {START_TIMEOUT_S:g} s"
    if problem:
        todo = 'set start_method = "spawn" for each pool, or let /tmp and Unix sockets be used'
        return Finding("processes", BROKEN, f"a process cannot be started from the fork server: {problem}", todo)
    found = f"the fork server started a process in {time.monotonic() - began:.1f} s"
    found += f"; spawned instead: {', '.join(spawned)}" if spawned else ""
    if not hasattr(os, "pidfd_open") or not hasattr(signal, "pidfd_send_signal"):
        return Finding(
            "processes", NOTE, f"{found}; no pidfd here", "deaths are found by polling: Linux 5.3 tells of them"
        )
    return Finding("processes", FINE, found)


def tracing() -> list[Finding]:
    """Whether spans can leave, where brokers and workers are to export them; nothing where they are not."""
    if not exporting.is_wanted():
        return []
    try:
        exporting.make_processor().shutdown()
    except exporting.NotInstalled as error:
        return [Finding("tracing", BROKEN, str(error), "install it, or unset MAITRED_TRACING: else nothing starts")]
    where = (
        os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or "http://localhost:4318, as OTEL_EXPORTER_OTLP_ENDPOINT is not set"
    )
    return [Finding("tracing", FINE, f"spans go to {where}")]


def clock_check() -> Finding:
    """Whether the clock is quick to read and was set, and whether processes of this host know that they share it."""
    source = ""
    with contextlib.suppress(OSError):
        source = CLOCK_SOURCE.read_text().strip()
    found = f"{source or 'the system'}'s, UTC {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())}"
    if time.time() < EARLIEST:
        return Finding("clock", BROKEN, found, "set it: logs, and keys with an end, go by it")
    if source in SLOW_CLOCKS:
        return Finding(
            "clock", NOTE, found, f"{source} is slow to read, and it is read often: see tsc in the kernel's log"
        )
    if not clock.name():
        return Finding(
            "clock", NOTE, found, "this host's boot cannot be told: deadlines travel as time left, less exactly"
        )
    return Finding("clock", FINE, found)
