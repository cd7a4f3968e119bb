"""Where a run took place: versions, commit, kernel, cores. No names of hosts, users or folders."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil
import zmq

from maitred.benchmarks.results import Environment
from maitred.protocol.version import VERSION

__all__ = ["cores", "environment", "versions_of"]

LIBRARIES = ("pyzmq", "trio", "anyio", "msgpack", "msgspec", "numpy")

GIT_TIMEOUT_S = 5.0

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
CPU_INFO = Path("/proc/cpuinfo")


def environment() -> Environment:
    """This process's."""
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return Environment(
        maitred=VERSION,
        commit=commit,
        changed=None if changed is None else bool(changed),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        libraries={**versions_of(*LIBRARIES), "libzmq": zmq.zmq_version()},
        system=platform.system(),
        kernel=platform.release(),
        machine=platform.machine(),
        processor=_processor(),
        cores=cores(),
        memory_bytes=psutil.virtual_memory().total,
        governor=GOVERNOR.read_text().strip() if GOVERNOR.exists() else None,
        load_average=round(os.getloadavg()[0], 2),
        thread_switch_s=sys.getswitchinterval(),
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def versions_of(*distributions: str) -> dict[str, str]:
    """The versions of installed distributions; those that are not installed are left out."""
    found: dict[str, str] = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str | None:
    """What git says of the folder that holds this package; None where it is no checkout."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
