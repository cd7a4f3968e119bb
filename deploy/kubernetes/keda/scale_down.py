"""Takes pods away from pools that need fewer workers, and only pods that nobody will miss: the broker names them.

    python scale_down.py POOL=DEPLOYMENT …      beside the broker, in its pod, as its user

Kubernetes would end any pod. So KEDA only adds pods, and here, for each pool:

    desired < pods, for AFTER_S → POST …/retire?n= → these workers get nothing more, and end → their pods' deletion cost
    falls below all others' → the Deployment has as many fewer replicas

A pod is named like its host, and has one worker (`size = 1`). What was begun and cut off is taken up again, as the
annotation of the pods tells: a pod that has it is to go.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from pathlib import Path
from typing import Any

from maitred.config.rundir import read_connection

EVERY_S = float(os.environ.get("SCALE_DOWN_EVERY_S", "15"))
"""How often it looks."""

AFTER_S = float(os.environ.get("SCALE_DOWN_AFTER_S", "120"))
"""Workers that were needed at any moment of the last so many seconds are kept: load comes back."""

LEAST = int(os.environ.get("SCALE_DOWN_LEAST", "1"))
"""Pods that are always kept: `minReplicaCount` of the ScaledObject."""

TIMEOUT_S = 10.0
"""Of one request, to the broker or to Kubernetes."""

ACCOUNT = Path(os.environ.get("KUBERNETES_ACCOUNT", "/var/run/secrets/kubernetes.io/serviceaccount"))
API = os.environ.get("KUBERNETES_API", "https://kubernetes.default.svc")

COST = "controller.kubernetes.io/pod-deletion-cost"
FIRST = "-1000"
"""The cost of a pod that is to go; that of one without the annotation is 0, and the lowest goes first."""


def ask(url: str, token: str, method: str = "GET", patch: Any = None) -> Any:
    """One request; returns what its answer's JSON says.

    Raises:
        OSError: no answer, or one that is no success.
    """
    headers = {"Authorization": f"Bearer {token}"}
    if patch is not None:
        headers["Content-Type"] = "application/merge-patch+json"
    body = None if patch is None else json.dumps(patch).encode()
    request = urllib.request.Request(url, body, headers, method=method)
    trusted = ssl.create_default_context(cafile=ACCOUNT / "ca.crt") if url.startswith("https:") else None
    with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=trusted) as answer:
        return json.load(answer)


def broker(path: str, method: str = "GET") -> Any:
    """Ask the broker of this pod, as its operator."""
    found = read_connection()
    if found is None or not found.http:
        raise OSError("no broker serves HTTP here: MAITRED_RUN_DIR must be the broker's, and broker.http set")
    address = found.http.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]")
    return ask(f"http://{address}/api/v1/pools/{path}", found.secret, method)


def kubernetes(path: str, method: str = "GET", patch: Any = None) -> Any:
    """Ask the API server; `path` begins behind the namespace. The token changes while this runs."""
    group, _, rest = path.partition(":")
    namespace = (ACCOUNT / "namespace").read_text().strip()
    return ask(f"{API}/{group}/namespaces/{namespace}/{rest}", (ACCOUNT / "token").read_text().strip(), method, patch)


class Pool:
    """One pool and its Deployment, whose pods have the label `maitred/pool`."""

    def __init__(self, name: str, deployment: str) -> None:
        self._name = name
        self._scale = f"apis/apps/v1:deployments/{deployment}/scale"
        self._needed: deque[tuple[float, int]] = deque()
        self._since = time.monotonic()

    def look(self) -> None:
        """Take pods away, where there are too many."""
        needed = self._needed_of_late()
        scale = kubernetes(self._scale)
        pods = kubernetes(f"api/v1:pods?labelSelector=maitred%2Fpool%3D{self._name}")["items"]
        pods = [pod["metadata"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        replicas = scale["spec"].get("replicas", 0)  # 0 is left out
        if len(pods) != replicas:
            return  # the last change is still under way
        going = {pod["name"] for pod in pods if pod.get("annotations", {}).get(COST) == FIRST}
        spare = replicas - len(going) - max(needed, LEAST)
        if spare > 0 and time.monotonic() - self._since >= AFTER_S:
            retired = broker(f"{self._name}/retire?n={spare}", "POST")["retired"]
            for name in {row["host"] for row in retired} & {pod["name"] for pod in pods}:
                kubernetes(f"api/v1:pods/{name}", "PATCH", {"metadata": {"annotations": {COST: FIRST}}})
                going.add(name)
        if going:
            left = replicas - len(going)
            version = scale["metadata"][
                "resourceVersion"
            ]  # whoever has changed it meanwhile wins: 409, and later again
            kubernetes(self._scale, "PATCH", {"metadata": {"resourceVersion": version}, "spec": {"replicas": left}})
            print(f"pool {self._name}: {', '.join(sorted(going))} may go, {left} stay", flush=True)

    def _needed_of_late(self) -> int:
        now = time.monotonic()
        self._needed.append((now, broker(f"{self._name}/desired")["desired"]))
        while self._needed[0][0] < now - AFTER_S:
            self._needed.popleft()
        return max(needed for _, needed in self._needed)


def main() -> None:
    """Look, again and again, until SIGTERM."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(0)
    )  # the first process of a container is not ended by it otherwise
    pools = [Pool(*word.split("=")) for word in sys.argv[1:]]
    while True:
        for pool in pools:
            try:
                pool.look()
            except (OSError, ValueError, KeyError) as error:
                print(f"{error}; tried again in {EVERY_S:g} s", file=sys.stderr, flush=True)
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
