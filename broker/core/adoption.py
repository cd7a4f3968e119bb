"""Another policy while the broker runs: who may no longer be here goes, all others go by what they may do now.

who is gone, or may not be on that side   told (ERROR -1 `unauthenticated`), and given up: a client's requests, an
                                          agent, a worker with what it holds (as one that is lost, cause "operator")
whose rights changed                      what he was accepted for stays, but for what waits and he may not call now
"""

from __future__ import annotations

from maitred.broker.core.agent import Agent
from maitred.broker.core.agents import Agents
from maitred.broker.core.clients import Clients
from maitred.broker.core.effects import Peer
from maitred.broker.core.endings import Endings
from maitred.broker.core.introductions import NOT_ANY_MORE, found_again
from maitred.broker.core.model import Client, Worker
from maitred.broker.core.policy import Policy, Principal
from maitred.broker.core.rights import denied_call
from maitred.broker.core.sessions import Sessions
from maitred.broker.core.state import Party, State
from maitred.broker.core.workers import Workers
from maitred.protocol import messages
from maitred.protocol.errors import Code


class Adoption:
    """The verb of another policy."""

    def __init__(
        self,
        state: State,
        clients: Clients,
        workers: Workers,
        agents: Agents,
        sessions: Sessions,
        endings: Endings,
    ) -> None:
        self._state = state
        self._clients = clients
        self._workers = workers
        self._agents = agents
        self._sessions = sessions
        self._endings = endings

    def adopt(self, policy: Policy, now: float) -> None:
        """Go by it from now on."""
        before = self._state.policy
        self._state.go_by(policy)
        parties = [(party, self._find(party, before)) for party in self._state.parties.values()]
        clients = [(it, found) for it, found in parties if isinstance(it, Client)]
        workers = [(it, found) for it, found in parties if isinstance(it, Worker)]
        agents = [(it, found) for it, found in parties if isinstance(it, Agent)]
        self._change_accounts()
        gone = self._sift_clients(clients, now)
        refused = sum(self._refuse_waiting(client) for client, found in clients if found is not None)
        lost = {"clients": gone, "agents": self._sift_agents(agents), "workers": self._sift_workers(workers, now)}
        ended = self._end_sessions(now)
        for name in [name for name in self._state.accounts if name not in self._state.principals]:
            del self._state.accounts[name]
        self._state.note(
            "auth.reloaded", principals=len(self._state.principals), **lost, sessions=ended, requests=refused
        )

    def _find(self, party: Party, before: Policy) -> Principal | None:
        """Who it is now; None: nobody who may be what it is."""
        found = found_again(party.principal, party.user, before, self._state.policy)
        if found is None:
            return None
        match party:
            case Client():
                may = found.may_be_client()
            case Worker():
                may = found.may_serve(party.pool.name)
            case Agent():
                may = found.may_serve(party.pool.name) and found.supervise
            case _:
                may = True  # it goes with its worker
        return found if may else None

    def _change_accounts(self) -> None:
        for name, account in self._state.accounts.items():
            account.adopt(self._state.principals.get(name))

    def _tell(self, peer: Peer) -> None:
        self._state.refuse(peer, -1, Code.UNAUTHENTICATED, NOT_ANY_MORE)

    # --- who goes, and who stays ---

    def _sift_clients(self, clients: list[tuple[Client, Principal | None]], now: float) -> int:
        for client, found in clients:
            if found is None:
                self._tell(client.peer)
                self._clients.lose(client, "is no longer authorised", now)
        for client, found in clients:
            if found is not None:
                client.principal = client.identity.principal = found
                client.calls = self._state.calls_of(found)
        return sum(found is None for _, found in clients)

    def _sift_agents(self, agents: list[tuple[Agent, Principal | None]]) -> int:
        for agent, found in agents:
            if found is None:
                self._tell(agent.peer)
                self._agents.lose(agent)
            else:
                agent.principal = found
        return sum(found is None for _, found in agents)

    def _sift_workers(self, workers: list[tuple[Worker, Principal | None]], now: float) -> int:
        going = [worker for worker, found in workers if found is None]
        for worker, found in workers:
            if found is not None:
                worker.principal = found
        for worker in going:  # all of them first: what one held is not to be given to the next
            worker.draining = True
            worker.pool.ready.place(worker)
        for worker in going:
            self._let_go(worker, now)
        return len(going)

    def _let_go(self, worker: Worker, now: float) -> None:
        for request in worker.held.values():
            if not request.cancelled:
                stop = messages.WorkerCancel(*request.key, "operator")
                self._state.send(worker.control or worker.peer, stop)
        self._tell(worker.peer)
        certificate = messages.Certificate(
            "operator", worker=worker.id.hex(), host=worker.host, pid=worker.pid, served=worker.served,
            note="its key is no longer authorised",
        )  # fmt: skip
        self._workers.lose(worker, certificate, None, "policy", now)

    # --- what was asked for ---

    def _end_sessions(self, now: float) -> int:
        """Those of principals that are gone: nobody may use them."""
        gone = [
            session
            for session in self._state.sessions.values()
            if session.principal and session.principal not in self._state.principals
        ]
        for session in gone:
            self._sessions.end(session, "closed", now)
        return len(gone)

    def _refuse_waiting(self, client: Client) -> int:
        """Fail what waits and may not be called any more; returns how many these were."""
        if client.calls is None:
            return 0
        waiting = [
            request
            for request in client.waiting.values()
            if request.worker is None and not self._endings.is_permitted(request)
        ]
        for request in waiting:
            self._endings.deny(request)
        for watch, pool in list(client.watches.items()):
            if not client.principal.may_call_pool(pool.name):
                del client.watches[watch], pool.watchers[client.peer, watch]
                refusal = denied_call(client.principal, pool.name, None)
                self._state.refuse(client.peer, watch, Code.PERMISSION_DENIED, *refusal)
        return len(waiting)
