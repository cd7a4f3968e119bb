"""What somebody may call, looked up once; and the refusal of what he may not do, in words."""

from __future__ import annotations

from typing import Any

from maitred.broker.core.policy import ANY, Principal

MAX_DECISIONS = 4096
"""Pairs of pool and command that are remembered for each principal, some hundred bytes each. The names of commands are the
caller's own, so that one more begins anew: what is called often is soon there again."""

MAX_NAMED = 20
"""Patterns that a refusal names."""


class Calls:
    """What a principal may call, for whom not everything is open."""

    __slots__ = ("_known", "principal")

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self._known: dict[tuple[str, str], bool] = {}

    def allow(self, pool: str, command: str) -> bool:
        """Whether he may have a pool run a command."""
        found = self._known.get((pool, command))
        if found is None:
            if len(self._known) >= MAX_DECISIONS:
                self._known.clear()
            found = self._known[pool, command] = self.principal.may_call(pool, command)
        return found


def calls_anything(principal: Principal) -> bool:
    """Whether nothing has to be looked up."""
    return (ANY, ANY) in principal.call


def denied_call(principal: Principal, pool: str, command: str | None) -> tuple[str, dict[str, Any]]:
    """The refusal of a request, or (without a command) of a session or a watch: sentence and details."""
    patterns = [one if two == ANY else f"{one}:{two}" for one, two in principal.call[:MAX_NAMED]]
    more = ["…"] if len(principal.call) > MAX_NAMED else []
    what = repr(pool if command is None else f"{pool}:{command}")
    text = f"{principal.title} may not call {what}; it may call: {', '.join(patterns + more) or 'nothing'}"
    details = {"missing": "call", "principal": principal.name, "pool": pool, "allowed": patterns}
    return text, details if command is None else details | {"command": command}


def denied(principal: Principal, right: str, what: str) -> tuple[str, dict[str, Any]]:
    """The refusal of anything else: "… may not WHAT", for want of a right."""
    how = "" if principal.keyed else "; without a key that takes the secret of the broker's connection file"
    return f"{principal.title} may not {what}{how}", {"missing": right, "principal": principal.name}
