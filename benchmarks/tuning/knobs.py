"""What can be tuned: one table. A setting that is not here was not found to be a matter of machine or adapter."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

from maitred.config import BrokerConfig, PoolConfig
from maitred.config.schema import Key, keys_of
from maitred.config.toml_text import inline

__all__ = ["KNOBS", "Knob", "Place", "UnknownKnob", "chosen"]

Place: TypeAlias = Literal["broker", "pool", "caller"]
"""Who has to be told: the table `[broker]`, the pool's, or the program that calls."""

KIB = 1024


class UnknownKnob(ValueError):
    """No setting of this name is tuned; the text says which are."""


class Knob(Struct, frozen=True):
    """One setting.

    Attributes:
        field: of the broker's or the agent's settings; the caller's have names of their own.
        place: who has to be told.
        values: what is tried, resolved (bytes, counts), the likeliest first, the default last; what is in force is left
            out.
        from_bytes: bodies below this size are not affected.
    """

    field: str
    place: Place
    values: tuple[float | str, ...]
    from_bytes: int = 0

    @property
    def key(self) -> Key | None:
        """Its key in a configuration; None: the caller's have none."""
        return None if self.place == "caller" else keys_of(TABLES[self.place])[self.field]

    @property
    def name(self) -> str:
        """As a user knows it, with its table where two have the same."""
        key = self.key
        if key is None:
            return self.field
        return f"{self.place}.{key.name}" if key.name in AMBIGUOUS else key.name

    def text(self, value: Any) -> str:
        """A value as written in a configuration."""
        key = self.key
        if value is None:
            return "Python's own"
        return str(value) if key is None else inline(key.kind.write(value))


TABLES = {"broker": BrokerConfig, "pool": PoolConfig}

AMBIGUOUS = ("gc_threshold",)
"""Keys of both tables."""

KNOBS = (
    Knob("transport", "caller", ("ipc", "tcp")),
    Knob("prefetch", "pool", (31, 4, 0, 15)),
    Knob("busy_poll_s", "broker", (0.0, 0.001, 0.0003)),
    Knob("receive_batch", "broker", (256, 16, 64)),
    Knob("high_water_mark", "broker", (256, 1000, 64)),
    Knob("io_threads", "broker", (2, 1)),
    Knob("gc_threshold", "broker", (10_000, 100_000)),
    Knob("gc_threshold", "pool", (10_000,)),
    Knob("out_of_band_bytes", "pool", (128 * KIB, 8 * KIB, 32 * KIB), from_bytes=8 * KIB),
)
"""In the order in which they are tried."""


def chosen(names: str) -> list[Knob]:
    """Those of some names, with commas between; "" for all. A name of two of them means both.

    Raises:
        UnknownKnob: there is none of such a name.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    known = {alias for knob in KNOBS for alias in _aliases(knob)}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UnknownKnob(f"no setting {unknown[0]!r} is tuned; there are {', '.join(knob.name for knob in KNOBS)}")
    return [knob for knob in KNOBS if not wanted or any(alias in wanted for alias in _aliases(knob))]


def _aliases(knob: Knob) -> tuple[str, ...]:
    return (knob.name,) if knob.key is None else (knob.name, knob.key.name)
