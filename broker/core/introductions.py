"""Who is let in: whoever introduces himself is looked up, and goes by what was found until the policy changes."""

from __future__ import annotations

from maitred.broker.core.effects import Peer
from maitred.broker.core.policy import TRUSTED, Policy, Principal, in_short
from maitred.broker.core.rights import denied
from maitred.broker.core.state import State
from maitred.protocol.errors import Code

UNKNOWN = (
    "this broker does not know you: connect with a key that is in its authorisation file, or over ipc://, or with the "
    "secret of its connection file"
)
NOT_ANY_MORE = "this key is no longer authorised to be here: ask whoever runs the broker, and connect again"


class Introductions:
    """The verbs of a doorkeeper. None of its answers says more to a stranger than that he is one."""

    def __init__(self, state: State) -> None:
        self._state = state

    def find(self, peer: Peer, user: str, secret: str) -> Principal | None:
        """Who it is; None: nobody who is known, who has been told so."""
        principal = self._state.policy.find(user, secret)
        if principal is None:
            had_a_key = user.startswith("key:")  # it got past its handshake, so it was known then
            self._state.refuse(peer, -1, Code.UNAUTHENTICATED, NOT_ANY_MORE if had_a_key else UNKNOWN)
            self._state.note("auth.refused", side=peer.side.name.lower(), user=in_short(user))
        return principal

    def is_client(self, peer: Peer, principal: Principal) -> bool:
        """Whether there is anything that he may do as a client; he is told where there is not."""
        if not principal.may_be_client():
            self.deny(peer, principal, "call", "call anything: no `call` is named for it")
            return False
        return True

    def serves(self, peer: Peer, principal: Principal, pool: str, *, as_agent: bool = False) -> bool:
        """Whether he may serve a pool, as an agent of it even; he is told where he may not."""
        if not principal.may_serve(pool):
            self.deny(peer, principal, "serve", f"serve pool {pool!r}")
        elif as_agent and not principal.supervise:
            self.deny(peer, principal, "supervise", "be an agent: its role is not `agent`")
        else:
            return True
        return False

    def deny(self, peer: Peer, principal: Principal, right: str, what: str) -> None:
        """Tell somebody who is known what he may not be."""
        text, details = denied(principal, right, what)
        self._state.refuse(peer, -1, Code.PERMISSION_DENIED, text, details)
        self._state.note("auth.denied", principal=principal.name, right=right, side=peer.side.name.lower())


def found_again(principal: Principal, user: str, before: Policy, after: Policy) -> Principal | None:
    """Who a connection belongs to under another policy; None: nobody, or somebody else.

    The secret that it may have shown is not kept: who is trusted is so because of that.
    """
    found = after.find(user, before.secret if principal == TRUSTED else "")
    return found if found is not None and found.is_same(principal) else None
