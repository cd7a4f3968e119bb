"""What a process does that holds a secret: tried in one of its own, as it is not undone."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROCESS = """
import ctypes, resource
from maitred.transport.undumpable import make_undumpable
print(make_undumpable(), resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can keep others of the same user out")
def test_no_core_is_written_and_nobody_may_look() -> None:
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, timeout=20)
    assert done.stdout == "True (1, 1) 0\n", done.stderr


ABORTING = """
import os, resource, sys
from maitred.transport.undumpable import forbid_core_dumps
most = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (most, most))
if sys.argv[1] == "True":
    forbid_core_dumps()
os.abort()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whether a core was written")
@pytest.mark.parametrize("forbidden", [False, True])
def test_who_holds_a_key_aborts_without_a_core(tmp_path: Path, forbidden: bool) -> None:
    """The wait status says so, whether a core would go to a file or to a program."""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("no process may write a core here")
    process = subprocess.Popen([sys.executable, "-c", ABORTING, str(forbidden)], cwd=tmp_path)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = status  # it is waited for
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert os.WCOREDUMP(status) is not forbidden
