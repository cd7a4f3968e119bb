"""The worker of the gRPC subject: a server with one method, bytes in and bytes out."""

from __future__ import annotations

import asyncio
import importlib
import time
from typing import Any, NoReturn

from msgspec import Struct

from maitred.benchmarks.subjects import child
from maitred.benchmarks.subjects.servers import LOOPBACK

__all__ = ["METHOD", "OPTIONS", "SERVICE", "TASK_KEY", "GrpcWorker", "worker"]

SERVICE, NAME = "bench.Task", "Echo"
METHOD = f"/{SERVICE}/{NAME}"

TASK_KEY = "task-s"
"""Metadata, only where the task is to take some time."""

OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
"""No limit, on both sides: it is 4 MiB for what is received."""


class GrpcWorker(Struct):
    """What a worker is told, nothing, and what it reports: its port."""

    port: int = 0


def worker() -> NoReturn:
    """A worker's process."""
    child.settings(GrpcWorker)
    asyncio.run(_serve())
    raise SystemExit


async def _serve() -> None:
    grpc: Any = importlib.import_module("grpc")
    aio: Any = importlib.import_module("grpc.aio")
    server = aio.server(options=OPTIONS)
    handlers = {NAME: grpc.unary_unary_rpc_method_handler(_answer)}  # without serializers it is bytes
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    child.report(GrpcWorker(port))
    await server.wait_for_termination()


async def _answer(request: bytes, context: Any) -> bytes:
    """The sleep keeps the whole worker busy, as work would: one request after the other."""
    for key, value in context.invocation_metadata() or ():
        if key == TASK_KEY:
            time.sleep(float(value))  # noqa: ASYNC251
    return request
