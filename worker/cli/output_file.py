"""Files that ``get`` and ``cat`` write: replaced atomically, and named in errors of writing."""

import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

STANDARD_OUTPUT = "standard output"
TEMPORARY = ".worker.tmp"
"""The end of the name of a file that is not complete."""


class NamedWriter:
    """A binary file that is only written; the errors of writing name it."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name

    def write(self, data: bytes, /) -> int:
        """Write *data*, or raise OSError with the name of the file."""
        with _naming(self._name):
            return self._file.write(data)

    def flush(self) -> None:
        """Flush the file, or raise OSError with its name."""
        with _naming(self._name):
            self._file.flush()


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Provide standard output for bytes, and flush it at the end."""
    writer = NamedWriter(sys.stdout.buffer, STANDARD_OUTPUT)
    yield cast("BinaryIO", writer)
    writer.flush()


@contextmanager
def replaced_file(path: Path) -> Iterator[BinaryIO]:
    """Provide a file that is at *path* when the block has ended, but not if the block raises.

    A pipe or a device is written in place.
    """
    # Of a link, the file that it leads to is replaced.
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with _naming(str(path)), target.open("wb") as file:
            writer = NamedWriter(file, str(path))
            yield cast("BinaryIO", writer)
            writer.flush()
        return
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}{TEMPORARY}")
    try:
        with _naming(str(path)), temporary.open("xb") as file:
            writer = NamedWriter(file, str(path))
            yield cast("BinaryIO", writer)
            writer.flush()
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Give an OSError that names no file, or the temporary one, the name *name*."""
    try:
        yield
    except OSError as error:
        if error.filename is None or error.filename.endswith(TEMPORARY):
            error.filename = name
        raise
