"""The files of the bucket that every client reads; they are the same in every run."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

BUCKET = "labresults"
SMALL_FILES = 1_205
"""Number of files below ``many/``: more than the 1,000 keys of one page of a listing."""
BIG_SIZE = 9 * 1024 * 1024 + 12_345
"""Bytes; above 8 MiB, where most clients start to use multipart uploads."""
ODD = "naïve a+b & 100% 東京.txt"
COPIES = {
    "kept/small.txt": "small.txt",
    "kept/empty.bin": "empty.bin",
    "kept/big.bin": "big.bin",
    f"kept/{ODD}": f"odd names/{ODD}",
}
"""Keys that a client writes to ``out``, and the input file that each one is a copy of."""


def noise(name: str, size: int) -> bytes:
    """Return *size* pseudorandom bytes that depend on *name* only."""
    return hashlib.shake_256(name.encode()).digest(size)


def files() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of every file."""
    for number in range(SMALL_FILES):
        name = f"many/{number // 100:02}/{number:04}.txt"
        yield name, f"{name}\n".encode()
    yield "small.txt", b"small\n"
    yield "empty.bin", b""
    yield "big.bin", noise("big", BIG_SIZE)
    yield f"odd names/{ODD}", b"odd\n"
    yield "odd names/it's ~ (quoted) %20.txt", b"per cent, two, zero\n"


def write(folder: Path) -> None:
    """Write the files into *folder*."""
    for name, data in files():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
