"""Why a worker does not start, in one line."""

from __future__ import annotations

import pytest

from maitred.protocol.messages import Certificate
from maitred.worker.blame import blame

TRACEBACK = """Traceback (most recent call last):
  File "/lib/maitred/process.py", line 91, in serve
    service = load_service(options.adapter)
  File "<frozen importlib._bootstrap>", line 241, in _call_with_frames_removed
  File "/app/service.py", line 3, in <module>
    import no_such
ModuleNotFoundError: No module named 'no_such'
"""


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (
            Certificate("exit", exit_code=1, stderr=TRACEBACK),
            "ModuleNotFoundError: No module named 'no_such' (/app/service.py, line 3)",
        ),
        (Certificate("exit", exit_code=1, stderr="adapter 'a:b': no such file\n"), "adapter 'a:b': no such file"),
        (Certificate("exit", exit_code=7), "exit, exit code 7"),
        (Certificate("signal", signal="SIGSEGV"), "signal, SIGSEGV"),
        (Certificate("timeout", signal="SIGKILL", stderr="loading\n"), "timeout, SIGKILL, loading"),
        (Certificate("oom", signal="SIGKILL"), "oom, SIGKILL"),
    ],
)
def test_blame(certificate: Certificate, reason: str) -> None:
    assert blame(certificate) == reason
