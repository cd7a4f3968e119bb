"""A service that is longer in coming up than anybody waits."""

from __future__ import annotations

import time

from maitred.worker import Context, Service

service = Service()


@service.startup
def load(context: Context) -> None:
    time.sleep(60)


@service.command
def nothing() -> None: ...
