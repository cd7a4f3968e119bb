"""`deploy/kubernetes/keda/scale_down.py` beside a real broker with workers on hosts of their own, and a server in the
place of Kubernetes that does what it is told: pods with the lowest deletion cost end first.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from user_shell import ANY_PORT, Shell, ready, wait_for

from maitred.client import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SCRIPT = Path(__file__).parents[2] / "deploy" / "kubernetes" / "keda" / "scale_down.py"
APP = f"{Path(__file__).parents[1] / 'system' / 'app.py'}:service"
COST = "controller.kubernetes.io/pod-deletion-cost"


def may_have_hosts() -> bool:
    """Whether a process may have a host's name of its own here."""
    return subprocess.run(["unshare", "--uts", "true"], capture_output=True, check=False).returncode == 0


class Cluster:
    """One Deployment: its pods are agents, each on a "host" that is named like it."""

    def __init__(self, shell: Shell, names: list[str], *words: str) -> None:
        self.pods = {name: self._start(shell, name, words) for name in names}
        self.costs: dict[str, str] = {}
        self.replicas = len(names)
        self.version = 1
        self.seen: list[str] = []
        self.conflicts = 1  # the first change comes too late: another has changed it meanwhile

    def _start(self, shell: Shell, name: str, words: tuple[str, ...]) -> subprocess.Popen[str]:
        command = [
            "unshare",
            "--uts",
            "sh",
            "-c",
            f'hostname {name} && exec "$@"',
            "sh",
            sys.executable,
            "-m",
            "maitred.cli",
        ]
        process = subprocess.Popen([*command, *words], env=shell.environment, cwd=shell.directory, text=True)
        shell.started.append(process)
        return process

    def answer(self, method: str, path: str, patch: Any) -> tuple[int, Any]:
        assert path.startswith(("/apis/apps/v1/namespaces/here/", "/api/v1/namespaces/here/")), path
        rest = path.partition("/here/")[2]
        self.seen.append(f"{method} {rest}")
        if rest == "deployments/workers/scale":
            if method == "PATCH":
                if patch["metadata"]["resourceVersion"] != str(self.version) or self.conflicts:
                    self.conflicts -= 1
                    return 409, {}
                self._scale(patch["spec"]["replicas"])
            spec = {"replicas": self.replicas}
            return 200, {"metadata": {"resourceVersion": str(self.version)}, "spec": spec}
        if rest == "pods?labelSelector=maitred%2Fpool%3Dapp":
            rows = [{"name": name, "annotations": {COST: self.costs.get(name, "0")}} for name in self.pods]
            return 200, {"items": [{"metadata": row} for row in rows]}
        name = rest.removeprefix("pods/")
        self.costs[name] = patch["metadata"]["annotations"][COST]
        return 200, {}

    def _scale(self, replicas: int) -> None:
        self.replicas = replicas
        self.version += 1
        for name in sorted(self.pods, key=lambda name: int(self.costs.get(name, 0)))[: len(self.pods) - replicas]:
            self.pods.pop(name).send_signal(signal.SIGTERM)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.end()


def serve(cluster: Cluster) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._do(None)

        def do_PATCH(self) -> None:
            assert self.headers["Content-Type"] == "application/merge-patch+json"
            self._do(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _do(self, patch: Any) -> None:
            status, found = cluster.answer(self.command, self.path, patch)
            if self.headers["Authorization"] != "Bearer account":
                status, found = 401, {}
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.mark.skipif(not may_have_hosts(), reason="only root can give a process a host's name of its own")
def test_the_pods_that_go_are_those_whose_workers_nobody_misses(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "maitred.toml").write_text(f'[pools.app]\nadapter = "{APP}"\nsize = 1\n')
    line = ready(shell.start(*ANY_PORT, "broker"))
    clients, workers = (next(word for word in part.split() if "tcp://" in word) for part in line.split(", ")[:2])
    cluster = Cluster(shell, ["pod-a", "pod-b", "pod-c"], "pool", "app", "--connect", workers, "--clients", clients)
    account = tmp_path / "account"
    account.mkdir()
    (account / "namespace").write_text("here\n")
    (account / "token").write_text("account\n")
    server = serve(cluster)
    with Client(clients) as client:
        wait_for(lambda: len(client.workers()) == 3)
        with client.session("app") as session:
            session.execute("pid")
            owner = next(row["host"] for row in client.workers() if row["sessions"])
            environment = {
                "KUBERNETES_API": f"http://127.0.0.1:{server.server_port}",
                "KUBERNETES_ACCOUNT": str(account),
                "SCALE_DOWN_EVERY_S": "0.3",
                "SCALE_DOWN_AFTER_S": "1",
                "SCALE_DOWN_LEAST": "1",
            }
            script = subprocess.Popen(
                [sys.executable, str(SCRIPT), "app=workers"],
                env=os.environ | shell.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            shell.started.append(script)
            wait_for(lambda: len(cluster.pods) == 1, 30)
            assert list(cluster.pods) == [owner]
            assert owner not in cluster.costs
            wait_for(lambda: len(client.workers()) == 1)
            session.execute("pid")
            script.send_signal(signal.SIGTERM)
            said, errors = script.communicate(timeout=10)
            assert script.returncode == 0, errors
            assert "1 stay" in said
            assert "409" in errors  # and it tried again
    server.shutdown()
    server.server_close()
