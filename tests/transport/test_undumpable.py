"""What a process does that holds a secret: tried in one of its own, as it is not undone."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROCESS = """
import ctypes, resource
from maitred.transport.undumpable import make_undumpable
print(make_undumpable(), resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can keep others of the same user out")
def test_no_core_is_written_and_nobody_may_look() -> None:
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, timeout=20)
    assert done.stdout == "True (0, 0) 0\n", done.stderr
