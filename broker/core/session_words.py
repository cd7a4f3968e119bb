"""A session in words: as tables and answers show it, and the refusal of one that is not there."""

from __future__ import annotations

from typing import Any

from maitred.broker.core.session import Session
from maitred.protocol import messages
from maitred.protocol.body import decode_body
from maitred.protocol.errors import Code, DecodeError

WORDS = {number: word for word, number in messages.AFFINITIES.items()}


def not_found(session_id: bytes) -> tuple[Code, str, dict[str, Any]]:
    """The refusal of a session that is not there."""
    name = session_id.hex()
    return Code.SESSION_NOT_FOUND, f"no session {name}: never opened, closed, or run out", {"session": name}


def row(session: Session, now: float) -> dict[str, Any]:
    """A session as tables and answers show it. Times in seconds, sizes in bytes."""
    owner = session.worker
    return {
        "id": session.name,
        "pool": session.pool.name if session.pool else None,
        "owner": owner.id.hex() if owner else None,
        "pid": owner.pid if owner else None,
        "state": "lost" if session.ended else "owned" if owner else "homeless",
        "epoch": session.epoch,
        "ttl": session.ttl_s,
        "left": max(session.expires_at - now, 0.0),
        "queued": session.waiting + (session.current is not None and session.current.worker is None),
        "running": session.current is not None and session.current.worker is not None,
        "requests": session.served,
        "age": now - session.opened_at,
        "metadata": _metadata(session),
        "affinity": WORDS[session.affinity],
        "client": session.client.hex()[:8],
        "principal": session.principal or None,
        "snapshot_bytes": session.snapshot_size if session.snapshot is not None else None,
    }


def _metadata(session: Session) -> Any:
    try:
        return decode_body([session.metadata])
    except DecodeError:
        return None
