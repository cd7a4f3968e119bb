"""What native workers serve beside those that speak Majordomo's protocol."""

from __future__ import annotations

from maitred.worker import Service

service = Service()


@service.command
def run(body: list[bytes]) -> list[bytes]:
    return body


@service.command
def add(a: int, b: int) -> int:
    return a + b


@service.command
def count(to: int):
    yield from range(to)
