"""Celery's settings, its task, and the process in which its worker runs."""

from __future__ import annotations

import importlib
import os
import signal
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from maitred.benchmarks.subjects import child, task
from maitred.benchmarks.subjects.hosted_process import quiet

__all__ = ["TASK", "Prefork", "application", "main"]

TASK = "echo"

PREFETCH = 64
"""Tasks that the worker takes ahead for each of its processes, as Celery's guide has it for many short ones."""

RESULTS_KEPT_S = 5
"""A result that was fetched is of no use to anybody; Celery keeps it for a day."""

CONNECTIONS = 256
"""More than callers have threads; the default is 10, and the others would wait for one."""


class Prefork(Struct):
    """What the worker is told.

    Attributes:
        redis: the URL of its broker, which keeps the results as well.
        processes: how many do the task.
        log: a file for what it prints.
    """

    redis: str
    processes: int
    log: str


def application(redis: str) -> Any:
    """Celery, configured; the same for who asks and who answers."""
    # The environment comes before the settings: a user's is not meant here.
    os.environ.update(CELERY_BROKER_URL=redis, CELERY_RESULT_BACKEND=redis)
    app: Any = importlib.import_module("celery").Celery("bench", set_as_current=False)
    app.conf.update(
        broker_url=redis,
        result_backend=redis,
        result_expires=RESULTS_KEPT_S,
        broker_pool_limit=CONNECTIONS,
        broker_connection_retry_on_startup=True,
        task_serializer="msgpack",
        result_serializer="msgpack",
        accept_content=["msgpack"],
        worker_prefetch_multiplier=PREFETCH,
        worker_disable_rate_limits=True,
        worker_send_task_events=False,
    )
    app.task(task.echo, name=TASK)
    return app


def main() -> NoReturn:
    """Run a worker of the prefork pool until it is killed."""
    told = child.settings(Prefork)
    reports = quiet(told.log)
    app = application(told.redis)

    def ready(**_: object) -> None:
        os.write(reports, msgspec.json.encode(told) + b"\n")

    importlib.import_module("celery.signals").worker_ready.connect(ready)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    app.worker_main(
        [
            "worker",
            "--pool=prefork",
            f"--concurrency={told.processes}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=WARNING",
        ]
    )
    raise SystemExit
