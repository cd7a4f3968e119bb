"""The worker of the RabbitMQ subject: consumes a queue, and answers to whatever queue a request names."""

from __future__ import annotations

import importlib
import time
from typing import Any, NoReturn

from msgspec import Struct

from maitred.benchmarks.subjects import child
from maitred.benchmarks.subjects.servers import LOOPBACK

__all__ = ["QUEUE", "TASK_HEADER", "RabbitWorker", "worker"]

QUEUE = "echo"

TASK_HEADER = "task_s"
"""Only where the task is to take some time. As text: pika has no floating-point numbers in its tables."""


class RabbitWorker(Struct):
    """What a worker is told.

    Attributes:
        port: the broker's.
        prefetch: messages that the broker sends ahead; 0 is without a limit and without acknowledgements.
    """

    port: int
    prefetch: int


def worker() -> NoReturn:
    """A worker's process."""
    told = child.settings(RabbitWorker)
    pika: Any = importlib.import_module("pika")
    connection = pika.BlockingConnection(pika.ConnectionParameters(LOOPBACK, told.port))
    channel = connection.channel()
    channel.queue_declare(QUEUE, auto_delete=True)
    channel.basic_qos(prefetch_count=told.prefetch)
    channel.basic_consume(QUEUE, _Answer(pika, told.prefetch > 0), auto_ack=told.prefetch == 0)
    child.report(told)
    channel.start_consuming()
    raise SystemExit


class _Answer:
    """What is done with each message."""

    def __init__(self, pika: Any, acknowledges: bool) -> None:
        self._properties: Any = pika.BasicProperties
        self._acknowledges = acknowledges

    def __call__(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if properties.headers:
            time.sleep(float(properties.headers[TASK_HEADER]))
        answer = self._properties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, body, answer)
        if self._acknowledges:
            channel.basic_ack(method.delivery_tag)
