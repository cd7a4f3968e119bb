"""A service of an application: `maitred -c examples/maitred.toml up`, then call it as `ask_sentiment.py` does."""

from collections.abc import Iterator
from typing import Any

from maitred.worker import Context, Service

service = Service()
WORDS: dict[str, int] = {}


@service.startup
def load() -> None:
    """Once per process, before it takes requests: where a real one loads its model."""
    WORDS.update({"good": 1, "great": 2, "bad": -1, "awful": -2})


@service.command(idempotent=True)
def score(text: str) -> int:
    """Add up what the words are worth."""
    return sum(WORDS.get(word.strip(".,!?").lower(), 0) for word in text.split())


@service.command
def score_all(texts: list[str], *, context: Context) -> Iterator[dict[str, Any]]:
    """Stream a score for each text; the return value is the result."""
    for number, text in enumerate(texts):
        context.check_cancelled()
        yield {"text": number, "score": score(text)}
    return {"texts": len(texts)}
