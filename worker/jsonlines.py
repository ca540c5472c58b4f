"""JSON Lines: one JSON value per line, over a pipe, a socket or any other stream of bytes.

The supervisor shim imports this module under ``python -I -S``, so it imports nothing but the
standard library, and little of that.
"""

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Decoder(Generic[Value]):
    """Incremental decoder: bytes as they are received in, the values of complete lines out.

    *decode* converts one line, without its ``\\n``, to a value. It may be the typed decoder of
    another library; an error that it raises passes through :meth:`feed`.
    """

    def __init__(self, decode: Callable[[bytes], Value] = json.loads) -> None:
        self._decode = decode
        self._partial: list[bytes] = []
        """The pieces of a line whose end has not been received."""

    def feed(self, data: bytes | bytearray) -> list[Value]:
        """Return the values of all lines that *data* completes, in order."""
        *complete, partial = bytes(data).split(b"\n")
        if complete:
            complete[0] = b"".join((*self._partial, complete[0]))
            self._partial.clear()
        if partial:
            # Not joined before the line is complete: a long line costs linear time.
            self._partial.append(partial)
        return [self._decode(line) for line in complete]


def encode(value: Any) -> bytes:
    """Return *value* as one line, with its ``\\n``; JSON escapes every newline in a string."""
    return json.dumps(value).encode() + b"\n"
