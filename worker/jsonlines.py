"""JSON Lines: one JSON value per line, over a pipe, a socket or any other stream of bytes.

The supervisor shim imports this module under ``python -I -S``, so it imports nothing but the
standard library, and little of that.
"""

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")

MAX_LINE = 64 << 20
"""Bytes of a line. The longest are commands with their variables, and secrets of a job."""


class LineTooLong(ValueError):
    """A line has no end within its limit."""


class Decoder(Generic[Value]):
    """Incremental decoder: bytes as they are received in, the values of complete lines out.

    *decode* converts one line, without its ``\\n``, to a value. It may be the typed decoder of
    another library; an error that it raises passes through :meth:`feed`.
    """

    def __init__(
        self, decode: Callable[[bytes], Value] = json.loads, *, max_line: int = MAX_LINE
    ) -> None:
        self._decode = decode
        self._max_line = max_line
        self._partial: list[bytes] = []
        """The pieces of a line whose end has not been received."""
        self._size = 0
        """Their bytes."""

    def feed(self, data: bytes | bytearray) -> list[Value]:
        """Return the values of all lines that *data* completes, in order; raises LineTooLong."""
        *complete, partial = bytes(data).split(b"\n")
        if complete:
            complete[0] = b"".join((*self._partial, complete[0]))
            self._partial.clear()
            self._size = 0
        self._size += len(partial)
        if self._size > self._max_line:
            raise LineTooLong(f"a line of more than {self._max_line:,} bytes")
        if partial:
            # Not joined before the line is complete: a long line costs linear time.
            self._partial.append(partial)
        return [self._decode(line) for line in complete]


def encode(value: Any) -> bytes:
    """Return *value* as one line, with its ``\\n``; JSON escapes every newline in a string."""
    return json.dumps(value).encode() + b"\n"
