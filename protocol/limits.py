"""Every limit of the wire: name, unit, reason. What happens at each one is said in docs/protocol.md, Limits."""

from __future__ import annotations

from typing import Final

MAX_HEADER_BYTES: Final = 64 * 1024
"""One header frame. The largest honest one is REGISTER with its table of commands: a few hundred fit."""

MAX_FRAMES: Final = 64
"""Frames of one message, header included: a body and 62 buffers of their own. More than that is packed in band."""

MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
"""All frames of one message. The broker holds whole messages in memory, so this bounds what one sender can make it hold.
A broker may be configured lower (WELCOME says so) or higher."""

MAX_BUNDLED_BYTES: Final = 4096
"""Header and body of one message in a bundle. The broker copies such a body twice; of a larger one that costs as much as
the message of its own that it saves."""

MAX_BUNDLE_MESSAGES: Final = 64
"""Messages in one bundle: what a peer takes in before it looks at anything else, as of single ones (`transport.drain`)."""

MAX_NAME_CHARS: Final = 128
"""Names of pools and commands: they are keys of tables and labels of metrics."""

MAX_TEXT_CHARS: Final = 4096
"""Free text in a header: the sentence of an error, the version of a peer."""

MAX_SECRET_CHARS: Final = 128
"""What is shown in place of a key: 64 hexadecimal digits of ours."""

MAX_COMMANDS: Final = 512
"""Commands that one worker may announce."""

MAX_EVENT_CHARS: Final = 64
"""Names of an application's own events, and of their fields."""

MAX_EVENT_FIELDS: Final = 16
"""Of one such event."""

MAX_EVENT_TEXT_CHARS: Final = 256
"""A field of it that is a text: the broker keeps a thousand events, with 16 of these at most 4 MB of plain letters."""

MAX_SLOTS: Final = 1024
"""Requests that one worker may hold at a time."""

MAX_AGENT_WORKERS: Final = 1024
"""Workers of one agent: one VOUCH has to name them all."""

MAX_WINDOW_PARTS: Final = 1 << 20
"""Parts of a stream that a client may grant ahead."""

MAX_EVENT_NAMES: Final = 16
"""Names and patterns of one LISTEN: each event is compared with each."""

MAX_TIMEOUT_S: Final = 7 * 24 * 3600.0
"""A week: longer than this a request is not a request but a job."""

DEFAULT_WINDOW_PARTS: Final = 64
"""Parts a worker may send before its reader has taken any: hides a round trip at thousands of parts a second."""

OUT_OF_BAND_BYTES: Final = 32 * 1024
"""From this size on a binary value travels in a frame of its own: below, copying it costs less than a frame does."""

MAX_ARRAY_DIMENSIONS: Final = 32
"""What NumPy 1.x allows; a shape is read before its data, so it needs a bound."""

INTERRUPT_AFTER_S: Final = 0.1
"""A function that was told to stop by its flag has so long to do it by itself, before an exception is raised in it. The
pool's `kill_grace` begins then."""

MAX_RETRY_AFTER_S: Final = 30.0
"""The longest wait that a refused caller is told: what is further away is not known well enough."""
