"""The wire, without any I/O: messages, frames, bodies, limits, errors, and each side's half of the conversation.

Imports nothing else of maitred. `docs/protocol.md` is the same in prose.
"""
