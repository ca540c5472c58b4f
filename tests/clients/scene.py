"""The folder that every client reads as a bucket: the same files every time."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

BUCKET = "labresults"
MANY = 1_205
"""Small files below ``many/``: more than the 1,000 that one page of a listing has."""
BIG_SIZE = 9 * 1024 * 1024 + 12_345
"""Above 8 MiB, where most clients begin to upload in parts."""
ODD = "naïve a+b & 100% 東京.txt"
LEFT = {
    "kept/small.txt": "small.txt",
    "kept/empty.bin": "empty.bin",
    "kept/big.bin": "big.bin",
    f"kept/{ODD}": f"odd names/{ODD}",
}
"""What a client leaves in ``out``, and the file of the input that it is a copy of."""


def noise(name: str, size: int) -> bytes:
    """Return *size* bytes that look random and depend on *name* alone."""
    return hashlib.shake_256(name.encode()).digest(size)


def files() -> Iterator[tuple[str, bytes]]:
    """Yield every file of the input, with its content."""
    for number in range(MANY):
        name = f"many/{number // 100:02}/{number:04}.txt"
        yield name, f"{name}\n".encode()
    yield "small.txt", b"small\n"
    yield "empty.bin", b""
    yield "big.bin", noise("big", BIG_SIZE)
    yield f"odd names/{ODD}", b"odd\n"
    yield "odd names/it's ~ (quoted) %20.txt", b"per cent, two, nought\n"


def make(folder: Path) -> int:
    """Write the files into *folder*, and return how many they are."""
    count = 0
    for name, data in files():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        count += 1
    return count
