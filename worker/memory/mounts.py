"""Where the control group of this process lies in the file system, and whether anything can be done there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

__all__ = ["Unavailable", "Which", "check_writable", "own_group"]

PROC = Path("/proc/self")


class Unavailable(Exception):
    """A mode cannot be had here; the message is the clause that says why."""


Which = Literal["cgroup1", "cgroup2"]


def own_group(which: Which, proc: Path = PROC) -> Path:
    """The directory of this process's own group, in the hierarchy that has the memory controller.

    Args:
        which: kind of hierarchy.
        proc: the process's directory in /proc.

    Raises:
        Unavailable: there is no such hierarchy, or it is mounted read-only, or elsewhere.
    """
    root, mount_point, options = _mount(which, proc)
    if "ro" in options:
        raise Unavailable(f"{mount_point} is mounted read-only")
    path = _path(which, proc)
    if path != root and not path.startswith(root.rstrip("/") + "/"):
        raise Unavailable(f"the group {path} of this process is not below {root}, which is what {mount_point} shows")
    return Path(mount_point) / os.path.relpath(path, root)


def _mount(which: Which, proc: Path) -> tuple[str, str, list[str]]:
    for line in _lines(proc / "mountinfo"):
        mount, _, file_system = line.partition(" - ")
        kind, _, super_options = file_system.split(" ", 2)
        v1 = which == "cgroup1" and kind == "cgroup" and "memory" in super_options.split(",")
        if v1 or (which == kind == "cgroup2"):
            _, _, _, root, mount_point, options, *_ = mount.split(" ")
            return _unescape(root), _unescape(mount_point), options.split(",")
    raise Unavailable(
        "no hierarchy is mounted" if which == "cgroup2" else "no hierarchy with the memory controller is mounted"
    )


def _path(which: Which, proc: Path) -> str:
    for line in _lines(proc / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if (controllers == "") if which == "cgroup2" else ("memory" in controllers.split(",")):
            return path
    raise Unavailable("this process is in no group of it")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def check_writable(*paths: Path) -> None:
    """See that this user may write there.

    Raises:
        Unavailable: he may not, or there is nothing.
    """
    for path in paths:
        if not os.access(path, os.W_OK):
            missing = "is not writable by user" if path.exists() else "is missing, for user"
            raise Unavailable(f"{path} {missing} {os.geteuid()}")
