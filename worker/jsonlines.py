"""JSON Lines framing of the control channels between the agent and its child processes.

The supervisor shim imports this module under ``python -I -S``, so it imports only the standard
library.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

Message = TypeVar("Message")


class Decoder(Generic[Message]):
    """Incremental decoder: bytes in, the messages of complete lines out."""

    def __init__(self, decode: Callable[[bytes], Message]) -> None:
        self._decode = decode
        self._incomplete = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that *data* completes."""
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        yield from map(self._decode, lines)


def encode(message: Any) -> bytes:
    """Return *message* as one line."""
    return json.dumps(message).encode() + b"\n"
