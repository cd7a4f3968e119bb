"""Why a worker does not start, in one line for a person: out of its death certificate."""

from __future__ import annotations

import re

from maitred.protocol.messages import Certificate

__all__ = ["blame"]

_FRAME = re.compile(r'^  File "(?!<)(.+)", line (\d+)', re.MULTILINE)


def blame(certificate: Certificate) -> str:
    """The last line it printed, with the file and line where an exception names one; else its cause."""
    printed = (certificate.stderr or "").strip()
    last = printed.rpartition("\n")[2]
    if certificate.cause not in ("exit", "signal") or not last:
        how = certificate.signal or (None if certificate.exit_code is None else f"exit code {certificate.exit_code}")
        last = ", ".join(part for part in (certificate.cause, how, certificate.note, last) if part)
    frames = _FRAME.findall(printed)
    return f"{last} ({frames[-1][0]}, line {frames[-1][1]})" if frames else last
